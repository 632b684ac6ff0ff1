// One pool, live: figures, backlog over time, routes, workers' slots, jobs with search, and what just happened.

import { at, call, follow } from "./api.js";
import { asked, draw, figure, make, show, span, state, table } from "./page.js";

const PRIORITIES = ["critical", "task", "info"];
const KEPT = 120; // readings in the chart: two minutes
const RECENT = 12; // events shown
const STATES = ["all", "running", "queued", "scheduled", "blocked", "failed"];

export function open(pool, root, signal, tell) {
  const parts = Object.fromEntries(
    ["figures", "chart", "routes", "workers", "jobs", "events"].map((name) => [name, make("div", { id: name })]));
  const search = make("input", { type: "search", placeholder: "Search by id, kind or worker", "aria-label": "Search jobs", input: () => list() });
  const chosen = make("select", { "aria-label": "State", change: () => read() }, STATES.map((name) => make("option", null, name)));
  root.replaceChildren(
    parts.figures,
    make("h2", null, "Backlog by priority"), parts.chart,
    make("h2", null, "Routes"), parts.routes,
    make("h2", null, "Workers and their slots"), parts.workers,
    make("h2", null, "Jobs"), make("div", { class: "bar" }, search, chosen), parts.jobs,
    make("h2", null, "Just now"), parts.events);
  const readings = [];
  let jobs = [];
  let events = [];
  let now = 0;

  async function tick() {
    const queue = await call(`${at(pool)}/queue`);
    now = queue.taken_at_ms;
    readings.push(queue);
    if (readings.length > KEPT) readings.shift();
    parts.figures.replaceChildren(figures(queue));
    parts.chart.replaceChildren(chart(readings));
    parts.routes.replaceChildren(routes(queue));
    parts.workers.replaceChildren(workers(queue));
  }

  async function read() {
    const query = chosen.value === "all" ? "" : `?state=${chosen.value}`;
    jobs = (await call(`${at(pool)}/jobs${query}`)).jobs;
    list();
  }

  function list() {
    const wanted = search.value.toLowerCase();
    const found = jobs.filter((job) => `${job.job_id} ${job.kind} ${job.worker ?? ""}`.toLowerCase().includes(wanted));
    const rows = found.map((job) => [
      make("button", { class: "link mono", "data-job": job.job_id, click: () => detail(pool, job.job_id).then(read) }, job.job_id),
      job.kind, make("span", { class: job.priority }, job.priority), state(job.state),
      `${job.attempt}/${job.max_attempts}`, job.state === "running" ? job.worker : null, span(now - job.submitted_at_ms)]);
    const focused = document.activeElement?.dataset?.job; // the keyboard's place outlives the redrawing
    parts.jobs.replaceChildren(table(["Job", "Kind", "Priority", "State", "Attempts", "Worker", "Age"], rows, "No such jobs wait, run or are dead."));
    if (focused) parts.jobs.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus();
  }

  async function loop() {
    while (!signal.aborted) {
      try {
        await tick();
        await read();
        tell("live", false);
      } catch (error) {
        tell(error.message, true);
        if (error.status === 401) return;
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  follow(pool, signal, (event) => {
    events = [event, ...events].slice(0, RECENT);
    const rows = events.map((one) => [
      new Date(one.at_ms).toLocaleTimeString(), one.type, make("span", { class: "mono" }, one.job_id), one.kind, one.worker, one.detail?.split("\n")[0]]);
    parts.events.replaceChildren(table(["At", "Event", "Job", "Kind", "Worker", "Detail"], rows, ""));
  });
  parts.events.replaceChildren(make("p", { class: "soft" }, "What happens from now on shows here."));
  loop();
}

function figures(queue) {
  const slots = queue.workers.reduce((sum, worker) => sum + worker.slots, 0);
  return make("div", { class: "figures" },
    figure("queued", queue.queued), figure(`running of ${slots} slots`, queue.running), figure("workers", queue.workers.length),
    figure("oldest wait", span(queue.oldest_wait_ms)), figure("wait for a new task", span(queue.estimated_wait_ms)),
    figure("scheduled", queue.scheduled), figure("blocked", queue.blocked), figure("dead letters", queue.dead),
    queue.paused ? figure("takes no new work", "paused") : null);
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
    make("div", { class: "bar soft" }, keys, make("span", null, `at most ${highest} in the last ${span(KEPT * 1000)}`)),
    draw("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `Backlog by priority; at most ${highest}` }, ...bars));
}

function routes(queue) {
  const rows = queue.routes.map((route) => [route.name, `${route.running}${route.limit === null ? "" : ` of ${route.limit}`}`,
    ...PRIORITIES.map((name) => String(route.queued[name]))]);
  return table(["Route", "Running", "Critical", "Task", "Info"], rows, "No routes.");
}

function workers(queue) {
  const rows = queue.workers.map((worker) => [worker.name, `${worker.running}/${worker.slots}`,
    make("div", { class: "cells", "aria-hidden": "true" }, Array.from({ length: Math.min(worker.slots, 100) }, (_, slot) =>
      make("span", { class: slot < worker.running ? "cell busy" : "cell" }))),
    worker.lease_expires_at_ms < queue.taken_at_ms ? make("span", { class: "error" }, "lost") : "live", worker.host]);
  return table(["Worker", "Slots", "", "Lease", "Host"], rows, "No workers. They come with the work, if the operator runs.");
}

async function detail(pool, id) {
  const path = `${at(pool)}/jobs/${encodeURIComponent(id)}`;
  const [job, { history }] = await Promise.all([call(path), call(`${path}/history`)]);
  const steps = history.map((entry) => make("li", null, `${entry.type} `,
    make("span", { class: "soft" }, `after ${span(entry.at_ms - job.submitted_at_ms)}${entry.worker ? ` on ${entry.worker}` : ""}`)));
  const act = async (question, doing, method, where) => { if (await asked(question, doing)) await call(where, method).catch((error) => show(make("p", { class: "error" }, error.message))); };
  const actions = [make("button", { autofocus: true, click: () => document.getElementById("dialog").close() }, "Close")];
  if (job.state === "failed") actions.unshift(make("button", { class: "primary", click: () => act(`Run ${id} again, with all its attempts?`, "Replay", "POST", `${at(pool)}/dead/${encodeURIComponent(id)}/replay`) }, "Replay"));
  else if (!["succeeded", "cancelled", "expired"].includes(job.state)) actions.unshift(make("button", { class: "danger", click: () => act(`Cancel ${id}? Jobs that wait for it are cancelled too.`, "Cancel the job", "DELETE", path) }, "Cancel job"));
  const text = (name, value) => (value === null ? null : make("section", null, make("h2", null, name), make("pre", null, typeof value === "string" ? value : JSON.stringify(value, null, 2))));
  show(...[make("div", { class: "bar" }, make("b", { class: "mono" }, id), state(job.state)),
    make("p", { class: "soft" }, `${job.kind}, ${job.priority}, attempt ${job.attempt} of ${job.max_attempts}, route ${job.route}`),
    job.after.length ? make("p", null, "Waits for ", ...job.after.flatMap((parent) => [make("button", { class: "link mono", click: () => detail(pool, parent) }, parent), " "])) : null,
    make("ol", { class: "timeline" }, steps), text("Payload", job.payload), text("Result", job.result), text("Error", job.error), text("Why", job.reason),
    make("div", { class: "bar" }, actions)].filter(Boolean));
}
