// How each component type is drawn: `make` once, `draw` at every change. Only what the project uses.

export const h = (tag, classes = "") => { const made = document.createElement(tag); if (classes) made.className = classes; return made; };

const PIXELS = new Set(["width", "height", "minWidth", "maxWidth", "minHeight", "maxHeight", "margin", "marginTop", "marginBottom", "marginLeft", "marginRight",
  "padding", "paddingTop", "paddingBottom", "paddingLeft", "paddingRight", "fontSize", "borderRadius", "gap", "borderWidth", "rowGap", "columnGap", "top", "left", "right", "bottom"]);

/** A style object of Perspective on an element; numbers are pixels. */
export function dress(element, style = {}) {
  element.style.cssText = "";
  for (const [name, value] of Object.entries(style ?? {})) {
    if (name === "classes" || value === null || value === undefined) continue;
    element.style[name] = PIXELS.has(name) && /^-?[\d.]+$/.test(String(value)) ? `${value}px` : String(value);
  }
}

/** The classes of a style: project classes carry Perspective's prefix. */
export const classesOf = (style) => String(style?.classes ?? "").split(/\s+/).filter(Boolean).map((one) => `psc-${one}`);

/** Where a component stands in a flex container. */
export function place(element, position = {}, direction = "row") {
  const { grow = 0, shrink = 1, basis = "auto", align, display } = position ?? {};
  element.style.flex = `${grow} ${shrink} ${/^\d+$/.test(String(basis)) ? `${basis}px` : basis}`;
  if (align) element.style.alignSelf = align;
  if (display === false) element.style.display = "none";
}

const text = (value) => (value === null || value === undefined ? "" : String(value));
const AT = { top: "flex-start", center: "center", bottom: "flex-end" };

/** Icons of the material library that the project uses, by their names. */
const ICONS = {
  check: "M9 16.2 4.8 12l-1.4 1.4L9 19 21 7l-1.4-1.4z", close: "M19 6.4 17.6 5 12 10.6 6.4 5 5 6.4 10.6 12 5 17.6 6.4 19 12 13.4 17.6 19 19 17.6 13.4 12z",
  warning: "M1 21h22L12 2 1 21zm12-3h-2v-2h2v2zm0-4h-2v-4h2v4z", error: "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zm1 15h-2v-2h2v2zm0-4h-2V7h2v6z",
  info: "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zm1 15h-2v-6h2v6zm0-8h-2V7h2v2z", check_circle: "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zm-2 15-5-5 1.4-1.4L10 14.2l7.6-7.6L19 8z",
  circle: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z", inbox: "M19 3H5a2 2 0 0 0-2 2v14c0 1.1.9 2 2 2h14a2 2 0 0 0 2-2V5a2 2 0 0 0-2-2zm0 12h-4a3 3 0 0 1-6 0H5V5h14v10z",
};

function selected(component) { return component.props.selection?.selectedRow; }

/** type → { make(component, send) → element, draw(element, component, kids) }. `kids` draws children into an element. */
export const COMPONENTS = {
  "ia.container.flex": {
    make: () => h("div", "flex"),
    draw(element, { props, children = [] }, kids) {
      dress(element, props.style);
      Object.assign(element.style, {
        flexDirection: props.direction ?? "row", justifyContent: props.justify ?? "flex-start", alignItems: props.alignItems ?? "stretch",
        alignContent: props.alignContent ?? "stretch", flexWrap: props.wrap ?? "nowrap",
      });
      kids(element, children, props.direction);
    },
  },
  "ia.container.coord": {
    make: () => h("div"),
    draw(element, { props, children = [] }, kids) { dress(element, props.style); element.style.position = "relative"; kids(element, children, "coord"); },
  },
  "ia.display.label": {
    make: () => h("div", "label"),
    draw(element, { props }) {
      dress(element, props.style);
      element.style.alignItems = AT[props.alignVertical] ?? "center";
      if (props.style?.textAlign) element.style.justifyContent = { right: "flex-end", center: "center" }[props.style.textAlign] ?? "flex-start";
      element.textContent = text(props.text);
    },
  },
  "ia.input.button": {
    make(component, send) { const made = h("button", "button"); made.addEventListener("click", () => send.event(component.id, "component.onActionPerformed")); return made; },
    draw(element, { props }) {
      dress(element, props.style);
      element.classList.toggle("secondary", props.primary === false);
      element.disabled = props.enabled === false;
      element.textContent = text(props.text);
      for (const [name, value] of Object.entries(props.textStyle ?? {})) if (name !== "classes") element.style[name] = PIXELS.has(name) && !isNaN(value) ? `${value}px` : value;
    },
  },
  "ia.input.text-field": field("input", "text", "text"),
  "ia.input.text-area": field("textarea", "area", "text"),
  "ia.input.numeric-entry-field": field("input", "number", "value", (value) => (value === "" ? null : Number(value))),
  "ia.input.dropdown": {
    make(component, send) { const made = h("select", "dropdown"); made.addEventListener("change", () => send.write(component.id, "props.value", made.options[made.selectedIndex]?.dataset.json ? JSON.parse(made.options[made.selectedIndex].dataset.json) : null)); return made; },
    draw(element, { props }) {
      dress(element, props.style);
      element.disabled = props.enabled === false;
      const wanted = JSON.stringify(props.options ?? []);
      if (element.dataset.options !== wanted) {
        element.dataset.options = wanted;
        element.replaceChildren(...[{ value: null, label: props.placeholder?.text ?? props.placeholder ?? "" }, ...(props.options ?? [])].map(({ value, label }) => {
          const one = h("option"); one.textContent = text(label ?? value); one.dataset.json = JSON.stringify(value); return one;
        }));
      }
      element.selectedIndex = Math.max(0, [...element.options].findIndex((one) => one.dataset.json === JSON.stringify(props.value ?? null)));
    },
  },
  "ia.input.toggle-switch": toggle(), "ia.input.checkbox": toggle(),
  "ia.display.icon": {
    make: () => h("span", "icon"),
    draw(element, { props }) {
      dress(element, props.style);
      if (props.color) element.style.color = props.color;
      const name = String(props.path ?? "").split("/").pop();
      if (element.dataset.name === name) return;
      element.dataset.name = name;
      element.innerHTML = `<svg viewBox="0 0 24 24" role="img" aria-label="${name.replace(/\W/g, " ")}"><path d="${ICONS[name] ?? ICONS.circle}"/></svg>`;
    },
  },
  "ia.display.markdown": {
    make: () => h("div", "markdown"),
    draw(element, { props }) { dress(element, props.style); element.replaceChildren(...text(props.source).split(/\n\s*\n/).map((part) => { const p = h("p"); p.textContent = part.replace(/[*_`#]/g, ""); return p; })); },
  },
  "ia.display.table": {
    make(component, send) { const made = h("div", "tablewrap"); made.send = send; return made; },
    draw(element, component) { dress(element, component.props.style); table(element, component, element.send); },
  },
  "ia.display.view": {
    make: () => h("div"),
    draw(element, { props, views = [] }, kids) { dress(element, props.style); element.style.display = "flex"; kids.views(element, views); },
  },
  "ia.display.flex-repeater": {
    make: () => h("div", "flex"),
    draw(element, { props, views = [] }, kids) {
      dress(element, props.style);
      Object.assign(element.style, { flexDirection: props.direction ?? "row", justifyContent: props.justify ?? "flex-start", alignItems: props.alignItems ?? "stretch", flexWrap: props.wrap ?? "nowrap" });
      kids.views(element, views);
      [...element.children].forEach((child, at) => { dress(child, props.elementStyle); child.classList.add(...classesOf(props.elementStyle)); place(child, { ...props.elementPosition, ...props.instances?.[at]?.instancePosition }, props.direction); });
    },
  },
  "ia.display.progress": {
    make: () => { const made = h("div", "progress"); made.append(h("div")); return made; },
    draw(element, { props }) { dress(element, props.style); element.firstChild.style.width = `${Math.max(0, Math.min(100, ((props.value - (props.min ?? 0)) / ((props.max ?? 100) - (props.min ?? 0))) * 100))}%`; },
  },
};

function field(tag, kind, name, read = (value) => value) {
  return {
    make(component, send) {
      const made = h(tag, kind);
      let waiting = 0;
      made.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => send.write(component.id, `props.${name}`, read(made.value)), 150); });
      return made;
    },
    draw(element, { props }) {
      dress(element, props.style);
      element.placeholder = text(props.placeholder);
      element.disabled = props.enabled === false;
      if (document.activeElement !== element) element.value = text(props[name]);
    },
  };
}

function toggle() {
  return {
    make(component, send) { const made = h("label", "toggle"), box = h("input"), words = h("span"); box.type = "checkbox"; made.append(box, words); box.addEventListener("change", () => send.write(component.id, "props.selected", box.checked)); return made; },
    draw(element, { props }) { dress(element, props.style); element.firstChild.checked = Boolean(props.selected); element.firstChild.disabled = props.enabled === false; element.lastChild.textContent = text(props.text ?? props.label?.text); },
  };
}

function table(element, component, send) {
  const { props } = component;
  const rows = Array.isArray(props.data) ? props.data : [];
  const columns = (props.columns?.length ? props.columns : Object.keys(rows[0] ?? {}).map((name) => ({ field: name }))).filter((one) => one.visible !== false);
  const drawn = JSON.stringify([rows, columns, selected(component), props.emptyMessage]);
  if (element.dataset.drawn === drawn) return;
  element.dataset.drawn = drawn;
  if (!rows.length) { const empty = h("div", "emptymessage"); empty.textContent = text(props.emptyMessage?.noData?.text ?? "No Data"); element.replaceChildren(empty); return; }
  const made = h("table", "table"), head = h("tr"), body = h("tbody");
  for (const one of columns) { const th = h("th"); th.textContent = text(one.header?.title || one.field); align(th, one); head.append(th); }
  rows.forEach((row, at) => {
    const tr = h("tr", selected(component) === at ? "selected" : ""), styled = row.style;
    if (styled) { dress(tr, styled); tr.classList.add(...classesOf(styled)); }
    const values = row.value ?? row;
    for (const one of columns) {
      const td = h("td"), value = values[one.field], inner = value && typeof value === "object" && "value" in value ? value : { value };
      td.textContent = shown(inner.value, one);
      if (inner.style) { dress(td, inner.style); td.classList.add(...classesOf(inner.style)); }
      align(td, one);
      tr.append(td);
    }
    tr.addEventListener("click", () => { send.write(component.id, "props.selection.selectedRow", at); send.event(component.id, "component.onRowClick", { value: values, row: at, rowIndex: at }); });
    body.append(tr);
  });
  const top = h("thead"); top.append(head); made.append(top, body); element.replaceChildren(made);
}

function align(cell, column) {
  const justify = column.justify && column.justify !== "auto" ? column.justify : column.render === "number" ? "right" : "left";
  cell.style.textAlign = justify;
  if (column.width && column.strictWidth) cell.style.width = `${column.width}px`;
}

function shown(value, column) {
  if (value === null || value === undefined) return "";
  if (column.render === "date" || column.render === "datetime") return new Date(value).toLocaleString("sv-SE");
  if (column.render === "boolean") return value ? "yes" : "no";
  return String(value);
}
