// A posting as a person decides about it: shared by what is held and what is dead.

import { look, me } from "/console/api.js";
import { badge, h, pairs, table } from "/console/dom.js";
import { bars } from "/console/plot.js";
import { age, content, field, kind, money, moment, unit } from "/console/words.js";

/** The columns that every list of postings has. */
export const COLUMNS = [
  ["posting", (one) => String(one.id)],
  ["age", (one) => age(one.created_at), "nowrap"],
  ["line", (one) => one.line],
  ["what", (one) => h("span", h("b", content(one)), h("br"), h("small", `${kind(one.kind)}, ${one.ordering_key.replace("/", " ")}`))],
  ["value", (one) => money(one.value, me.about.currency), "number"],
];

const OVER = new Set(["refused", "superseded", "simulated"]); // nothing of it will ever be posted

/** What it is about, in the words of the floor and of the ERP. */
export function details(one) {
  const shown = Object.entries(one.payload).filter(([, value]) => value !== "" && value !== null);
  return [
    one.record?.will_post?.length > 0 && h("section.card", h("h2", `What ${one.target} ${one.document ? "got" : OVER.has(one.state) ? "would have got" : "will get"}`), pairs(one.record.will_post.map(({ name, value }) => [name, value]))),
    h("section.card", h("h2", "What is posted"), pairs([
      ["what", kind(one.kind)], ["to", one.target], ...shown.map(([name, value]) => [field(name), name === "unit" || name === "floor_unit" ? unit(value) : String(value)]),
      ["value", money(one.value, me.about.currency)],
    ])),
    h("section.card", h("h2", "Where it stands"), pairs([
      ["state", badge(one.state)], ["line", one.line], ["arrived", moment(one.created_at)], ["changed", moment(one.changed_at)],
      ["tries", one.attempts || null], ["document", one.document], ["key in the ERP", one.idempotency_key],
      ["event", one.event_id && h("a", { href: `#/trace/${one.event_id}` }, `trace event ${one.event_id}`)],
      ["signed by", one.signed_by?.join(", ")], ["record", h("code.hash", one.record_hash)], ["version", String(one.version)],
    ])),
  ];
}

/** What it is about, a sentence for each reader. */
export const sentences = (said) => Object.keys(said ?? {}).length > 0 && typeof said === "object"
  && h("section.card", h("h2", "In plain words"), pairs(Object.entries(said)));

/** Why a person must look at it, and how far it is from what was expected. */
export const reasons = (one) => (one.reasons.length > 0 || one.confidence !== null) && h("section.card.reasons",
  h("h2", one.state === "held" ? "Why it is held" : one.reasons.length ? "Why a person was asked" : "How usual it was"),
  h("ul", one.reasons.map((text) => h("li", text))),
  one.record?.expected?.quantity && bars([["expected", one.record.expected.quantity, "plain"], ["reported", one.record.quantity, "warn"]], one.record.unit),
  one.confidence !== null && h("p.quiet", `confidence ${(one.confidence * 100).toFixed(one.confidence < 0.01 ? 2 : 0)} %`));

/** What the floor said, and what became of postings like it. */
export const around = (one) => [
  one.record?.floor && h("section.card", h("h2", "What the floor said"), pairs([
    ["quantity", one.record.floor.quantity && `${one.record.floor.quantity} ${one.record.floor.unit}`], ["from", one.record.floor.source], ["topic", h("code", one.record.floor.topic)],
    ["message", one.record.floor.message], ["at", moment(one.record.floor.received_at)],
    ...(one.record.floor.live ?? []).map((fact) => [field(fact.name ?? fact.kind ?? "live"), `${fact.value} (${age(fact.at ?? fact.since)})`]),
  ])),
  one.history?.length > 0 && h("section.card", h("h2", "Others of the same cause"), table([
    ["posting", (other) => h("a", { href: `#/held/${other.id}` }, String(other.id))], ["when", (other) => moment(other.created_at).slice(0, 10)],
    ["what", (other) => `${other.quantity} ${other.unit} of ${other.material}`], ["became", (other) => badge(other.state)], ["why", (other) => other.why ?? ""],
  ], one.history, { label: "history" })),
];

/** All pages of a list. */
export async function everything(path) {
  const found = [];
  let next = 0;
  do {
    const page = await look(`${path}${path.includes("?") ? "&" : "?"}limit=500&after=${next}`);
    found.push(...page.items);
    next = page.next;
  } while (next !== null && found.length < 5000);
  return found;
}
