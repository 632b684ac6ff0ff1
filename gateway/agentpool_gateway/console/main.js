// The console's frame: signing in, the list of pools, and which page the address names.

import { at, call, token } from "./api.js";
import { figure, make, span, unready, view } from "./page.js";
import { open } from "./pool.js";

let leaving = new AbortController();

// `agentpool dev` prints an address with the token behind the #, which no browser sends; it is taken and wiped off.
function tokenFromAddress() {
  const found = /^#token=([\w.~+/=-]+)$/.exec(location.hash);
  if (!found) return;
  token.set(found[1]);
  history.replaceState(null, "", location.pathname);
}

function tell(text, bad) {
  const live = document.getElementById("live");
  if (live.textContent !== text) live.textContent = text;
  live.className = bad ? "bad" : "";
  if (bad && text.includes("Authorization")) signIn(text);
}

function signIn(problem) {
  leaving.abort();
  const field = make("input", { type: "password", autocomplete: "off", "aria-label": "Token", placeholder: "Token", required: true, autofocus: true });
  const form = make("form", { class: "sign-in", submit: (event) => { event.preventDefault(); token.set(field.value.trim()); route(); } },
    make("label", null, "A token of this gateway"), field, make("button", { class: "primary" }, "Sign in"),
    problem && token.get() ? make("p", { class: "error", role: "alert" }, "That token is not known, or has expired.") : null);
  view().replaceChildren(form);
  document.getElementById("crumbs").textContent = "";
  document.getElementById("sign-out").hidden = true;
  field.focus();
  tell("", false);
}

async function card(name) {
  const link = `#/${name}`;
  try {
    const [queue, scaling] = await Promise.all([call(`${at(name)}/queue`), call(`${at(name)}/scaling`).catch(() => ({}))]);
    const slots = queue.workers.reduce((sum, worker) => sum + worker.slots, 0);
    const workers = scaling.declared ? `workers: ${scaling.ready_replicas ?? 0} ready, ${scaling.wanted_replicas ?? 0} wanted` : `workers: ${queue.workers.length}`;
    const trouble = unready(scaling);
    const marks = [queue.retired ? "deleted" : null, trouble ? `not ready: ${trouble.reason}` : null, queue.paused ? "paused" : null, scaling.limited ? "capped" : null, queue.dead ? `${queue.dead} dead letters` : null].filter(Boolean);
    return make("a", { class: "card", href: link }, make("b", null, name),
      make("div", { class: "pair" }, figure("queued", queue.queued), figure(`of ${slots} slots busy`, queue.running)),
      make("meter", { min: 0, max: Math.max(1, slots), value: queue.running, "aria-label": `${queue.running} of ${slots} slots busy` }),
      make("div", { class: "soft" }, `${workers}; oldest wait ${span(queue.oldest_wait_ms)}`),
      make("div", { class: "marks" }, marks.map((mark) => make("span", { class: "mark" }, mark))),
      trouble ? make("div", { class: "warning" }, trouble.message) : null);
  } catch (error) {
    return make("a", { class: "card", href: link }, make("b", null, name), make("div", { class: "error" }, error.message));
  }
}

async function pools(signal) {
  while (!signal.aborted) {
    try {
      const { pools: names } = await call("/v1/pools");
      const cards = await Promise.all(names.map(card));
      if (signal.aborted) return;
      view().replaceChildren(names.length ? make("div", { class: "grid" }, cards) : make("p", { class: "soft" }, "No pools yet: apply an AgentPool."));
      tell("live", false);
    } catch (error) {
      if (error.status === 401) return signIn(error.message);
      tell(error.message, true);
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

function route() {
  leaving.abort();
  leaving = new AbortController();
  document.getElementById("sign-out").hidden = !token.get();
  const name = decodeURIComponent(location.hash.slice(2));
  document.getElementById("crumbs").textContent = name || "All pools";
  view().replaceChildren();
  if (/^[^/]+\/[^/]+$/.test(name)) open(name, view(), leaving.signal, tell);
  else pools(leaving.signal);
}

document.getElementById("sign-out").addEventListener("click", () => { token.clear(); signIn(""); });
addEventListener("hashchange", () => { tokenFromAddress(); route(); });
tokenFromAddress();
route();
