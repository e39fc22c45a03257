// The console: who is there, which page, and the frame around it.

import { Gone, logIn, logOut, look, me, remember } from "/console/api.js";
import { fill, h } from "/console/dom.js";
import { useUnits, useZone } from "/console/words.js";
import { overview } from "/console/overview.js";
import { held, heldOne } from "/console/held.js";
import { dead, deadOne } from "/console/dead.js";
import { quarantine, quarantineOne } from "/console/quarantine.js";
import { findingOne, findings } from "/console/findings.js";
import { lotOne, lots } from "/console/lots.js";
import { trace } from "/console/trace.js";
import { models } from "/console/models.js";
import { audit } from "/console/audit.js";

const EVERY_MS = 2000;
const PAGES = [
  ["overview", "Overview", overview], ["held", "Held", held, heldOne], ["dead", "Dead letters", dead, deadOne],
  ["quarantine", "Quarantine", quarantine, quarantineOne], ["findings", "Findings", findings, findingOne], ["lots", "Lots", lots, lotOne], ["trace", "Trace", trace, trace], ["models", "Models", models],
  ["audit", "Audit", audit],
];
const COUNTS = { held: (at) => at.waiting.to_decide, dead: (at) => at.waiting.dead, quarantine: (at) => at.waiting.quarantined };

const main = h("main", { id: "main", tabindex: "-1" });
const banner = h("div.banner", { role: "alert", hidden: true });
const counts = {};
let shown = null; // what the page does at each beat
let goneSince = null;

function frame() {
  const links = PAGES.map(([name, title]) => {
    counts[name] = h("span.count", { hidden: true });
    return h("a", { href: `#/${name}`, "data-page": name }, h("span", title), counts[name]);
  });
  const theme = h("button.quiet", { type: "button", onclick: turn, title: "light or dark" }, "◐");
  fill(document.body,
    h("a.skip", { href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "skip to the page"),
    h("header", h("img", { src: "/console/mark.svg", alt: "", width: 28, height: 28 }),
      h("strong", { title: `plant ${me.about.site ?? ""}` }, "Gatepost"), h("span.site", `plant ${me.about.site ?? ""}`),
      h("nav", { "aria-label": "pages" }, links),
      h("span.who", me.full_name || me.user, " ", theme, h("button.quiet", { type: "button", onclick: logOut }, "log out"))),
    banner, main, h("footer", `times of ${me.about.zone ?? "UTC"}`));
}

function turn() {
  const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark");
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
}

function login() {
  const said = h("p.wrong", { role: "alert" });
  const user = h("input", { name: "user", autocomplete: "username", required: true });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const form = h("form.login", {
    onsubmit: async (event) => {
      event.preventDefault();
      fill(said);
      try { await logIn(user.value, password.value); } catch (error) { password.value = ""; fill(said, error.message); password.focus(); }
    },
  }, h("img", { src: "/console/mark.svg", alt: "", width: 56, height: 56 }), h("h1", "Gatepost"),
    h("p.site", `plant ${me.about.site ?? ""}, version ${me.about.version ?? ""}`),
    me.anybody === false && h("p.hint", "Nobody can log in yet. On the agent's machine: ", h("code", "gatepost user add NAME --full-name \"…\" --scope read --scope approve")),
    h("label", "User", user), h("label", "Password", password), said, h("button.main", { type: "submit" }, "Log in"));
  fill(document.body, h("main.centre", form));
  user.focus();
}

function settle() {
  useZone(me.about.zone ?? "UTC");
  useUnits(me.about.units ?? {});
}

async function route() {
  shown = null;
  if (!me.user) return login();
  if (!main.isConnected) frame();
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const [page, title, list, one] = PAGES.find(([known]) => known === name) ?? PAGES[0];
  for (const link of document.querySelectorAll("nav a")) {
    link.toggleAttribute("aria-current", link.dataset.page === page);
    if (link.dataset.page === page) link.scrollIntoView({ block: "nearest", inline: "center" }); // on a phone they lie beside the screen
  }
  document.title = `${title} · Gatepost`;
  fill(main, h("p.empty", "…"));
  const draw = rest.length && rest[0] ? one : list;
  shown = draw(main, ...rest);
  await beat();
}

async function beat() {
  const page = shown;
  try {
    const status = await look("/v1/status");
    for (const [name, of] of Object.entries(COUNTS)) { const n = of(status); counts[name].hidden = !n; fill(counts[name], String(n)); }
    if (page === shown) await page?.(status);
    goneSince = null;
    banner.hidden = true;
  } catch (error) {
    if (!(error instanceof Gone)) { if (me.user) tell(error.message); return; }
    goneSince ??= new Date();
    tell(`The agent has not answered since ${goneSince.toLocaleTimeString()}. What you see is from then; buttons do nothing until it is back.`);
  }
  document.body.classList.toggle("gone", goneSince !== null);
}

function tell(text) { banner.hidden = false; fill(banner, text); }

async function begin() {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "";
  window.addEventListener("hashchange", route);
  window.addEventListener("who", () => { settle(); frame(); route(); });
  try { await remember(); } catch { fill(document.body, h("p.empty", "The agent does not answer. Reload this page when it is back.")); return; }
  settle();
  await route();
  setInterval(() => { if (me.user && !document.hidden) beat(); }, EVERY_MS);
}

begin();
