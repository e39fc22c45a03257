// Lots that are kept from use for a defect: what may become of each, what that costs, and the choice.

import { act, look, may } from "/console/api.js";
import { confirmAct } from "/console/ask.js";
import { badge, fill, h, pairs, table } from "/console/dom.js";
import { age, moment, money, plain } from "/console/words.js";

const CHOICES = {
  scrap: { title: "Scrap", what: "What is left is taken out of stock, at the expense of whoever bears the cause.", reasons: ["cannot be used", "a customer would refuse it"] },
  rework: { title: "Rework", what: "A note on the order says so; the lot stays where it is until it is reported again.", reasons: ["can be mended"] },
  use_as_is: { title: "Use as it is", what: "It goes back to stock that may be used, and costs nothing.", reasons: ["the defect does not matter here", "agreed with the customer"] },
};
const MOODS = { critical: "bad", major: "warn", minor: "plain" };
const much = (one) => (one.left === null ? "the whole batch" : `${plain(one.left)} ${one.unit}`);
const cost = (one, choice) => (one.costs[choice] === null ? "price × quantity" : money(one.costs[choice], one.currency) || "nothing");

export function lots(main) {
  const list = h("div");
  let seen = "";
  fill(main, h("div.head", h("h1", "Lots kept from use"), h("span.quiet", "for a defect, until somebody says what becomes of them")), list);
  return async () => {
    const { items } = await look("/v1/follow-ons"), now = JSON.stringify(items);
    if (now === seen) return;
    seen = now;
    fill(list, table([
      ["lot", (one) => one.lot], ["since", (one) => moment(one.since), "time"],
      ["what", (one) => h("span", h("b", `${much(one)} of ${one.material}`), h("br"), h("small", [one.material_text, one.order && `order ${one.order}`, one.work_center].filter(Boolean).join(", ")))],
      ["defect", (one) => badge(one.severity, MOODS[one.severity])],
      ["usual, and its cost", (one) => `${CHOICES[one.suggested].title}: ${cost(one, one.suggested)}`],
    ], items, { empty: "No lot is kept from use, or about each somebody has said what becomes of it.", href: (one) => `#/lots/${one.posting}`, label: "lots kept from use" }));
  };
}

export function lotOne(main, id) {
  let seen = "";
  const said = h("div");
  return async () => {
    const one = await look(`/v1/follow-ons/${id}`), now = JSON.stringify(one);
    if (now === seen) return;
    seen = now;
    fill(main, h("div.head", h("h1", `Lot ${one.lot}: ${much(one)} of ${one.material}`), h("a", { href: "#/lots" }, "all lots kept from use")), said, choices(one, said),
      h("section.card", h("h2", "What it is about"), pairs([
        ["material", [one.material, one.material_text].filter(Boolean).join("  ")], ["lot", one.lot], ["place", one.storage_location], ["order", one.order], ["work centre", one.work_center],
        ["defect", badge(one.severity, MOODS[one.severity])], ["kept since", `${moment(one.since)}, ${age(one.since)} ago`], ["kept from use", one.quantity && `${plain(one.quantity)} ${one.unit}`],
        ["by", h("a", { href: `#/held/${one.posting}` }, `posting ${one.posting}`)], ["before", one.decided ? "somebody has said of a part of it, or of all, what becomes of it" : null],
      ])));
  };
}

function choices(one, said) {
  if (Number(one.left ?? 1) === 0) return h("p.hint", "About all of it somebody has said what becomes of it; the draft waits in the queue, or is booked.");
  return h("div.choices", Object.entries(CHOICES).map(([name, { title, what }]) => h("section.card.choice",
    h("h2", title, " ", name === one.suggested && h("span.badge.is-good", `usual for a ${one.severity} defect`)),
    h("p.cost", `costs ${cost(one, name)}`), h("p.quiet", what),
    may("ingest") && h("div.buttons", h("button.main", { class: name === one.suggested ? "main" : "main plain", type: "button", onclick: () => choose(one, name, said) }, `${title}…`)))),
  !may("ingest") && h("p.hint", "You may look at it, and not choose: that takes the scope ingest."));
}

async function choose(one, choice, said) {
  const { title, what, reasons } = CHOICES[choice];
  const done = await confirmAct({
    title: `${title}: lot ${one.lot}`, about: `${what} Nothing is posted yet: a draft waits for a signature.`, verb: `Sign: ${title.toLowerCase()}`, signs: "Chosen by", reasons,
    fields: [{ name: "quantity", label: `how much of it, in ${one.unit}`, value: one.left ?? "", inputmode: "decimal" }],
    done: (reason, { quantity }, password) => act(`/v1/follow-ons/${one.posting}`, { choice, quantity: quantity.replace(",", "."), reason }, password),
  });
  if (done) fill(said, h("p.hint", { role: "status" }, `${title} is on record, chosen by ${done.by}. Its draft waits for a signature: `, h("a", { href: `#/trace/follow_on:${done.report}` }, `what became of ${done.report}`), "."));
}
