// Elements out of plain values. Text is always text: nothing from outside can become markup.

/** An element: `h("a.link", {href: "#/held", onclick: f}, "text", child)`. Null children are left out. */
export function h(what, ...rest) {
  const [tag, ...classes] = what.split(".");
  const made = document.createElement(tag || "div");
  if (classes.length) made.className = classes.join(" ");
  for (const one of rest.flat(Infinity)) {
    if (one === null || one === undefined || one === false) continue;
    if (one instanceof Node) made.append(one);
    else if (typeof one === "object") attributes(made, one);
    else made.append(String(one));
  }
  return made;
}

function attributes(element, given) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
}

/** An SVG element. */
export function s(tag, given = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Put `children` in the place of what `parent` holds. */
export const fill = (parent, ...children) => parent.replaceChildren(...children.flat(Infinity).filter(Boolean));

/** A table whose rows lead somewhere; `columns` are [title, row → cell, class]. */
export function table(columns, rows, { empty, href, label } = {}) {
  if (!rows.length) return h("p.empty", empty);
  return h("div.scroll", h("table", { "aria-label": label },
    h("thead", h("tr", columns.map(([title, , kind]) => h("th", { class: kind, scope: "col" }, title)))),
    h("tbody", rows.map((row) => h("tr", columns.map(([title, cell, kind], at) => {
      const content = cell(row);
      return h("td", { class: kind, "data-title": title }, href && at === 0 ? h("a", { href: href(row) }, content) : content);
    }))))));
}

/** Names and values, two columns. */
export const pairs = (found) => h("dl", found.filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => [h("dt", name), h("dd", value)]));

/** A word in the colour of its meaning. */
export const badge = (word, kind = word) => h(`span.badge.is-${kind}`, String(word).replaceAll("_", " "));
