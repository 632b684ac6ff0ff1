// A pool's jobs in every state: filters in the address, pages by the server's cursor, and actions on all that match.

import { at, call, poll } from "./api.js";
import { asked, make, refused, show, state, table } from "./page.js";
import { counted, number, span } from "./words.js";

const PAGE = 100;
const UNENDED = ["running", "queued", "scheduled", "blocked", "waiting"];
export const ENDED = ["failed", "succeeded", "cancelled", "expired"];
const AGES = { "": "any time", 900000: "the last 15 minutes", 3600000: "the last hour", 86400000: "the last day", 604800000: "the last week" };
const TEXTS = [["kind", "Kind"], ["route", "Route"], ["tenant", "Tenant"], ["tag", "Tag"], ["error", "Error contains"]];
const GROUP = "error_group"; // exactly the jobs of a group of failures, whose page leads here

// The conditions of an address that the server knows, as pairs of a query.
export function conditions(query, now = Date.now()) {
  const pairs = query.getAll("state").filter(Boolean).map((name) => ["state", name]);
  for (const name of [...TEXTS.map(([name]) => name), GROUP]) if (query.get(name)) pairs.push([name, query.get(name)]);
  if (query.get("age")) pairs.push(["submitted_after_ms", String(now - Number(query.get("age")))]);
  return pairs;
}

// The same conditions as the body of an action; `states` are those that the action changes.
function selector(query, states) {
  const body = { state: states };
  for (const [name, value] of conditions(query)) {
    if (["error", GROUP].includes(name)) body[name] = value;
    else if (name === "submitted_after_ms") body[name] = Number(value);
    else if (name !== "state") body[name] = [value];
  }
  return body;
}

export function jobs(pool, root, signal, report, verbs, query) {
  const cursors = [null]; // of the pages up to the shown one
  let [next, total] = [null, null];
  const list = make("div", { id: "jobs" });
  const pages = make("div", { class: "bar", id: "pages" });
  const actions = make("div", { class: "bar", id: "actions" });
  root.replaceChildren(form(pool, query), actions, list, pages);
  showActions();

  async function read() {
    const page = new URLSearchParams([...conditions(query), ["limit", PAGE], ...(cursors.at(-1) ? [["cursor", cursors.at(-1)]] : [])]);
    const found = await call(`${at(pool)}/jobs?${page}`);
    if (signal.aborted) return;
    next = found.cursor;
    const focused = document.activeElement?.dataset?.job; // the keyboard's place outlives the redrawing
    list.replaceChildren(rows(pool, found.jobs.filter((job) => !query.get("worker") || job.worker === query.get("worker"))));
    if (focused) list.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus();
    showPages(found.jobs.length);
  }

  async function count() {
    const named = conditions(query);
    const states = query.get("state") ? [] : [...UNENDED, "failed"].map((name) => ["state", name]);
    total = (await call(`${at(pool)}/jobs:count?${new URLSearchParams([...named, ...states])}`)).count;
    showPages();
  }

  function showPages(shown = 0) {
    const turn = (change) => () => { change(); read().catch((error) => report(error)); };
    pages.replaceChildren(
      make("span", { class: "soft" }, total === null ? "" : `${counted(total, "job")}${cursors.length > 1 ? `, page ${cursors.length}` : ""}`),
      ...(cursors.length > 1 ? [make("button", { click: turn(() => cursors.pop()) }, "Previous page")] : []),
      ...(next ? [make("button", { id: "next", click: turn(() => cursors.push(next)) }, "Next page")] : []));
  }

  function showActions() {
    const named = query.getAll("state").filter(Boolean);
    if (!verbs.has("manage") || !conditions(query).length || query.get("worker")) return; // the server cannot select a worker
    const choices = [
      ["Replay", "replay", ["failed"], false, "run again, with all attempts"],
      ["Cancel", "cancel", UNENDED, true, "cancelled, with the jobs that wait for them"],
      ["Purge", "purge", ENDED, true, "deleted for good, with their results"]];
    actions.replaceChildren(...choices.map(([label, act, can, final, effect]) => {
      const states = named.length ? named.filter((name) => can.includes(name)) : can;
      if (!named.length || !states.length) return "";
      return make("button", { id: act, class: final ? "danger" : "primary", click: () => change(pool, act, selector(query, states), effect, final).then(read) }, `${label} all`);
    }).filter(Boolean));
  }

  poll(signal, report, 2000, read);
  poll(signal, () => {}, 10000, count);
}

const DONE = { replay: "queued again", cancel: "cancelled", purge: "purged" };

// Changes all selected jobs, step by step, after a question with their number.
export async function change(pool, act, body, effect, final) {
  const pairs = Object.entries(body).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  try {
    const { count } = await call(`${at(pool)}/jobs:count?${new URLSearchParams(pairs)}`);
    if (!count) return void show(make("p", null, "No job matches any more."), closeBar());
    if (!(await asked(`${counted(count, "job")} ${count === 1 ? "is" : "are"} ${effect}.`, `${act[0].toUpperCase()}${act.slice(1)} ${counted(count, "job")}`, final))) return;
    let [changed, cursor] = [0, null];
    do {
      const done = await call(`${at(pool)}/jobs:${act}`, "POST", { ...body, cursor });
      [changed, cursor] = [changed + done.changed, done.cursor];
      show(make("p", { role: "status" }, `${counted(changed, "job")} ${DONE[act]}${cursor ? ", working…" : "."}`), closeBar());
    } while (cursor);
  } catch (error) {
    refused(error);
  }
}

const closeBar = () => make("div", { class: "bar" }, make("button", { autofocus: true, click: () => document.getElementById("dialog").close() }, "Close"));

// The filters; a change is a new address, which the back button and a colleague can use.
function form(pool, query) {
  const go = (name, value) => {
    const changed = new URLSearchParams(query);
    if (value) changed.set(name, value); else changed.delete(name);
    location.hash = `#/${pool}/jobs?${changed}`;
  };
  const option = (value, label, chosen) => make("option", { value, selected: chosen }, label);
  const chosen = query.get("state") ?? "";
  const states = make("select", { "aria-label": "State", change: (event) => go("state", event.target.value) },
    option("", "not ended or failed", !chosen), [...UNENDED, ...ENDED].map((name) => option(name, name, name === chosen)));
  const ages = make("select", { "aria-label": "Submitted in", change: (event) => go("age", event.target.value) },
    Object.entries(AGES).sort((a, b) => a[0] - b[0]).map(([value, label]) => option(value, label, value === (query.get("age") ?? ""))));
  const field = ([name, label]) => make("input", { "aria-label": label, placeholder: label, name, value: query.get(name) ?? "", change: (event) => go(name, event.target.value.trim()) });
  const open = make("form", { class: "bar", submit: (event) => { event.preventDefault(); const id = event.target.elements.id.value.trim(); if (id) location.hash = `#/${pool}/jobs/${encodeURIComponent(id)}`; } },
    make("input", { type: "search", name: "id", "aria-label": "Open the job of this id", placeholder: "Job id; Enter opens it" }), make("button", null, "Open"));
  const group = query.get(GROUP);
  return make("div", null, open, make("div", { class: "bar filters" }, states, ages, TEXTS.map(field)),
    group ? make("p", { id: "group", class: "soft" }, "Errors of the group ", make("b", null, group), " ", make("button", { class: "link", click: () => go(GROUP, "") }, "All errors")) : null,
    query.get("worker") ? make("p", { class: "soft" }, `On worker ${query.get("worker")} (of this page). `, make("a", { href: `#/${pool}/jobs?state=running` }, "All workers")) : null);
}

// Why the job failed, or the error after which it is tried again.
function errorOf(job) {
  const text = job.error ?? (ENDED.includes(job.state) ? null : job.last_error);
  return text ? make("span", { class: "error line", title: text }, text.split("\n")[0]) : "";
}

function rows(pool, found) {
  const now = Date.now();
  return table(["Job", "Kind", "Priority", "State", "Attempts", "Worker", "Age", "Error"], found.map((job) => [
    make("a", { class: "mono", "data-job": job.job_id, href: `#/${pool}/jobs/${encodeURIComponent(job.job_id)}` }, job.job_id),
    job.kind, make("span", { class: job.priority }, job.priority),
    make("span", null, state(job.state), job.quarantined ? make("span", { class: "soft" }, " quarantine") : null),
    `${number(job.attempt)}/${number(job.max_attempts)}`, job.worker, span(Math.max(0, now - job.submitted_at_ms)),
    errorOf(job)]), "No job matches. A job that has ended is listed until its retention ends.");
}
