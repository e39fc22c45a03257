// What waits for a person: the queue, and one of it with everything that a decision needs.

import { act, look, may, me } from "/console/api.js";
import { confirmAct } from "/console/ask.js";
import { fill, h, table } from "/console/dom.js";
import { around, COLUMNS, details, everything, reasons, sentences } from "/console/postings.js";
import { content, field, kind, unit } from "/console/words.js";

export function held(main) {
  const list = h("div"), filter = h("input", { type: "search", placeholder: "line, order, material, reason", "aria-label": "filter" });
  const together = h("span.quiet");
  let found = [];
  const draw = () => {
    const wanted = filter.value.trim().toLowerCase();
    const rows = found.filter((one) => !wanted || JSON.stringify([one.line, one.ordering_key, one.payload, one.reasons]).toLowerCase().includes(wanted));
    fill(list, table([...COLUMNS, ["why", (one) => one.reasons[0] ?? ""]], rows, {
      empty: found.length ? "nothing here fits the filter" : "Nothing waits for a person.", href: (one) => `#/held/${one.id}`, label: "held postings",
    }));
  };
  filter.addEventListener("input", draw);
  fill(main, h("div.head", h("h1", "Held for a person"), together, filter), list);
  return async (status) => {
    const now = await everything("/v1/approvals"), more = me.lines.length ? 0 : status.postings.held - now.length;
    fill(together, more > 0 && `${now.length} to decide about; what follows in a group (${more}) is decided with it`);
    if (JSON.stringify(now) !== JSON.stringify(found) || !list.hasChildNodes()) { found = now; draw(); }
    else ages(list, found);
  };
}

/** Only the ages move on, so that a row under the pointer stays where it is. */
function ages(list, found) {
  list.querySelectorAll("tbody tr").forEach((row, at) => { if (found[at]) fill(row.cells[1], COLUMNS[1][1](found[at])); });
}

export function heldOne(main, id) {
  let version = 0;
  return async () => {
    const one = await look(`/v1/approvals/${id}?${(me.roles ?? []).map((one) => `roles=${encodeURIComponent(one)}`).join("&")}`);
    if (`${one.version}${one.state}` === version) return;
    version = `${one.version}${one.state}`;
    const why = h("div");
    fill(main, h("div.head", h("h1", `${content(one)}`), h("span.site", `posting ${one.id}, ${kind(one.kind)}`), h("a", { href: "#/held" }, "all that is held")),
      buttons(one), h("div.columns", h("div", reasons(one), sentences(one.record?.said), why, around(one)), h("div", details(one))));
    if (one.event_id && one.state === "held") closely(why, one.event_id);
  };
}

/** What the models say when they are asked again, closely; the posting is shown without waiting for it. */
async function closely(place, event) {
  const told = await look(`/v1/decisions/${event}/reasons`).catch((error) => ({ model: "", reasons: [], problem: error.message }));
  const answers = [told, told.account].filter((one) => one && one.model !== null);
  if (answers.length > 0) fill(place, h("section.card", h("h2", "What the model says"), answers.flatMap(answer)));
}

/** Whether a posting keeps a lot from use, so that somebody is to say what becomes of it. */
const keeps = ({ kind, payload, state }) => ["acknowledged", "simulated"].includes(state) && Boolean(payload.lot)
  && ((kind === "stock_transfer" && payload.movement === "344") || (kind === "batch_status" && payload.restricted === true));

const answer = (told) => [
  told.problem ? h("p.hint", told.problem) : h("ul", told.reasons.map((text) => h("li", text))),
  told.model && h("p.quiet", `${told.model}: ${(told.confidence * 100).toFixed(0)} % sure that it is ${told.said ?? "normal"}`),
];

function buttons(one) {
  const back = one.state === "acknowledged" && one.kind !== "reversal" && may("reverse");
  if (back || keeps(one)) return h("div.buttons", h("p.hint", one.document ? `Document ${one.document} is booked.` : "It was not sent: a dry run."),
    keeps(one) && h("a.button", { href: `#/lots/${one.id}` }, "What becomes of the lot…"),
    back && h("button.main.danger", { type: "button", onclick: () => takeBack(one) }, "Take back…"));
  if (one.state !== "held") return h("p.hint", `It is ${one.state.replaceAll("_", " ")} now${one.document ? `: document ${one.document}` : ""}.`);
  if (!may("approve")) return h("p.hint", "You may look at it, and not decide.");
  const granted = (decision) => !me.about.rights || one.allowed.includes(decision);
  if (!["approve", "refuse", "correct"].some(granted)) return h("p.hint", "You may look at it, and not decide: it takes a role that may, for this kind of posting and this value.");
  return h("div.buttons",
    granted("approve") && h("button.main", { type: "button", onclick: () => decide(one, "approve") }, "Approve…"),
    granted("correct") && one.record?.correctable?.length > 0 && h("button.main.plain", { type: "button", onclick: () => decide(one, "correct") }, "Correct…"),
    granted("refuse") && h("button.main.danger", { type: "button", onclick: () => decide(one, "refuse") }, "Refuse…"),
    !granted("approve") && h("p.quiet", `Your roles may ${one.allowed.join(" and ")} it, and not approve.`));
}

const takeBack = (one) => confirmAct({
  title: `Take back document ${one.document}`, about: "By a posting of its own, which the ERP books as a cancellation. Once per document.", verb: "Sign and take back", danger: true,
  done: (reason, _, password) => act("/v1/reversals", { document: one.document, reason }, password),
});

const ASKED = {
  approve: { title: "Approve", about: (one) => `It is posted to ${one.target}.`, verb: "Sign and approve", signs: "Approved by", reasons: ["weighed again, it is right", "checked with the line, it is right"] },
  refuse: { title: "Refuse", about: () => "It is never posted. The report stays in the trail.", verb: "Sign and refuse", signs: "Refused by", reasons: ["reported twice", "wrong unit, is reported again", "not used for this order"] },
  correct: { title: "Correct", about: (one) => `A posting with these figures takes its place, and goes to ${one.target}.`, verb: "Sign the correction", signs: "Corrected and approved by", reasons: ["weighed again", "typed wrong"] },
};

const WORDS = new Set(["cause", "account", "scrap_reason"]); // all other fields are quantities

/** Which causes are likely or usual, with what they stand for; empty where nothing is known. */
const usual = (one, name) => {
  const causes = (one.suggested ?? []).filter((cause) => cause.field === name);
  const often = (cause) => (cause.share === null ? `${cause.times} of ${cause.of} here` : `${Math.round(100 * cause.share)} %`);
  return causes.length > 0 ? `, for example ${causes.map((cause) => `${cause.value}${cause.text && `: ${cause.text}`} (${often(cause)})`).join("; ")}` : "";
};

const decide = (one, decision) => {
  const { title, about, verb, signs, reasons: words } = ASKED[decision];
  const fields = decision === "correct" ? one.record.correctable.map((name) => ({ name, label: WORDS.has(name) ? field(name) + usual(one, name) : `${field(name)} in ${unit(one.payload.unit)}`, value: one.payload[name] ?? "" })) : [];
  return confirmAct({
    title: `${title} ${content(one)}`, about: about(one), verb, danger: decision === "refuse", reasons: words, signs, fields,
    done: (reason, given, password) => act("/console/sign", {
      id: one.id, version: one.version, decision, shown_sha256: one.shown_sha256, reason, password,
      changes: Object.fromEntries(Object.entries(given).filter(([name, value]) => value !== (one.payload[name] ?? ""))),
    }),
  });
};
