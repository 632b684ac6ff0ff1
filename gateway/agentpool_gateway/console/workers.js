// A pool's workers: slots, lease, kinds, host, version, whether each takes jobs, its latest failure, and its log.

import { at, call, poll } from "./api.js";
import { copyButton, make, show, table } from "./page.js";
import { counted, moment, number, span } from "./words.js";

const MOST_CELLS = 100;
const LINES = 200; // of a log
const POD_NAME = /^[a-z0-9][a-z0-9.-]*$/;

export function workers(pool, root, signal, report, verbs) {
  const sum = make("p", { class: "soft" });
  const list = make("div", { id: "workers" });
  root.replaceChildren(sum, list);
  poll(signal, report, 2000, async () => {
    const found = await call(`${at(pool)}/workers`);
    if (signal.aborted) return;
    const lost = found.workers.filter((worker) => !worker.live).length;
    const versions = [...new Set(found.workers.map((worker) => worker.version || "unknown"))].sort();
    const differ = versions.length > 1 ? `; versions ${versions.join(", ")}` : "";
    const first = found.cursor ? "the first " : "";
    sum.textContent = found.workers.length ? `${first}${counted(found.workers.length, "worker")}, ${lost ? `${number(lost)} lost` : "all live"}${differ}` : "";
    const focused = document.activeElement?.dataset?.worker; // the keyboard's place outlives the redrawing
    list.replaceChildren(rows(pool, found, verbs));
    if (focused) list.querySelector(`[data-worker="${CSS.escape(focused)}"]`)?.focus();
  });
}

function rows(pool, found, verbs) {
  return table(["Worker", "Jobs / slots", "Lease", "Takes jobs", "Kinds", "Latest failure", "Log"], found.workers.map((worker) => [
    make("div", null, make("a", { class: "mono", href: `#/${pool}/jobs?state=running&worker=${encodeURIComponent(worker.name)}` }, worker.name),
      make("div", { class: "soft" }, origin(worker, found.taken_at_ms))),
    jobs(worker, found.plain), lease(worker, found.taken_at_ms), takes(worker),
    worker.kinds === null ? "any" : make("span", { class: "line", title: worker.kinds.join(", ") }, worker.kinds.join(", ")), failure(pool, worker.last_failure),
    logButton(pool, worker, verbs)]), "No workers. The operator starts them when jobs wait; a deleted pool has none.");
}

function origin(worker, now) {
  return [`on ${worker.host}`, worker.version ? `version ${worker.version}` : null, worker.since_ms ? `for ${span(Math.max(0, now - worker.since_ms))}` : null].filter(Boolean).join(", ");
}

// The log for callers who may read it; for others the command, which asks with an account of their own. A worker names
// itself: a name that no pod can have would be a text of its choice in the reader's shell.
function logButton(pool, worker, verbs) {
  if (!POD_NAME.test(worker.name)) return null;
  const command = `kubectl logs --namespace ${pool.split("/")[0]} --tail ${LINES} ${worker.name}`;
  if (!verbs.has("manage")) return copyButton("Copy command", command);
  return make("button", { class: "copy", "data-worker": worker.name, click: () => showLog(pool, worker.name, command) }, "Show");
}

// A line of the worker's JSON log in words; any other line as it is.
function readable(line) {
  let fields;
  try {
    fields = JSON.parse(line);
  } catch {
    return line;
  }
  const { time, level, message, logger, traceback, ...rest } = fields ?? {};
  if (typeof message !== "string") return line;
  const more = Object.entries(rest).map(([name, value]) => ` ${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join("");
  return `${time ?? ""} ${level ?? ""} ${message}${more}${traceback ? `\n${traceback}` : ""}`;
}

// The newest lines of the pod's log; where the gateway may not read it, the reason and the command.
async function showLog(pool, name, command) {
  const lines = make("pre", { class: "log", tabindex: "0", role: "log" }, "loading …");
  const close = make("button", { autofocus: true, click: () => document.getElementById("dialog").close() }, "Close");
  const read = () => call(`${at(pool)}/workers/${encodeURIComponent(name)}/log?lines=${LINES}`).then(
    (found) => { lines.textContent = found.log ? found.log.split("\n").map(readable).join("\n") : "The log is empty."; lines.scrollTop = lines.scrollHeight; },
    (error) => { lines.textContent = error.message; });
  show(make("h2", null, `Log of ${name}, newest ${LINES} lines`), lines,
    make("div", { class: "bar" }, make("button", { click: read }, "Read again"), copyButton("Copy", () => lines.textContent), copyButton("Copy command", command), close));
  await read();
}

function takes(worker) {
  if (worker.note) return make("span", { class: "error" }, `no: ${worker.note}`);
  if (worker.cordoned) return make("span", { class: "warning" }, "no: cordoned, leaves after its jobs");
  return worker.reserved ? "only jobs in quarantine" : "yes";
}

function failure(pool, last) {
  if (!last) return "";
  return make("a", { class: "line error", href: `#/${pool}/jobs/${encodeURIComponent(last.job_id)}`, title: last.error ?? "" }, `${moment(last.at_ms)} ${last.error ?? ""}`);
}

// A cell stands for a slot. Where jobs take several slots, no cell is drawn: a worker reports jobs only.
function jobs(worker, plain) {
  const text = make("span", null, `${number(worker.running)}/${number(worker.slots)}`);
  if (!plain) return text;
  return make("div", { class: "slots" }, text,
    make("div", { class: "cells", "aria-hidden": "true" },
      Array.from({ length: Math.min(worker.slots, MOST_CELLS) }, (_, slot) => make("span", { class: slot < worker.running ? "cell busy" : "cell" }))));
}

function lease(worker, now) {
  const left = worker.lease_expires_at_ms - now;
  return left < 0 ? make("span", { class: "error" }, `lost ${span(-left)} ago`) : `live, ${span(left)} left`;
}
