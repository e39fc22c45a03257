// What could not be read: why, beside what arrived.

import { act, look, may } from "/console/api.js";
import { confirmAct } from "/console/ask.js";
import { fill, h, pairs, table } from "/console/dom.js";
import { everything } from "/console/postings.js";
import { age, moment } from "/console/words.js";

export function quarantine(main) {
  const list = h("div");
  fill(main, h("h1", "Quarantine"), h("p.quiet", "Arrived and kept, but not read: nothing is posted of it. After the mapping or the master data was mended it is read again."), list);
  return async () => {
    fill(list, table([
      ["event", (one) => String(one.id)], ["age", (one) => age(one.received_at)], ["source", (one) => one.source],
      ["topic", (one) => h("code", one.topic)], ["why", (one) => one.reason],
    ], await everything("/v1/quarantine"), { empty: "Everything could be read.", href: (one) => `#/quarantine/${one.id}`, label: "quarantine" }));
  };
}

export function quarantineOne(main, id) {
  let state = "";
  return async () => {
    const { event } = await look(`/v1/trace/${id}`);
    const now = event.became ?? event.state;
    if (now === state) return;
    state = now;
    fill(main, h("div.head", h("h1", `Event ${event.id}`), h("span.site", event.source), h("a", { href: "#/quarantine" }, "all of the quarantine")),
      state === "quarantined" && may("replay")
        ? h("div.buttons",
          h("button.main", { type: "button", onclick: () => again(id) }, "Read it again…"),
          h("button.main.danger", { type: "button", onclick: () => keep(id) }, "Keep it here…"))
        : h("p.hint", state === "quarantined" ? "You may look at it, and not decide." : `It is ${state.replaceAll("_", " ")} now: `, state !== "quarantined" && h("a", { href: `#/trace/${id}` }, "trace it")),
      h("div.columns",
        h("section.card.reasons", h("h2", "Why"), h("p", event.reason ?? ""), pairs([["topic", h("code", event.topic)], ["arrived", moment(event.received_at)], ["message", event.message]])),
        h("section.card", h("h2", "What arrived"), h("pre", pretty(event.payload)))));
  };
}

/** JSON with its lines; what is none as it is. */
export function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

const again = (id) => confirmAct({ title: `Read event ${id} again`, about: "With the mapping and the master data as they are now.", verb: "Read again", done: (reason, _, password) => act(`/v1/quarantine/${id}/replay`, { reason }, password) });
const keep = (id) => confirmAct({ title: `Keep event ${id} in quarantine`, about: "Also when what it waits for becomes known: it was booked by hand.", verb: "Keep it here", danger: true, done: (reason, _, password) => act(`/v1/quarantine/${id}/keep`, { reason }, password) });
