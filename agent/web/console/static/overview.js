// Everything on one screen: is it well, what waits, what stands still, what came last.

import { act, look, may, me } from "/console/api.js";
import { badge, fill, h, pairs, table } from "/console/dom.js";
import { confirmAct } from "/console/ask.js";
import { plot } from "/console/plot.js";
import { age, bytes, moment } from "/console/words.js";

export function overview(main) {
  const tiles = h("div.tiles"), chart = h("section.card"), sources = h("section.card"), targets = h("section.card");
  const stopped = h("section.card"), recent = h("section.card"), store = h("section.card");
  fill(main, h("h1", "Overview"), tiles, h("div.columns", h("div", chart, sources, stopped), h("div", targets, recent, store)));
  return async (status) => {
    const [health, history, events] = await Promise.all([look("/v1/health"), look("/v1/history"), look("/v1/events/recent?limit=100")]);
    fill(tiles, tilesOf(status, health));
    fill(chart, h("h2", "Backlog, last hour"), plot(history, [["waiting", "to be sent"], ["held", "held"], ["dead", "dead or doubtful"]]));
    fill(recent, h("h2", "What came last"), recentOf(events.items.filter((one) => one.message).slice(-10)));
    fill(sources, h("h2", "Sources"), sourcesOf(status.sources));
    fill(targets, h("h2", "Targets"), targetsOf(status.targets, status.paused));
    fill(stopped, h("h2", "Paused, blocked"), stoppedOf(status));
    fill(store, h("h2", "Store and audit trail"), storeOf(status, health));
  };
}

function tilesOf(status, health) {
  const { postings, oldest, waiting: mine } = status;
  const waiting = postings.ready + postings.sending + postings.in_doubt;
  const lost = status.balance.events || status.balance.postings;
  return [
    tile("Agent", health.ready ? "ready" : "not ready", health.ready ? "good" : "bad", health.why_not ?? (health.stuck.length ? `stuck: ${health.stuck.join(", ")}` : `since ${moment(status.agent.started_at)}`)),
    tile("Held for a person", mine.to_decide, mine.to_decide ? "warn" : "good", mine.to_decide ? `oldest ${age(oldest.held)}` : "nobody is waited for", "#/held"),
    tile("Dead or doubtful", mine.dead, mine.dead ? "bad" : "good", mine.dead ? "their orders stand still" : "none", "#/dead"),
    tile("Quarantine", mine.quarantined, mine.quarantined ? "warn" : "good", mine.quarantined ? "not read, kept" : "everything could be read", "#/quarantine"),
    tile("To be sent", waiting, status.oldest.ready && Date.now() - Date.parse(status.oldest.ready) > 60000 ? "warn" : "good", status.oldest.ready ? `oldest ${age(status.oldest.ready)}` : `${postings.acknowledged} acknowledged in all`),
    tile("Balance", lost ? "off" : "0", lost ? "bad" : "good", lost ? "something is missing: gatepost status" : "nothing lost, nothing doubled"),
  ];
}

const tile = (title, value, mood, below, href) => h(href ? "a.tile" : "div.tile", { href, class: `tile is-${mood}` }, h("span", title), h("strong", String(value)), h("small", below));

const sourcesOf = (sources) => table([
  ["source", ([name]) => name],
  ["state", ([, one]) => badge(one.connected ? "up" : "down", one.connected ? "good" : "bad")],
  ["last delivery", ([, one]) => (one.last_delivery_at ? `${age(one.last_delivery_at)} ago` : "never")],
  ["says", ([, one]) => one.error || one.broker || ""],
], Object.entries(sources), { empty: "no source is configured", label: "sources" });

function targetsOf(targets, paused) {
  const stops = Object.fromEntries(paused.filter((one) => one.scope === "target").map((one) => [one.key, one]));
  return table([
    ["target", ([name]) => name],
    ["state", ([name, one]) => (stops[name] || stops["*"] ? badge("paused", "warn") : badge(one.connected ? "up" : "down", one.connected ? "good" : "bad"))],
    ["under way", ([, one]) => one.in_the_air ?? 0, "number"],
    ["says", ([, one]) => one.error || one.waiting || ""],
    ["", ([name]) => (may("pause") && !stops[name] ? h("button.small", { type: "button", onclick: () => pause("target", name) }, "pause") : "")],
  ], Object.entries(targets), { empty: "no target is configured", label: "targets" });
}

const pause = (scope, key) => confirmAct({
  title: `Pause ${scope} ${key}`, about: "Reports are still taken in and decided; their postings wait until you let them go on.",
  verb: "Pause", done: (reason, _, password) => act("/v1/pause", { scope, key, reason }, password),
});

const resume = (scope, key) => confirmAct({
  title: `Let ${scope} ${key} go on`, about: "What waits is sent in its order.", verb: "Go on",
  done: (reason, _, password) => act("/v1/resume", { scope, key, reason }, password),
});

function stoppedOf({ paused, blocked_lanes: lanes }) {
  if (!paused.length && !lanes.length) return h("p.empty", "nothing is paused, no order is blocked");
  return [
    paused.length > 0 && table([
      ["paused", (one) => `${one.scope} ${one.key}`], ["since", (one) => age(one.since)], ["by", (one) => one.by], ["why", (one) => one.reason],
      ["", (one) => (may("pause") ? h("button.small", { type: "button", onclick: () => resume(one.scope, one.key) }, "go on") : "")],
    ], paused, { label: "paused" }),
    lanes.length > 0 && table([
      ["blocked", (one) => one.ordering_key.replace("/", " ")], ["line", (one) => one.line],
      ["behind", (one) => h("a", { href: `#/dead/${one.head ?? one.posting ?? ""}` }, `posting ${one.head ?? one.posting ?? ""}`)],
    ], lanes, { label: "blocked" }),
  ].filter(Boolean);
}

function storeOf(status, health) {
  const { store } = status;
  return pairs([
    ["writes", store.trouble ? badge(store.trouble, "bad") : badge("well", "good")],
    ["audit chain", badge(health.chain_ok ? "verified" : "broken", health.chain_ok ? "good" : "bad")],
    ["verified", health.chain_checked_at && `${age(health.chain_checked_at)} ago`],
    ["file", bytes(store.bytes)], ["free", bytes(store.free_bytes)],
    ["configuration", status.agent.config], ["version", me.about.version],
    ["problems", [...status.agent.problems, ...health.problems].filter((one, at, all) => all.indexOf(one) === at).join("; ")],
  ]);
}

const recentOf = (events) => table([
  ["event", (one) => String(one.id)], ["at", (one) => moment(one.received_at).slice(11), "time"], ["message", (one) => (one.message ?? one.topic).replace(/^event:/, "")],
  ["became", (one) => badge(one.became)],
], events.toReversed(), { empty: "nothing yet", href: (one) => `#/trace/${one.id}`, label: "recent events" });

