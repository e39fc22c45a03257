// Dialogs in which a person says why, and what the agent answered.

import { me } from "/console/api.js";
import { fill, h } from "/console/dom.js";

/**
 * A dialog that asks for reason and password and does `done(reason, fields, password, insists)`; it stays, with the refusal, until it worked.
 * `insist` {on, words}: after a refusal of this kind a box to tick appears, by which somebody takes it on themselves.
 */
export function confirmAct({ title, about, verb, danger, fields = [], reasons = [], signs = "Signed by", insist, done }) {
  return new Promise((resolve) => {
    const said = h("p.wrong", { role: "alert" });
    const reason = h("textarea", { name: "reason", required: true, rows: 2, maxlength: 1000, placeholder: "why, in your words" });
    const inputs = fields.map(({ name, ...rest }) => [name, rest.label, h("input", { name, required: true, ...rest, label: null })]);
    const password = h("input", { type: "password", name: "password", required: true, autocomplete: "current-password" });
    const ticked = h("input", { type: "checkbox", name: "insists" });
    const box = h("label.inline", { hidden: true }, ticked, insist?.words);
    const button = h(danger ? "button.main.danger" : "button.main", { type: "submit" }, verb);
    const dialog = h("dialog", { "aria-labelledby": "asked" }, h("form", {
      method: "dialog",
      onsubmit: async (event) => {
        event.preventDefault();
        fill(said);
        button.disabled = true;
        try {
          const found = await done(reason.value.trim(), Object.fromEntries(inputs.map(([name, , one]) => [name, one.value.trim()])), password.value, ticked.checked);
          resolve(found);
          dialog.close();
        } catch (error) {
          fill(said, error.message);
          if (insist && error.error === insist.on) { box.hidden = false; box.scrollIntoView({ block: "nearest" }); }
          password.value = "";
        } finally { button.disabled = false; }
      },
    },
    h("h2", { id: "asked" }, title), about && h("p", about),
    inputs.map(([, label, one]) => h("label", label, one)),
    h("label", "Reason", reason),
    reasons.length > 0 && h("p.suggest", reasons.map((text) => h("button.small", { type: "button", onclick: () => { reason.value = text; } }, text))),
    h("input", { hidden: true, autocomplete: "username", value: me.user }),
    h("fieldset", h("legend", "Signature"), h("p", `${signs} `, h("strong", me.full_name), ", now."), h("label", "Your password", password)),
    said, box, h("div.buttons", h("button.quiet", { type: "button", onclick: () => dialog.close() }, "Cancel"), button)));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(null); });
    document.body.append(dialog);
    dialog.showModal();
    (inputs[0]?.[2] ?? reason).focus();
  });
}
