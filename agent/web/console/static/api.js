// Asking the agent, and doing: one place for the session, for errors, and for being told that nobody answers.

export const me = { user: null, scopes: [], about: {} };
let page = "";

/** What the agent refused, in its own words. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.message ?? `the agent answered ${status}`);
    Object.assign(this, { status, ...body });
  }
}

/** Nobody answers. */
export class Gone extends Error {}

async function call(method, path, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method, credentials: "same-origin", signal: AbortSignal.timeout(15000),
      headers: { ...(page && { "x-gatepost-console": page }), ...(body && { "content-type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
    });
  } catch (error) {
    throw new Gone("The agent does not answer.");
  }
  const said = answer.headers.get("content-type")?.includes("json") ? await answer.json() : {};
  if (answer.ok) return said;
  if (answer.status === 401 && !path.startsWith("/console/")) know({ user: null });
  throw new Refused(answer.status, said);
}

function know(said) {
  const was = me.user;
  page = said.page ?? "";
  Object.assign(me, { user: null, full_name: "", scopes: [], lines: [] }, said);
  if (was !== me.user) window.dispatchEvent(new Event("who"));
}

/** A file for the browser to save. Raises Refused, Gone. */
export async function download(path) {
  const answer = await fetch(path, { credentials: "same-origin", headers: { "x-gatepost-console": page } }).catch(() => { throw new Gone("The agent does not answer."); });
  if (!answer.ok) throw new Refused(answer.status, await answer.json());
  return answer.blob();
}

/** GET. Raises Refused, Gone. */
export const look = (path) => call("GET", path);

/** POST, harmless when it is repeated; with the password once more where the body has none. Raises Refused, Gone. */
export async function act(path, body, password) {
  const headers = { "idempotency-key": crypto.randomUUID?.() ?? String(Math.random()) };
  if (password !== undefined) headers["x-gatepost-proof"] = (await call("POST", "/console/prove", { path, password })).proof;
  return call("POST", path, body, headers);
}

/** Who this browser is logged in as. */
export async function remember() { know(await call("GET", "/console/me")); }

/** Raises Refused for a wrong password. */
export async function logIn(user, password) { know(await call("POST", "/console/login", { user, password })); }

/** Ends the session here and at the agent. */
export async function logOut() {
  await call("POST", "/console/logout", {}).catch(() => {});
  know({ user: null });
}

/** Whether whoever is logged in may do this. */
export const may = (scope) => me.scopes.includes(scope);
