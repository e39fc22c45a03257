// What the ERP refused, and what nobody knows of: the ERP's own words, and the ways out.

import { act, look, may } from "/console/api.js";
import { confirmAct } from "/console/ask.js";
import { badge, fill, h, table } from "/console/dom.js";
import { COLUMNS, details, everything } from "/console/postings.js";
import { content } from "/console/words.js";

export function dead(main) {
  const list = h("div");
  fill(main, h("h1", "Dead letters"), h("p.quiet", "Refused by the ERP, or sent and never answered. Each stops its own order and nothing else."), list);
  return async () => {
    fill(list, table([...COLUMNS, ["state", (one) => badge(one.state)], ["the ERP says", (one) => one.error ?? ""]], await everything("/v1/deadletters"), {
      empty: "Nothing was refused, and of everything is known what became of it.", href: (one) => `#/dead/${one.id}`, label: "dead letters",
    }));
  };
}

export function deadOne(main, id) {
  let version = "";
  return async () => {
    const one = await look(`/v1/approvals/${id}`);
    if (`${one.version}${one.state}` === version) return;
    version = `${one.version}${one.state}`;
    fill(main, h("div.head", h("h1", content(one)), h("span.site", `posting ${one.id}`), h("a", { href: "#/dead" }, "all dead letters")),
      ways(one), h("section.card.reasons", h("h2", "The ERP says"), h("pre", one.error ?? "nothing")), h("div.columns", details(one)));
  };
}

function ways(one) {
  if (!["dead", "doubtful"].includes(one.state)) return h("p.hint", `It is ${one.state.replaceAll("_", " ")} now${one.document ? `: document ${one.document}` : ""}.`);
  if (!may("replay")) return h("p.hint", "You may look at it, and not decide.");
  const never = h("button.main.danger", { type: "button", onclick: () => ask(`Never send posting ${one.id}`, "Its order goes on without it.", "Never send", `/v1/deadletters/${one.id}/refuse`) }, "Never send…");
  if (one.state === "dead") {
    return h("div.buttons", h("button.main", { type: "button", onclick: () => ask(`Send posting ${one.id} again`, "Unchanged, after the cause was removed in the ERP.", "Send again", `/v1/deadletters/${one.id}/replay`) }, "Send again…"), never);
  }
  return h("div.buttons",
    h("button.main", { type: "button", onclick: () => named(one) }, "It is booked…"),
    h("button.main", { type: "button", onclick: () => ask(`Posting ${one.id} is not in the ERP`, `Search the ERP for the key ${one.idempotency_key} first: if it is there, sending again books it twice.`, "It is not booked: send", `/v1/doubtful/${one.id}/not-booked`) }, "It is not booked…"), never);
}

const ask = (title, about, verb, path) => confirmAct({ title, about, verb, danger: verb.startsWith("Never"), done: (reason, _, password) => act(path, { reason }, password) });

const named = (one) => confirmAct({
  title: `The document of posting ${one.id}`, about: `As the ERP numbers it; the key ${one.idempotency_key} stands in it.`, verb: "That is it",
  fields: [{ name: "document", label: "Document", placeholder: "2026/4900000001" }],
  done: (reason, { document }, password) => act(`/v1/doubtful/${one.id}/document`, { reason, document }, password),
});
