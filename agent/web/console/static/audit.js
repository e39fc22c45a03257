// The audit trail: who did what, verified and taken along.

import { download, look } from "/console/api.js";
import { badge, fill, h, table } from "/console/dom.js";
import { field, moment } from "/console/words.js";

export function audit(main) {
  const list = h("div"), checked = h("p.quiet"), said = h("span");
  const alarms = h("input", { type: "checkbox", id: "alarms" });
  const verify = h("button.main", {
    type: "button",
    onclick: async () => {
      verify.disabled = true;
      fill(said, "verifying…");
      try { const found = await look("/v1/audit/verify"); fill(said, badge(found.ok ? "unbroken" : "broken", found.ok ? "good" : "bad"), ` ${found.broken ?? `${found.rows} rows, the last is ${found.head} with hash ${found.hash.slice(0, 16)}…`}`); } catch (error) { fill(said, error.message); }
      verify.disabled = false;
    },
  }, "Verify now");
  fill(main, h("div.head", h("h1", "Audit trail"), verify, h("a.button", { href: "#", onclick: takeAlong }, "Take it along"), said), checked,
    h("label.inline", alarms, "only what somebody should see"), list);
  let last = "";
  return async () => {
    const health = await look("/v1/health");
    fill(checked, `Each row carries the hash of the one before. The agent verified the chain ${health.chain_checked_at ? `on ${moment(health.chain_checked_at)}` : "not yet"}.`);
    const { items } = await look(`/v1/audit?limit=200${alarms.checked ? "&alarms=true" : ""}`);
    const now = `${items.at(-1)?.seq}${alarms.checked}`;
    if (now === last) return;
    last = now;
    fill(list, table([
      ["row", (one) => String(one.seq)], ["at", (one) => moment(one.at), "time"], ["who", (one) => one.actor],
      ["what", (one) => h("span", one.alarm && badge("alarm", "bad"), " ", field(one.action))],
      ["about", (one) => [one.event && h("a", { href: `#/trace/${one.event}` }, `event ${one.event}`), one.posting && ` posting ${one.posting}`], "nowrap"],
      ["why", (one) => one.detail?.why ?? one.detail?.reason ?? one.detail?.document ?? (one.detail?.reasons ?? [])[0] ?? ""],
    ], items.toReversed(), { empty: "nothing yet", label: "audit trail" }));
  };
}

/** Every row, as lines of JSON, saved by the browser. */
async function takeAlong(event) {
  event.preventDefault();
  const link = h("a", { href: URL.createObjectURL(await download("/v1/audit/export")), download: "gatepost-audit.jsonl" });
  link.click();
  URL.revokeObjectURL(link.href);
}
