// The console's frame: sign-in, and the page that the address names.
//
// #/                            all pools
// #/NAMESPACE/POOL              a pool; with /jobs?FILTERS, /failures, /workers or /jobs/ID its further pages

import { at, call, token } from "./api.js";
import { errors } from "./errors.js";
import * as freshness from "./freshness.js";
import { job } from "./job.js";
import { jobs } from "./jobs.js";
import { help, listen } from "./keys.js";
import { make, view } from "./page.js";
import { overview } from "./pool.js";
import { pools } from "./pools.js";
import { workers } from "./workers.js";

const SECTIONS = { "": ["Overview", overview], jobs: ["Jobs", jobs], failures: ["Failures", errors], workers: ["Workers", workers] };
let leaving = new AbortController();

// `agentpool dev` prints an address with the token behind the #, which no browser sends; the page reads it and removes it.
function tokenFromAddress() {
  const found = /^#token=([\w.~+/=-]+)$/.exec(location.hash);
  if (!found) return;
  token.set(found[1]);
  history.replaceState(null, "", location.pathname);
}

function report(error, ageMs) {
  if (error?.status === 401) signIn(error.message);
  else if ([403, 404, 410].includes(error?.status) && !freshness.hasFigures()) problem(error);
  else freshness.report(error?.message ?? "", ageMs);
}

function signIn(problem) {
  leaving.abort();
  const field = make("input", { type: "password", autocomplete: "off", "aria-label": "Token", placeholder: "Token", required: true, autofocus: true });
  const form = make("form", { class: "sign-in", submit: (event) => { event.preventDefault(); token.set(field.value.trim()); route(); } },
    make("label", null, "A token of this gateway"), field, make("button", { class: "primary" }, "Sign in"),
    problem && token.get() ? make("p", { class: "error", role: "alert" }, "That token is not known, or has expired.") : null);
  view().replaceChildren(form);
  frame([], "Sign in");
  document.getElementById("sign-out").hidden = true;
  field.focus();
  freshness.rest();
}

// Breadcrumbs, the sections of a pool, and the title.
function frame(crumbs, title, pool = null, current = null) {
  document.title = `${title} · AgentPool`;
  document.getElementById("crumbs").replaceChildren(...crumbs.flatMap(([label, href], place) => [place ? " / " : "", href ? make("a", { href }, label) : make("span", null, label)]));
  const tabs = pool ? Object.entries(SECTIONS).map(([name, [label]]) =>
    make("a", { href: `#/${pool}${name ? `/${name}` : ""}`, ...(name === current ? { "aria-current": "page" } : {}) }, label)) : [];
  document.getElementById("sections").replaceChildren(...tabs);
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function route() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  document.getElementById("dialog").close();
  document.getElementById("sign-out").hidden = !token.get();
  view().replaceChildren();
  freshness.begin();
  const [path, query = ""] = location.hash.slice(2).split("?");
  const [namespace, name, section = "", id, ...more] = path.split("/").filter(Boolean).map(decoded);
  if (!namespace) {
    frame([["All pools"]], "Pools");
    return pools(view(), signal, report);
  }
  const pool = `${namespace}/${name}`;
  if (!name || !(section in SECTIONS) || more.length || (id && section !== "jobs")) return missing();
  const title = id ? `Job ${id}` : SECTIONS[section][0];
  frame([["All pools", "#/"], [pool, `#/${pool}`], ...(section ? [[SECTIONS[section][0], `#/${pool}/${section}`]] : []), ...(id ? [[id]] : [])], `${title} · ${pool}`, pool, section);
  const { verbs, grafana } = await mine(pool);
  if (signal.aborted) return;
  if (grafana) document.getElementById("sections").append(make("a", { href: grafana, target: "_blank", rel: "noopener noreferrer" }, "Grafana ↗"));
  if (id) job(pool, view(), signal, report, verbs, id);
  else SECTIONS[section][1](pool, view(), signal, report, verbs, new URLSearchParams(query));
}

// The verbs that the token holds, and the pool's dashboard; none known, no action is offered.
async function mine(pool) {
  return call(`${at(pool)}/verbs`).then((found) => ({ verbs: new Set(found.verbs), grafana: found.grafana_url }), () => ({ verbs: new Set(), grafana: null }));
}

function missing() {
  frame([["All pools", "#/"], ["not found"]], "Not found");
  explain("No such page", "The address names no page of this console: #/NAMESPACE/POOL, with /jobs, /jobs/ID, /failures or /workers.");
}

// What the address names does not exist, or the token may not see it.
function problem(error) {
  leaving.abort();
  explain(error.status === 403 ? "Not permitted" : "Not found", error.message);
}

function explain(title, text) {
  freshness.rest();
  const pool = /^#\/([^/?]+\/[^/?]+)/.exec(location.hash)?.[1];
  const up = pool && location.hash !== `#/${pool}` ? [make("a", { href: `#/${pool}` }, decoded(pool)), make("a", { href: `#/${pool}/jobs` }, "Jobs of the pool")] : [];
  view().replaceChildren(make("div", { class: "card calm", id: "explanation" }, make("b", null, title), make("p", { class: "soft" }, text),
    make("div", { class: "bar" }, make("button", { class: "primary", click: route }, "Try again"), ...up, make("a", { href: "#/" }, "All pools"))));
}

document.getElementById("sign-out").addEventListener("click", () => { token.clear(); signIn(""); });
document.getElementById("help").addEventListener("click", help);
addEventListener("hashchange", () => { tokenFromAddress(); route(); });
listen();
tokenFromAddress();
route();
