// The models that score: which version decides, since when, and how its inputs have moved since training.

import { act, look, may } from "/console/api.js";
import { confirmAct } from "/console/ask.js";
import { badge, fill, h, pairs } from "/console/dom.js";
import { moment } from "/console/words.js";

export function models(main) {
  const list = h("div.cards");
  fill(main, h("h1", "Models"), h("p.quiet", "A model only says how usual a report is. What may be posted without a person is decided by the rules in the configuration."), list);
  let seen = "";
  return async () => {
    const found = await look("/v1/models");
    const now = JSON.stringify(found);
    if (now === seen) return;
    seen = now;
    fill(list, found.items.length ? found.items.map(card) : h("p.empty", "no model is configured"));
  };
}

const MOODS = { green: "good", warn: "warn", alarm: "bad" };

const card = (one) => h("section.card", h("h2", one.name, " ", one.drift && badge(one.drift.level, MOODS[one.drift.level])),
  pairs([
    ["scores", one.scores ? one.scores : badge("none fits", "bad")], ["why", one.error], ["for", one.workflows.join(", ")],
    ["let decide by", one.approved ? `${one.approved.by}: ${one.approved.reason}` : null],
    ["in its shadow", one.challenger], ["version before", one.previous], ...drift(one.drift),
  ]),
  may("admin") && h("div.buttons", one.previous && h("button.small", { type: "button", onclick: () => back(one) }, "back to the version before…")));

// How its inputs lie, and since when; what to do about it where there is something to do.
const drift = (one) => one ? [
  ["inputs", one.level === "learning" ? "too few reports yet to tell" : one.what || "as before"], ["since", one.since && moment(one.since)],
  ["the bar", one.bar_raised ? "raised: more is held than the configuration asks for" : null],
  ["looked at", one.figures ? `${one.figures.rows} reports, mean score ${one.figures.mean.toFixed(3)}, ${(100 * one.figures.abstained).toFixed(1)} % below the bar` : null],
  ["people's decisions", one.outcomes ? `${one.outcomes.labels}: ${(100 - 100 * one.outcomes.observed).toFixed(1)} % wrong, the model said ${(100 - 100 * one.outcomes.said).toFixed(1)} %` : null],
  ["recalibrated", one.shift ? `its odds are moved by ${one.shift.toFixed(2)} to what people found` : null],
] : [];

const back = (one) => confirmAct({
  title: `${one.name}: version ${one.previous} decides again`, about: "From the next batch on. There is one step back, no second.", verb: "Go back", danger: true,
  done: (reason, _, password) => act(`/v1/models/${one.name}/rollback`, { reason }, password),
});
