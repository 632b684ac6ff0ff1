// A job's dependency graph, drawn: its dependencies on the left, its dependents on the right.

import { at, call } from "./api.js";
import { draw, make } from "./page.js";

const MOST = 40; // jobs drawn
const [WIDE, HIGH, ACROSS, DOWN] = [168, 40, 44, 12]; // a box and the gaps between boxes

// The jobs around a job: ancestors by their records, dependents among the known waiting jobs.
export async function around(pool, job, known) {
  const jobs = new Map([[job.job_id, { job, column: 0 }]]);
  let edge = [job];
  for (let column = -1; edge.length && jobs.size < MOST; column -= 1) {
    const ids = [...new Set(edge.flatMap((one) => one.after))].filter((id) => !jobs.has(id)).slice(0, MOST - jobs.size);
    edge = await Promise.all(ids.map((id) => call(`${at(pool)}/jobs/${encodeURIComponent(id)}`).catch(() => ({ job_id: id, state: "gone", kind: "no longer kept", after: [] }))));
    for (const one of edge) jobs.set(one.job_id, { job: one, column });
  }
  edge = [job.job_id];
  for (let column = 1; edge.length && jobs.size < MOST; column += 1) {
    const found = known.filter((one) => one.after.some((id) => edge.includes(id)) && !jobs.has(one.job_id)).slice(0, MOST - jobs.size);
    for (const one of found) jobs.set(one.job_id, { job: one, column });
    edge = found.map((one) => one.job_id);
  }
  return [...jobs.values()];
}

export function graph(nodes, here, chosen) {
  if (nodes.length < 2) return null;
  const columns = [...new Set(nodes.map((node) => node.column))].sort((a, b) => a - b);
  const places = new Map();
  for (const node of nodes) {
    const column = columns.indexOf(node.column);
    const row = [...places.values()].filter((place) => place.column === column).length;
    places.set(node.job.job_id, { column, x: column * (WIDE + ACROSS), y: row * (HIGH + DOWN), job: node.job });
  }
  const all = [...places.values()];
  const width = Math.max(...all.map((place) => place.x)) + WIDE + 2;
  const height = Math.max(...all.map((place) => place.y)) + HIGH + 2;
  const lines = all.flatMap((place) => place.job.after.filter((id) => places.has(id)).map((id) => line(places.get(id), place)));
  const boxes = all.map((place) => box(place, here, chosen));
  return make("div", { class: "wide graph" },
    draw("svg", { viewBox: `-1 -1 ${width} ${height}`, width, height, role: "group", "aria-label": `Dependencies: ${nodes.length} jobs` }, ...lines, ...boxes));
}

function line(from, to) {
  const [x1, y1, x2, y2] = [from.x + WIDE, from.y + HIGH / 2, to.x, to.y + HIGH / 2];
  return draw("path", { class: "edge", d: `M${x1} ${y1} C${x1 + ACROSS / 2} ${y1} ${x2 - ACROSS / 2} ${y2} ${x2} ${y2}` });
}

function box(place, here, chosen) {
  const { job, x, y } = place;
  const open = () => chosen(job.job_id);
  const short = job.job_id.length > 20 ? `…${job.job_id.slice(-18)}` : job.job_id;
  const reachable = job.state !== "gone" && job.job_id !== here;
  return draw("g", {
    class: `node ${job.state}${job.job_id === here ? " here" : ""}`, "data-node": job.job_id,
    ...(reachable ? { tabindex: "0", role: "button", click: open, keydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); } } } : {}),
    "aria-label": `${job.kind} ${job.job_id}, ${job.state}`,
  },
    draw("rect", { x, y, width: WIDE, height: HIGH, rx: 6 }),
    draw("text", { x: x + 10, y: y + 17 }, `${job.kind}, ${job.state}`.slice(0, 26)),
    draw("text", { x: x + 10, y: y + 32, class: "id" }, short));
}
