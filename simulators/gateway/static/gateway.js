// The browser's side of the bench gateway: draw what the server settled, send back what people do.

import { classesOf, COMPONENTS, dress, h, place } from "/static/components.js";

let page = "", about = {}, alive = true, elements = new Map(), seen = 0;

const post = async (path, body) => {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify({ page, ...body }) });
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.error), { status: answer.status, ...said });
  return said;
};

const send = {
  event: (id, event, more = {}) => post("/event", { id, event, with: more }),
  write: (id, write, value) => post("/event", { id, write, value }),
};

const top = h("div", "bench"), stage = h("div", "stage"), complaints = h("div", "complaints"), floating = h("div");
const areas = Object.fromEntries(["top", "left", "main", "right", "bottom"].map((name) => [name, h("div", `dock-${name}`)]));
stage.append(...Object.values(areas));

/** One component into its element; made anew where it is of another type. */
function draw(component, direction) {
  let known = elements.get(component.id);
  const how = COMPONENTS[component.type];
  if (!known) {
    known = how ? how.make(component, send) : h("div");
    known.base = known.className;
    elements.set(component.id, known);
    if (component.events.includes("dom.onClick")) known.addEventListener("click", () => send.event(component.id, "dom.onClick"));
  }
  known.alive = seen;
  if (!how) { known.textContent = `the stand-in does not draw ${component.type}`; return known; }
  how.draw(known, component, kids);
  known.className = [known.base, known.classList.contains("secondary") ? "secondary" : "", ...classesOf(component.props.style)].filter(Boolean).join(" ");
  known.dataset.name = component.name;
  if (direction === "coord") Object.assign(known.style, { position: "absolute", left: `${component.position.x ?? 0}px`, top: `${component.position.y ?? 0}px`, width: `${component.position.width}px`, height: `${component.position.height}px` });
  else if (direction) place(known, component.position, direction);
  return known;
}

function kids(element, children, direction = "row") { arrange(element, children.map((one) => draw(one, direction))); }
kids.views = (element, views) => arrange(element, views.map(view));

function view(shown) {
  const wrap = elements.get(shown.id) ?? h("div", "view");
  elements.set(shown.id, wrap);
  wrap.alive = seen;
  const root = draw(shown.root);
  root.style.flex = "1 1 auto";
  arrange(wrap, [root]);
  return wrap;
}

/** Children in their order, moved only where they are not: what has the focus keeps it. */
function arrange(parent, children) {
  children.forEach((one, at) => { if (parent.children[at] !== one) parent.insertBefore(one, parent.children[at] ?? null); });
  while (parent.children.length > children.length) parent.lastChild.remove();
}

function show(drawn) {
  seen += 1;
  document.documentElement.dataset.theme = drawn.theme;
  document.title = `${drawn.title || drawn.path} · bench gateway`;
  arrange(areas.main, [view(drawn.view)]);
  for (const side of ["top", "left", "right", "bottom"]) arrange(areas[side], drawn.docks.filter((one) => one.side === side).map((one) => { const made = view(one.view); made.style[side === "left" || side === "right" ? "width" : "height"] = one.size ? `${one.size}px` : ""; return made; }));
  arrange(floating, [...drawn.popups.map(popup), ...(drawn.challenge ? [challenge(drawn.challenge)] : [])]);
  complaints.textContent = Object.entries(drawn.complaints).map(([where, what]) => `${where}: ${what}`).join("\n");
  complaints.hidden = !complaints.textContent;
  for (const [id, one] of elements) if (one.alive !== seen && !id.startsWith("popup")) elements.delete(id);
  for (const order of drawn.orders) {
    if (order.type === "went") history.pushState({}, "", `/client${order.path}`);
    if (order.type === "logout") leave();
  }
}

function popup({ id, options, view: inner }) {
  const key = `popup ${id}`;
  let box = elements.get(key);
  if (!box) {
    box = h("div"); const frame = h("div", "popup"), head = h("header"), title = h("span"), shut = h("button"), body = h("div");
    shut.textContent = "×"; shut.ariaLabel = "close"; shut.addEventListener("click", () => post("/event", { close: id }));
    head.append(title, shut); frame.append(head, body); box.append(frame); Object.assign(box, { title, body, head, frame, shut });
    elements.set(key, box);
  }
  box.className = options.modal ? "modal" : "";
  box.frame.classList.toggle("loose", !options.modal);
  box.title.textContent = options.title ?? "";
  box.shut.hidden = options.showCloseIcon === false;
  box.head.hidden = !options.title && options.showCloseIcon === false;
  const size = options.position ?? {}, wanted = inner.size ?? {};
  box.body.style.width = `${size.width ?? wanted.width ?? 640}px`;
  box.body.style.height = `${size.height ?? wanted.height ?? 480}px`;
  arrange(box.body, [view(inner)]);
  return box;
}

let asking = null;
function challenge(asked) {
  if (asking?.id === asked.id) return asking.box;
  const box = h("div", "modal"), form = credentials("Who are you?", "Authentication challenge of the project's identity provider", asked.user, async (user, password) => {
    const said = await post("/answer", { id: asked.id, user, password });
    if (said.error) throw new Error(said.error);
  });
  const cancel = h("button", "quiet"); cancel.type = "button"; cancel.textContent = "Cancel"; cancel.addEventListener("click", () => post("/answer", { id: asked.id }));
  form.append(cancel); box.append(form);
  asking = { id: asked.id, box };
  setTimeout(() => form.querySelector("input").focus());
  return box;
}

function credentials(title, hint, user, done) {
  const form = h("form", "idp"), heading = h("strong"), words = h("p"), wrong = h("p", "wrong"), button = h("button");
  heading.textContent = title; words.textContent = hint; button.textContent = "Continue";
  const [name, password] = ["Username", "Password"].map((label) => { const made = h("label"), input = h("input"); made.append(label, input); input.required = true; made.input = input; return made; });
  password.input.type = "password"; name.input.value = user ?? "";
  form.append(heading, words, name, password, wrong, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault(); wrong.textContent = "";
    try { await done(name.input.value, password.input.value); } catch (error) { wrong.textContent = error.message; password.input.value = ""; }
  });
  return form;
}

function login(project) {
  const wrap = h("div", "idppage");
  wrap.append(credentials(project ?? "bench gateway", "A stand-in for an Ignition Gateway. It is not Ignition.", "", async (user, password) => { await post("/login", { user, password }); await open(); }));
  document.body.replaceChildren(wrap);
  wrap.querySelector("input").focus();
}

async function leave() { document.cookie = ""; location.href = "/"; }

async function open() {
  try { about = await post("/open", { path: location.pathname.replace(/^\/client/, "") || "/" }); } catch (error) { if (error.status === 401) return login(error.project); document.body.textContent = error.message; return; }
  page = about.page; elements = new Map(); seen = 0; asking = null;
  const said = h("span"); said.textContent = "BENCH GATEWAY, not Ignition: it runs the project's files as far as their formats are documented";
  const where = h("span"); where.append(...Object.entries(about.pages).flatMap(([path, title]) => { const link = h("a"); link.textContent = title; link.href = `/client${path}`; link.addEventListener("click", (event) => { event.preventDefault(); history.pushState({}, "", `/client${path}`); post("/event", { go: path }); }); return [link, " "]; }));
  const who = h("span"); who.textContent = about.user;
  top.replaceChildren(said, where, who);
  document.body.replaceChildren(top, complaints, stage, floating);
  follow(page);
}

async function follow(mine) {
  let first = true;
  while (mine === page) {
    try {
      const answer = await fetch(`/drawn?${mine}&${first ? 0 : 1}`);
      if (answer.status === 401) { login(about.project); return; }
      show(await answer.json());
      first = false;
    } catch (error) { console.error(error); await new Promise((later) => setTimeout(later, 1000)); }
  }
}

window.addEventListener("popstate", () => post("/event", { go: location.pathname.replace(/^\/client/, "") || "/" }));
open();
