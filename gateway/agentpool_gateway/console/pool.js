// A pool, live: figures, backlog over time, routes, workers' slots, jobs with search, and recent events.

import { at, call, follow, poll } from "./api.js";
import { detail } from "./job.js";
import { asked, draw, figure, make, show, span, state, table, unready } from "./page.js";

const PRIORITIES = ["critical", "task", "info"];
const KEPT = 120; // readings in the chart: two minutes
const RECENT = 12; // events shown
const LISTED = 100; // jobs of each state
const STATES = ["all", "running", "queued", "scheduled", "blocked", "waiting", "failed"];

export function open(pool, root, signal, report) {
  const parts = Object.fromEntries(
    ["figures", "scaling", "chart", "routes", "workers", "jobs", "events"].map((name) => [name, make("div", { id: name })]));
  const search = make("input", { type: "search", placeholder: "Search by id, kind or worker; Enter opens any id", "aria-label": "Search jobs; Enter opens the job of this id",
    input: () => list(), keydown: (event) => { if (event.key === "Enter" && search.value.trim()) look(search.value.trim()); } });
  const chosen = make("select", { "aria-label": "State", change: () => read() }, STATES.map((name) => make("option", null, name)));
  root.replaceChildren(
    parts.figures, make("h2", null, "Workers: desired / current"), parts.scaling,
    make("h2", null, "Backlog by priority"), parts.chart,
    make("h2", null, "Routes"), parts.routes,
    make("h2", null, "Workers and their slots"), parts.workers,
    make("h2", null, "Jobs"), make("div", { class: "bar" }, search, chosen), parts.jobs,
    make("h2", null, "Recent events"), parts.events);
  const readings = [];
  let jobs = [];
  let listed = null; // the state that they were asked for
  let events = [];
  let now = 0;

  async function tick() {
    const queue = await call(`${at(pool)}/queue`);
    now = queue.taken_at_ms;
    readings.push(queue);
    if (readings.length > KEPT) readings.shift();
    parts.figures.replaceChildren(figures(queue));
    await workersWanted(queue);
    parts.chart.replaceChildren(chart(readings));
    parts.routes.replaceChildren(routes(queue));
    parts.workers.replaceChildren(workers(queue, held()));
  }

  // Running jobs by worker, counted in the list of jobs; null if the list is incomplete.
  function held() {
    const running = jobs.filter((job) => job.state === "running");
    if (running.length >= LISTED || !["all", "running"].includes(listed)) return null;
    return running.reduce((counts, job) => counts.set(job.worker, (counts.get(job.worker) ?? 0) + 1), new Map());
  }

  async function workersWanted(queue) {
    const scaling = await call(`${at(pool)}/scaling`).catch((error) => ({ declared: null, problem: error.message }));
    const paused = scaling.declared ? scaling.paused : queue.paused;
    const focused = document.activeElement?.id === "pause";
    const button = make("button", { id: "pause", class: paused ? "primary" : "", click: () => pause(!paused) }, paused ? "Resume" : "Pause");
    parts.scaling.replaceChildren(queue.retired ? gone() : wanted(scaling, paused, button));
    if (focused) button.focus();
  }

  async function pause(paused) {
    const question = paused
      ? `Pause ${pool}? The pool accepts new jobs and starts none until you resume it. Running jobs finish.`
      : `Resume ${pool}? The pool starts jobs again.`;
    if (!(await asked(question, paused ? "Pause the pool" : "Resume"))) return;
    await call(`${at(pool)}/paused`, "PUT", { paused }).then(tick).catch((error) => show(make("p", { class: "error", role: "alert" }, error.message)));
  }

  async function read() {
    const wanted = chosen.value;
    const states = wanted === "all" ? STATES.slice(1) : [wanted];
    const pages = await Promise.all(states.map((name) => call(`${at(pool)}/jobs?state=${name}&limit=${LISTED}`)));
    jobs = pages.flatMap((page) => page.jobs);
    listed = wanted;
    list();
  }

  const look = (id) => detail(pool, id, jobs).then(read);

  function list() {
    const wanted = search.value.trim().toLowerCase();
    const found = jobs.filter((job) => `${job.job_id} ${job.kind} ${job.worker ?? ""}`.toLowerCase().includes(wanted));
    const rows = found.map((job) => [
      make("button", { class: "link mono", "data-job": job.job_id, click: () => look(job.job_id) }, job.job_id),
      job.kind, make("span", { class: job.priority }, job.priority), [state(job.state), job.quarantined ? make("span", { class: "soft" }, " quarantine") : null],
      `${job.attempt}/${job.max_attempts}`, job.state === "running" ? job.worker : null, span(now - job.submitted_at_ms)]);
    const focused = document.activeElement?.dataset?.job; // the keyboard's place outlives the redrawing
    const cut = STATES.some((name) => jobs.filter((job) => job.state === name).length >= LISTED);
    parts.jobs.replaceChildren(table(["Job", "Kind", "Priority", "State", "Attempts", "Worker", "Age"], rows, "No such jobs wait, run or are dead."),
      cut ? make("p", { class: "soft" }, `At most ${LISTED} jobs of each state are listed and searched.`) : "");
    if (focused) parts.jobs.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus();
  }

  follow(pool, signal, (event) => {
    if (event.type === "progress") return; // the job's dialog has it; here it would drown the rest
    events = [event, ...events].slice(0, RECENT);
    const rows = events.map((one) => [
      new Date(one.at_ms).toLocaleTimeString(), one.type, make("span", { class: "mono" }, one.job_id), one.kind, one.worker, textOf(one.detail)]);
    parts.events.replaceChildren(table(["At", "Event", "Job", "Kind", "Worker", "Detail"], rows, ""));
  });
  parts.events.replaceChildren(make("p", { class: "soft" }, "New events appear here."));
  poll(signal, report, 1000, async () => {
    await read();
    await tick();
  });
}

function figures(queue) {
  const slots = queue.workers.reduce((sum, worker) => sum + worker.slots, 0);
  return make("div", { class: "figures" },
    figure("queued", queue.queued), figure(`of ${slots} slots busy`, queue.running), figure("workers", queue.workers.length),
    figure("oldest wait", span(queue.oldest_wait_ms)), figure("new task waits", span(queue.estimated_wait_ms)),
    figure("scheduled", queue.scheduled), figure("blocked", queue.blocked), figure("waiting", queue.waiting), figure("dead letters", queue.dead),
    queue.quarantined ? figure("in quarantine", queue.quarantined) : null,
    queue.paused ? figure("starts no jobs", "paused") : null);
}

function gone() {
  return make("div", { class: "card scaling" }, make("p", { class: "warning" }, "Deleted: the AgentPool of this pool no longer exists. The queue refuses new jobs; its jobs can be read until their retention ends. Apply the AgentPool again to run waiting jobs."));
}

// Workers: demand of the work, desired after limits, current and ready; the limit that applies, and the last decision.
function wanted(scaling, paused, button) {
  if (!scaling.declared) {
    const why = scaling.problem ?? "No AgentPool exists for this pool: its workers were started by hand.";
    return make("div", { class: "card scaling" }, make("p", { class: scaling.problem ? "error" : "soft" }, why), make("div", { class: "bar" }, button));
  }
  const count = (name) => scaling[name] ?? "–";
  const bounds = scaling.manual_replicas !== null ? `set by hand to ${scaling.manual_replicas}` : `between ${count("min_replicas")} and ${count("max_replicas")}`;
  const trouble = unready(scaling);
  const gpus = scaling.gpus ? `, GPUs held ${scaling.gpus.held}, room for ${scaling.gpus.placeable} workers` : "";
  return make("div", { class: "card scaling" },
    make("div", { class: "steps" }, ...[["demand", "wanted_replicas"], ["desired", "desired_replicas"], ["current", "replicas"], ["ready", "ready_replicas"]].map(
      ([label, name]) => make("div", null, make("b", { "data-count": name }, String(count(name))), make("span", { class: "soft" }, label)))),
    trouble ? make("p", { class: "warning" }, `Not ready (${trouble.reason}): ${trouble.message}`) : null,
    make("p", null, `Bounds: ${bounds}${gpus}.`),
    scaling.limited ? make("p", { class: "warning", id: "limited" }, `Limited (${scaling.limited.reason}): ${scaling.limited.message}`) : make("p", { class: "soft" }, "No limit applies."),
    scaling.decision ? make("p", { class: "soft" }, `Last decision, ${new Date(scaling.decision.at).toLocaleTimeString()}: ${scaling.decision.reason}`) : null,
    paused ? make("p", { class: "warning" }, "Paused: the pool accepts jobs and starts none.") : null,
    make("div", { class: "bar" }, button));
}

function chart(readings) {
  const [width, height] = [KEPT, 100];
  const of = (reading, name) => reading.routes.reduce((sum, route) => sum + route.queued[name], 0);
  const highest = Math.max(1, ...readings.map((reading) => reading.queued));
  const bars = readings.flatMap((reading, index) => {
    let top = height;
    return PRIORITIES.map((name) => {
      const size = (of(reading, name) / highest) * height;
      top -= size;
      return draw("rect", { class: name, x: width - readings.length + index, y: top, width: 0.85, height: size });
    });
  });
  const keys = PRIORITIES.map((name) => make("span", { class: name }, `■ ${name}`));
  return make("div", { class: "wide chart" },
    make("div", { class: "bar soft ends" }, make("span", null, `${highest} at the top`), make("span", { class: "keys" }, keys)),
    draw("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `Backlog by priority over two minutes; at most ${highest}` }, ...bars),
    make("div", { class: "bar soft ends" }, make("span", null, "2 minutes ago"), make("span", null, "now")));
}

function routes(queue) {
  const rows = queue.routes.map((route) => [route.name, `${route.running}${route.limit === null ? "" : ` of ${route.limit}`}`,
    ...PRIORITIES.map((name) => String(route.queued[name]))]);
  return table(["Route", "Running", "Critical", "Task", "Info"], rows, "No routes.");
}

// A worker reports its own count with its heartbeat only; `held`, if known, is current.
function workers(queue, held) {
  const rows = queue.workers.map((worker) => [worker, held ? (held.get(worker.name) ?? 0) : worker.running]).map(([worker, running]) => [
    worker.name,
    make("div", { class: "slots" }, make("span", null, `${running}/${worker.slots}`), make("div", { class: "cells", "aria-hidden": "true" },
      Array.from({ length: Math.min(worker.slots, 100) }, (_, slot) => make("span", { class: slot < running ? "cell busy" : "cell" })))),
    worker.lease_expires_at_ms < queue.taken_at_ms ? make("span", { class: "error" }, "lost") : "live", worker.host,
    worker.note ? make("span", { class: "error" }, worker.note) : ""]);
  return table(["Worker", "Slots", "Lease", "Host", "Note"], rows, queue.retired ? "No workers: the AgentPool was deleted." : "No workers. The operator starts them when jobs wait.");
}

// Returns the first line of an event's detail, which is an object with one value; null: none.
function textOf(detail) {
  const [value] = Object.values(detail ?? {});
  if (value === undefined || value === null) return null;
  return (typeof value === "string" ? value : JSON.stringify(value)).split("\n")[0];
}
