// What does not fit together: findings with their evidence, what is worth counting, and what orders took.

import { act, look, may, me } from "/console/api.js";
import { confirmAct } from "/console/ask.js";
import { badge, fill, h, pairs, table } from "/console/dom.js";
import { content, kind, moment, money } from "/console/words.js";

const EVERY_MS = 6000; // between two questions: the agent looks every five seconds itself
const MOODS = { "waits for a person": "warn", stuck: "bad", "under way": "plain", "put right": "good", refused: "plain", withdrawn: "plain", advised: "plain" };
const state = (one) => badge(one.state, MOODS[one.state] ?? "plain");
const where = (one) => [one.material, one.storage_location && `at ${one.storage_location}`, one.batch && `batch ${one.batch}`].filter(Boolean).join(" ");

export function findings(main) {
  const found = h("div"), counts = h("div"), orders = h("div.stack");
  const every = h("input", { type: "checkbox", id: "every" });
  const day = h("input", { type: "date", "aria-label": "day" });
  const shown = {};
  let asked = 0;
  fill(main,
    h("div.head", h("h1", "Findings"), h("label.inline", every, "also what is closed")), found,
    h("div.head", h("h1", "Worth counting"), h("span.quiet", "what the books are probably off by, less what a count costs")), counts,
    h("div.head", h("h1", "What orders took"), h("label.inline", "of", day), h("span.quiet", "without a day: those under way")), orders);
  for (const choice of [every, day]) choice.addEventListener("change", () => { asked = 0; Object.keys(shown).forEach((name) => delete shown[name]); });
  return async () => {
    if (Date.now() - asked < EVERY_MS) return;
    asked = Date.now();
    const [told, places, took] = await Promise.all([look(`/v1/findings?open=${!every.checked}`), look("/v1/counts?limit=20"), look(`/v1/variance?day=${day.value}`)]);
    draw(shown, "found", found, told.items, () => findingsOf(told.items, every.checked));
    draw(shown, "counts", counts, places.items, () => countsOf(places.items));
    draw(shown, "orders", orders, took.items, () => ordersOf(took.items, day.value));
  };
}

/** Only what has changed is drawn anew, so that a row under the pointer stays where it is. */
function draw(shown, name, place, items, drawn) {
  const now = JSON.stringify(items);
  if (now !== shown[name]) { shown[name] = now; fill(place, drawn()); }
}

const findingsOf = (items, every) => table([
  ["finding", (one) => one.id.slice(0, 8)], ["found", (one) => moment(one.found_at), "time"],
  ["what", (one) => h("span", h("b", one.cause), h("br"), h("small", where(one), one.order && `, order ${one.order}`))],
  ["value", (one) => money(one.value, me.about.currency), "number"], ["state", state],
  ["evidence", (one) => h("span", one.evidence.map((text) => h("div", text)))],
], items, { empty: every ? "Nothing was found." : "Nothing that was found is open.", href: (one) => `#/findings/${one.id}`, label: "findings" });

const countsOf = (items) => table([
  ["place", where], ["in the books", (one) => `${Number(one.in_books.toPrecision(6))} ${one.unit}`, "number"],
  ["off by", (one) => `± ${Number(one.off.toPrecision(4))} ${one.unit}`, "number"],
  ["worth", (one) => (one.value > 0 ? money(one.value, me.about.currency) : "less than it costs"), "number"], ["counted", (one) => (one.counted ? moment(one.since) : "never")],
  ["", (one) => may("ingest") && h("button.small", { type: "button", onclick: () => enter(one) }, "Enter a count…")],
], items, { empty: "The ERP has told no stock.", label: "worth counting" });

const ordersOf = (items, day) => items.length
  ? items.map((one) => h("section.card", h("h2", `Order ${one.order}, operation ${one.operation}`), h("p", one.says), table([
    ["material", (part) => part.material], ["expected", (part) => `${part.expected} ${part.unit}`, "number"],
    ["used", (part) => `${part.used} ${part.unit}`, "number"], ["booked", (part) => `${part.booked} ${part.unit}`, "number"],
    ["more", (part) => `${part.off} ${part.unit}`, "number"], ["money", (part) => `${part.money} ${me.about.currency}`, "number"],
  ], one.components, { label: `order ${one.order}` })))
  : h("p.empty", day ? `No account was made on ${day}: the day is not over, or nothing was reported.` : "No order is under way of which anything was reported.");

const enter = (one) => confirmAct({
  title: `What was counted: ${where(one)}`, about: "The difference to the books waits for a signature.", verb: "Enter",
  fields: [{ name: "quantity", label: `quantity in ${one.unit}`, value: "" }],
  done: (reason, { quantity }, password) => act("/v1/counts", { material: one.material, storage_location: one.storage_location, batch: one.batch, quantity: quantity.trim(), unit: one.unit, reason }, password),
});

export function findingOne(main, id) {
  let seen = "";
  return async () => {
    const one = await look(`/v1/findings/${encodeURIComponent(id)}`), now = JSON.stringify(one);
    if (now === seen) return;
    seen = now;
    const off = Number(one.excess);
    fill(main, h("div.head", h("h1", `${one.cause}: ${where(one)}`), state(one), h("a", { href: "#/findings" }, "all findings")),
      h("div.columns",
        h("div",
          h("section.card.reasons", h("h2", "What shows it"), h("ul", one.evidence.map((text) => h("li", text))),
            one.rows.map((row) => h("p", `${row.is} `, row.event ? h("a", { href: `#/trace/event:${row.event}` }, row.name) : row.name, postingsOf(row.postings)))),
          h("section.card", h("h2", "What puts it right"), one.postings.length ? postingsOf(one.postings) : !one.would_post.length && h("p.quiet", "Nothing is to be posted."),
            one.would_post.length > 0 && [h("p", "Only advised: nothing of it is written, and nobody can sign it."), h("ul", one.would_post.map((advice) => h("li", `${kind(advice.kind)}: ${content(advice)}`)))],
            one.decided && h("p", `${one.decided.did.replace("_", " ")} by ${one.decided.by} on ${moment(one.decided.at)}: ${one.decided.reason}`))),
        h("div",
          h("section.card", h("h2", "What it is about"), pairs([
            ["order", one.order], ["work centre", one.work_center], ["began", moment(one.at)], ["found", moment(one.found_at)],
            ["the books", off ? `took ${Math.abs(off)} ${one.unit} too ${off > 0 ? "much" : "little"} off the stock` : "are right"],
            ["value", money(one.value, me.about.currency)], ["event", h("a", { href: `#/trace/event:${one.event}` }, `trace event ${one.event}`)],
          ])),
          h("section.card", h("h2", "What the books say now"), booksOf(one.books, one.unit)))));
  };
}

const postingsOf = (postings) => h("ul", postings.map((one) => h("li", h("a", { href: `#/held/${one.id}` }, `posting ${one.id}`), ` ${kind(one.kind)}: ${content(one)} `, badge(one.state), one.document && ` ${one.document}`)));

function booksOf(books, unit) {
  if (books.used === undefined) return books.in_books === undefined ? h("p.empty", "nothing is known of it") : h("p", `${books.in_books} ${unit} are in the books of the place.`);
  return [pairs([["expected", `${books.expected} ${unit}`], ["used", `${books.used} ${unit}`], ["booked", `${books.booked} ${unit}`]]), h("p", books.says)];
}
