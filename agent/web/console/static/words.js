// How times, ages, quantities and postings read.

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const SINGULAR = { goods_issue: "goods issue", confirmation: "confirmation", reversal: "reversal" };

/** "3 min", "2 h 5 min"; empty for what never was. */
export function age(iso) {
  if (!iso) return "";
  return span(Math.max(0, Date.now() - Date.parse(iso)));
}

/** A length of time in milliseconds. */
export function span(ms) {
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)} h ${Math.floor((ms % HOUR) / MINUTE)} min`;
  return `${Math.floor(ms / DAY)} d ${Math.floor((ms % DAY) / HOUR)} h`;
}

let units = {};
/** From now on units are called as the users of the ERP call them; payloads keep their codes. */
export const useUnits = (names) => { units = names; };
/** A unit as people call it. */
export const unit = (code) => units[code] ?? code ?? "";

let zone = "UTC";
/** From now on times are shown as this plant's clock shows them. */
export const useZone = (name) => { zone = name; };

/** A moment on the plant's clock. */
export function moment(iso) {
  if (!iso) return "";
  return new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium", timeZone: zone }).format(new Date(iso));
}

/** "12.5 KGM of MAT-1", or what else a posting is about. */
export function content(posting) {
  const { payload } = posting;
  if (posting.kind === "reversal") return `take back ${payload.document}`;
  const parts = ["quantity", "yield", "scrap", "rework"].filter((name) => payload[name] && Number(payload[name]))
    .map((name) => `${plain(String(payload[name]))} ${unit(payload.unit)}${name === "quantity" ? "" : ` ${name}`}`);
  const back = posting.kind === "goods_issue" && payload.movement ? "take back " : ""; // what was issued before
  if (!parts.length) return said(posting) || "nothing";
  return `${back}${parts.join(", ")}${payload.material ? ` of ${payload.material}` : ""}`;
}

/** What a posting without a quantity is about. */
function said({ kind: name, payload }) {
  if (name === "batch_status") return `batch ${payload.batch} of ${payload.material} ${payload.restricted ? "in restricted use" : "free for use"}`;
  return payload.subject || (name === "order_note" && payload.text) || (payload.material ? `${kind(name)} of ${payload.material}` : payload.order && `order ${payload.order}`);
}

/** A kind of posting in words. */
export const kind = (name) => SINGULAR[name] ?? name.replaceAll("_", " ");

/** A field's name in words. */
export const field = (name) => name.replaceAll("_", " ");

/** A decimal string without zeros that say nothing. */
export const plain = (number) => (number.includes(".") ? number.replace(/\.?0+$/, "") : number);

/** Money, or nothing where there is none at stake. */
export const money = (value, currency) => (Number(value) ? `${Number(value).toFixed(2)} ${currency}` : "");

/** Bytes in the largest unit that leaves a number people read. */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0, left = Number(count);
  while (left >= 1000 && at < units.length - 1) { left /= 1000; at += 1; }
  return `${left.toFixed(left < 10 && at ? 1 : 0)} ${units[at]}`;
}
