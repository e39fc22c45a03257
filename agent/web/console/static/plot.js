// Lines over time as SVG, drawn by hand: no library, nothing loaded.

import { h, s } from "/console/dom.js";
import { moment } from "/console/words.js";

const WIDE = 600, HIGH = 180, LEFT = 40, BELOW = 22, ABOVE = 8;

/** `history` {every_s, items: [{at, …}]}; `series` are [field, words]. */
export function plot(history, series) {
  const items = history.items;
  if (items.length < 2) return h("p.empty", "The first points come within a minute.");
  const most = nice(Math.max(...items.flatMap((one) => series.map(([name]) => one[name])), 4));
  const [from, to] = [Date.parse(items[0].at), Date.parse(items.at(-1).at)];
  const x = (one) => LEFT + ((Date.parse(one.at) - from) / (to - from)) * (WIDE - LEFT - 4);
  const y = (value) => ABOVE + (1 - value / most) * (HIGH - ABOVE - BELOW);
  const lines = [0, most / 2, most].map((value) => s("g", { class: "grid" },
    s("line", { x1: LEFT, x2: WIDE - 4, y1: y(value), y2: y(value) }), text(LEFT - 6, y(value) + 4, String(value), "end")));
  const drawn = series.map(([name], at) => s("polyline", { class: `line-${at}`, points: items.map((one) => `${x(one).toFixed(1)},${y(one[name]).toFixed(1)}`).join(" ") }));
  const latest = items.at(-1);
  return h("figure.plot",
    s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": series.map(([name, words]) => `${words}: ${latest[name]}`).join(", ") },
      ...lines, ...drawn, text(LEFT, HIGH - 5, moment(items[0].at).slice(11, 16), "start"), text(WIDE - 4, HIGH - 5, moment(latest.at).slice(11, 16), "end")),
    h("figcaption", series.map(([name, words], at) => h("span", { class: `key-${at}` }, `${words} ${latest[name]}`))));
}

function text(x, y, words, anchor) {
  return s("text", { x, y, "text-anchor": anchor }, words);
}

/** The next even number of two digits at most, so that the half of it is whole. */
function nice(most) {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(most)) - 1);
  return Math.ceil(most / unit / 2) * 2 * unit;
}

/** Two bars: what was expected, what was reported. */
export function bars(rows, unit) {
  const most = Math.max(...rows.map(([, value]) => Number(value)), 1e-9);
  return h("div.bars", { role: "img", "aria-label": rows.map(([name, value]) => `${name} ${value} ${unit}`).join(", ") },
    rows.map(([name, value, mood]) => {
      const bar = s("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", class: `bar is-${mood ?? "plain"}` }, s("rect", { width: Math.max(0.5, (Number(value) / most) * 100), height: 8, rx: 1 }));
      return h("div", h("span", name), bar, h("strong", `${value} ${unit}`));
    }));
}
