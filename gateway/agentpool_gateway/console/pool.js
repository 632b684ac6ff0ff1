// A pool, live: figures, workers desired and ready, the last hour, routes and limits, and recent events.

import { at, call, follow, poll } from "./api.js";
import { history } from "./charts.js";
import { asked, figure, make, refused, table, unready } from "./page.js";
import { counted, moment, number, plural, span } from "./words.js";

const RECENT = 12; // events shown
const RECENT_READ = 100; // at first: some are the progress of jobs, which is not shown
const HISTORY_EVERY_MS = 15000;

export function overview(pool, root, signal, report, verbs) {
  const parts = Object.fromEntries(["figures", "scaling", "chart", "routes", "events"].map((name) => [name, make("div", { id: name })]));
  root.replaceChildren(
    parts.figures, make("h2", null, "Workers: desired / current"), parts.scaling,
    make("h2", null, "The last hour"), parts.chart,
    make("h2", null, "Routes and limits"), parts.routes,
    make("h2", null, "Recent events"), parts.events);
  let [points, readAt, events] = [[], -Infinity, []];

  async function tick() {
    const [queue, scaling] = await Promise.all([call(`${at(pool)}/queue`), call(`${at(pool)}/scaling`).catch((error) => ({ declared: null, problem: error.message }))]);
    parts.figures.replaceChildren(figures(pool, queue));
    showScaling(queue, scaling);
    await showHistory(queue, scaling);
    parts.routes.replaceChildren(routes(queue), limits(queue));
  }

  function showScaling(queue, scaling) {
    const paused = scaling.declared ? scaling.paused : queue.paused;
    const focused = document.activeElement?.id === "pause";
    const button = verbs.has("configure") ? make("button", { id: "pause", class: paused ? "primary" : "", click: () => pause(!paused) }, paused ? "Resume" : "Pause") : null;
    parts.scaling.replaceChildren(queue.retired ? gone() : wanted(scaling, paused, button));
    if (focused) button?.focus();
  }

  async function showHistory(queue, scaling) {
    if (performance.now() - readAt > HISTORY_EVERY_MS) {
      readAt = performance.now();
      points = (await call(`${at(pool)}/history`)).points;
    }
    const present = { at_ms: queue.taken_at_ms, queued: queue.queued, finished: queue.totals.finished, failed: points.at(-1)?.failed ?? 0,
      desired: scaling.desired_replicas ?? null, ready: scaling.ready_replicas ?? null };
    parts.chart.replaceChildren(history(points.length ? [...points, present] : [], queue.taken_at_ms));
  }

  async function pause(paused) {
    const question = paused
      ? `Pause ${pool}? The pool accepts new jobs and starts none until you resume it. Running jobs finish.`
      : `Resume ${pool}? The pool starts jobs again.`;
    if (!(await asked(question, paused ? "Pause the pool" : "Resume"))) return;
    await call(`${at(pool)}/paused`, "PUT", { paused }).then(tick).catch(refused);
  }

  function showEvents(more) {
    events = [...more.filter((event) => event.type !== "progress"), ...events].slice(0, RECENT); // progress would drown the rest
    const rows = events.map((one) => [
      moment(one.at_ms), one.type, make("a", { class: "mono", href: `#/${pool}/jobs/${encodeURIComponent(one.job_id)}` }, one.job_id), one.kind, one.worker, detail(one.detail)]);
    parts.events.replaceChildren(table(["At", "Event", "Job", "Kind", "Worker", "Detail"], rows, "No event is kept. New ones appear here."));
  }

  // The kept events first; without them, the page still follows the new ones.
  async function followEvents() {
    const { events: kept } = await call(`${at(pool)}/events:newest?limit=${RECENT_READ}`).catch(() => ({ events: [] }));
    if (signal.aborted) return;
    showEvents(kept);
    follow(pool, signal, (event) => showEvents([event]), kept[0]?.id);
  }

  followEvents();
  poll(signal, report, 1000, tick);
}

function figures(pool, queue) {
  return make("div", { class: "figures" },
    figure("queued", queue.queued), figure("running", queue.running), figure(`of ${counted(queue.slots, "slot")} used`, queue.slots_used), figure(plural(queue.workers.length, "worker"), queue.workers.length),
    figure("oldest wait", span(queue.oldest_wait_ms)), figure("a new task waits", span(queue.estimated_wait_ms)),
    figure("scheduled", queue.scheduled), figure("blocked", queue.blocked), figure("waiting", queue.waiting), deadLetters(pool, queue.dead),
    queue.held ? figure("held by limits", queue.held) : null,
    queue.quarantined ? figure("in quarantine", queue.quarantined) : null,
    queue.paused ? figure("starts no jobs", "paused") : null);
}

// The number of failed jobs that wait for a person, in the colour of errors, as the way to the failures.
function deadLetters(pool, dead) {
  const tile = figure(plural(dead, "dead letter"), dead);
  return dead ? make("a", { class: "figure error", id: "dead", href: `#/${pool}/failures` }, ...tile.childNodes) : tile;
}

function gone() {
  return make("div", { class: "card scaling" }, make("p", { class: "warning" }, "Deleted: the AgentPool of this pool no longer exists. The queue refuses new jobs; its jobs can be read until their retention ends. Apply the AgentPool again to run waiting jobs."));
}

// Workers: demand of the work, desired after limits, current and ready; the limit that applies, and the last decision.
function wanted(scaling, paused, button) {
  const bar = button ? make("div", { class: "bar" }, button) : null;
  if (!scaling.declared) {
    const why = scaling.problem ?? "No AgentPool exists for this pool: its workers were started by hand.";
    return make("div", { class: "card scaling" }, make("p", { class: scaling.problem ? "error" : "soft" }, why), bar);
  }
  const bounds = scaling.manual_replicas !== null ? `set by hand to ${scaling.manual_replicas}` : `between ${number(scaling.min_replicas)} and ${number(scaling.max_replicas)}`;
  const trouble = unready(scaling);
  const gpus = scaling.gpus ? `, GPUs held ${scaling.gpus.held}, room for ${counted(scaling.gpus.placeable, "worker")}` : "";
  return make("div", { class: "card scaling" },
    make("div", { class: "steps" }, ...[["demand", "wanted_replicas"], ["desired", "desired_replicas"], ["current", "replicas"], ["ready", "ready_replicas"]].map(
      ([label, name]) => make("div", null, make("b", { "data-count": name }, number(scaling[name])), make("span", { class: "soft" }, label)))),
    trouble ? make("p", { class: "error" }, `Not ready (${trouble.reason}): ${trouble.message}`) : null,
    make("p", null, `Bounds: ${bounds}${gpus}.`),
    scaling.limited ? make("p", { class: "warning", id: "limited" }, `Limited (${scaling.limited.reason}): ${scaling.limited.message}`) : make("p", { class: "soft" }, "No limit applies."),
    scaling.decision ? make("p", { class: "soft" }, `Last decision, ${moment(Date.parse(scaling.decision.at))}: ${scaling.decision.reason}`) : null,
    paused ? make("p", { class: "warning" }, "Paused: the pool accepts jobs and starts none.") : null,
    bar);
}

function routes(queue) {
  const rows = queue.routes.map((route) => [route.name, `${number(route.running)}${route.limit === null ? "" : ` of ${number(route.limit)}`}`,
    ...["critical", "task", "info"].map((name) => number(route.queued[name])), route.paused_ms ? `paused for ${span(route.paused_ms)}` : ""]);
  return table(["Route", "Running", "Critical", "Task", "Info", "Note"], rows, "No routes.");
}

function limits(queue) {
  if (!queue.limits.length) return "";
  return table(["Limit", "Bound", "For each", "Free now", "Waiting"], queue.limits.map((limit) => [limit.name, limit.limit, limit.by, left(limit), number(limit.waiting)]), "");
}

// The jobs, starts or tokens that a limit leaves; null: each key or tenant has a number of its own, or it is a budget.
function left(limit) {
  if (limit.level === null) return limit.free === null ? null : number(limit.free);
  return `${number(Math.round(limit.level))} of ${number(limit.burst)}`;
}

function detail(of) {
  const text = textOf(of);
  return text === null ? null : make("span", { class: "line", title: text }, text);
}

// Returns the first line of an event's detail, which is an object with one value; null: none.
function textOf(detail) {
  const [value] = Object.values(detail ?? {});
  if (value === undefined || value === null) return null;
  return (typeof value === "string" ? value : JSON.stringify(value)).split("\n")[0];
}
