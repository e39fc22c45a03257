// From tag to ERP document: one event's whole life.

import { look } from "/console/api.js";
import { badge, fill, h, pairs } from "/console/dom.js";
import { pretty } from "/console/quarantine.js";
import { content, field, kind, moment } from "/console/words.js";

const QUIET = new Set(["payload_sha256", "sha256", "wire_sha256", "record_sha256", "features", "reasons", "score", "subject", "would_post", "live", "postings", "outputs"]);

export function trace(main, ...rest) {
  const name = rest.join("/");
  const search = h("input", { type: "search", value: name, placeholder: "event, posting:ID, message id, document, key", "aria-label": "what to trace", required: true });
  const found = h("div");
  fill(main, h("h1", "Trace"), h("form.search", { onsubmit: (event) => { event.preventDefault(); location.hash = `#/trace/${encodeURIComponent(search.value.trim())}`; } }, search, h("button.main", { type: "submit" }, "Trace")), found);
  if (!name) { search.focus(); return null; }
  let seen = "";
  return async () => {
    let life;
    try { life = await look(`/v1/trace/${encodeURIComponent(name)}`); } catch (error) {
      if (error.status === undefined) throw error;
      fill(found, h("p.hint", error.message));
      return;
    }
    const now = JSON.stringify(life);
    if (now === seen) return;
    seen = now;
    fill(found, arrived(life.event), findingOf(life.event), h("ol.life", life.history.map((row) => step(row))), life.postings.map((one) => posting(one, life.taken_back)));
  };
}

/** A finding of reconciliation has a page that says what shows it, and what the books say after it. */
const findingOf = (event) => event?.topic === "gatepost/reconciliation"
  && h("p.hint", "It is a finding: ", h("a", { href: `#/findings/${event.message.split("/").at(-1)}` }, "its evidence, and what the books say now"));

const arrived = (event) => event && h("section.card", h("h2", `Event ${event.id} `, badge(event.became ?? event.state)),
  pairs([["from", event.source], ["topic", h("code", event.topic)], ["arrived", moment(event.received_at)], ["message", event.message], ["why", event.reason]]),
  h("details", h("summary", "what arrived"), h("pre", pretty(event.payload))));

function step(row) {
  const { detail } = row;
  const score = detail.score, account = detail.account?.movement && detail.account;
  return h("li", { class: row.alarm ? "alarm" : null },
    h("div.when", moment(row.at), h("small", ` #${row.seq}`)),
    h("div", h("b", field(row.action)), " ", h("span.quiet", `by ${row.actor}${row.posting ? `, posting ${row.posting}` : ""}`),
      (detail.reasons ?? []).length > 0 && h("ul", detail.reasons.map((text) => h("li", text))),
      detail.said && typeof detail.said === "object" && pairs(Object.entries(detail.said)),
      score && gave(score),
      account && h("p.quiet", `account ${account.account || "none: no rule fits"}`),
      account?.score && gave(account.score),
      pairs(Object.entries(detail).filter(([name, value]) => !QUIET.has(name) && value !== null && value !== "" && typeof value !== "object").map(([name, value]) => [field(name), String(value)])),
      h("details", h("summary", "record"), h("pre", JSON.stringify(detail, null, 2)))));
}

const gave = (score) => h("p.quiet", `${score.model} gave ${(score.confidence * 100).toFixed(score.confidence < 0.01 ? 2 : 1)} %${score.said ? ` to ${score.said}` : ""}`);

/** The reversal of a posting, or what a reversal takes back. */
const reversals = (one, takenBack) => takenBack.flatMap((back) => back.posting === one.id
  ? [["taken back by", h("span", h("a", { href: `#/trace/posting:${back.by}` }, `posting ${back.by}`), " ", badge(back.state), back.by_document && ` ${back.by_document}`)]]
  : back.by === one.id ? [["takes back", h("span", `${back.document} of `, h("a", { href: `#/trace/posting:${back.posting}` }, `posting ${back.posting}`))]] : []);

const posting = (one, takenBack) => h("section.card", h("h2", h("a", { href: `#/held/${one.id}` }, `Posting ${one.id}`), " ", badge(one.state)),
  pairs([["what", `${kind(one.kind)}: ${content(one)}`], ["document", one.document && h("b", one.document)], ...reversals(one, takenBack), ["the ERP says", one.error], ["key", one.idempotency_key]]));
