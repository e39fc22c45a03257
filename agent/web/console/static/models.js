// The models that score: which version decides, by whose word, how its inputs have moved; and the acts that change it.

import { act, look, may } from "/console/api.js";
import { confirmAct } from "/console/ask.js";
import { badge, fill, h, pairs, table } from "/console/dom.js";
import { moment } from "/console/words.js";

export function models(main) {
  const list = h("div.cards");
  fill(main, h("h1", "Models"), h("p.quiet", "A model only says how usual a report is, what it is like, or how much will be used. What may be posted without a person is decided by the rules in the configuration."), list);
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

const card = (one) => h("section.card", { "aria-label": one.name }, h("h2", one.name, " ", one.drift && badge(one.drift.level, MOODS[one.drift.level])),
  pairs([
    ["scores", one.scores || (one.error ? badge("none fits", "bad") : "not asked yet")], ["why", one.error], ["asked by", one.workflows.join(", ").replaceAll("_", " ")],
    ["let decide by", one.approved ? `${one.approved.by}: ${one.approved.reason}` : null],
    ["in its shadow", one.challenger], ["version before", one.previous], ...drift(one.drift),
  ]),
  one.drift?.figures && inputs(one.drift.figures),
  may("admin") && acts(one));

// How its inputs lie, and since when; what to do about it where there is something to do.
const drift = (one) => one ? [
  ["inputs", one.level === "learning" ? "too little was asked yet to tell" : one.what || "as before"], ["since", one.since && moment(one.since)],
  ["the bar", one.bar_raised ? "raised: more is held than the configuration asks for" : null],
  ["looked at", one.figures && one.held ? `${one.figures.rows} forecasts of a whole week` : one.figures ? `${one.figures.rows} reports, mean score ${one.figures.mean.toFixed(3)}, ${(100 * one.figures.abstained).toFixed(1)} % below the bar` : null],
  ["forecasts", one.held?.outcomes ? `of ${one.held.outcomes} ${percent(one.held.share)} held what they said at most, ${percent(one.held.promised)} should` : null],
  ["people's decisions", one.outcomes ? `${Math.round(one.outcomes.labels * (1 - one.outcomes.observed))} of ${one.outcomes.labels} decided otherwise than proposed (${(100 - 100 * one.outcomes.observed).toFixed(1)} %), the model expected ${(100 - 100 * one.outcomes.said).toFixed(1)} %` : null],
  ["recalibrated", one.shift ? `its odds are moved by ${one.shift.toFixed(2)} to what people found` : null],
] : [];

const WARN = 0.1, ALARM = 0.25; // of the PSI, as the agent has them
const level = (psi) => (psi >= ALARM ? "alarm" : psi >= WARN ? "warn" : "green");

// Every input, the one that differs most first.
const inputs = ({ psi, missing, unanswered }) => h("details", { open: Object.values(psi).some((value) => value >= WARN) },
  h("summary", `${Object.keys(psi).length} inputs, at most ${percent(missing)} missing, ${percent(unanswered)} without an answer`),
  table([
    ["input", ([name]) => name.replaceAll("_", " ")], ["moved (PSI)", ([, value]) => value.toFixed(3), "number"],
    ["", ([, value]) => badge(level(value), MOODS[level(value)])],
  ], Object.entries(psi).sort(([, one], [, other]) => other - one), { label: "how its inputs have moved" }));

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** What could decide in the place of what decides; to the version before leads a way of its own. */
const others = ({ versions, champion, previous }) => versions.filter((one) => one !== champion && one !== previous);

const acts = (one) => h("div.buttons",
  others(one).map((version) => h("button.small", { type: "button", onclick: () => promote(one, version) }, `let version ${version} decide…`)),
  one.previous && h("button.small", { type: "button", onclick: () => back(one) }, "back to the version before…"),
  one.drift && (one.drift.bar_raised || ["warn", "alarm"].includes(one.drift.level)) && h("button.small", { type: "button", onclick: () => accept(one) }, "it is right as it is…"));

const promote = (one, version) => confirmAct({
  title: `${one.name}: version ${version} decides instead of ${one.champion}`,
  about: "From the next batch on, if it has shown on what people decided here that it is better; else you are told what is missing, and nothing changes.",
  verb: "Sign and promote", signs: "What this signature means: the version may decide. Let decide by",
  insist: { on: "unproven", words: "Let it decide all the same: what is missing goes on record, with why you insist." },
  done: (reason, _, password, anyway) => act(`/v1/models/${one.name}/promote`, { version, reason, anyway }, password),
});

const back = (one) => confirmAct({
  title: `${one.name}: version ${one.previous} decides again`, about: "From the next batch on. There is one step back, no second.", verb: "Sign and go back", danger: true,
  signs: "What this signature means: the version before decides again. Let decide by",
  done: (reason, _, password) => act(`/v1/models/${one.name}/rollback`, { reason }, password),
});

const accept = (one) => confirmAct({
  title: `What ${one.name} is asked now is right`, about: "A new product, another sensor, another recipe: the bar is the configuration's again, and the next reports become what later ones are held against.", verb: "Sign and accept",
  signs: "What this signature means: these inputs are right. Accepted by",
  done: (reason, _, password) => act(`/v1/models/${one.name}/accept-drift`, { reason }, password),
});
