// The jobs around a job, generation by generation: equal ones are one line that opens, so two hundred stay readable.

import { make, state } from "./page.js";
import { counted } from "./words.js";

const FOLDED = 6; // jobs of a kind and state from which they are folded

export function family(pool, jobs, complete) {
  if (jobs.length < 2) return null;
  const generations = [...new Set(jobs.map((job) => job.generation))].sort((a, b) => a - b);
  const rest = complete ? null : make("p", { class: "soft" }, "There are more jobs; the nearest are shown.");
  return make("div", { class: "family" }, ...generations.map((generation) => part(pool, generation, jobs.filter((job) => job.generation === generation))), rest);
}

function part(pool, generation, jobs) {
  const name = generation === 0 ? "This job" : generation < 0 ? "Waited for, or started by" : "Children and dependents";
  const depth = Math.abs(generation) > 1 ? `, ${counted(Math.abs(generation), "step")} away` : "";
  const groups = new Map();
  for (const job of jobs) {
    const key = `${job.kind}\n${job.state}`;
    groups.set(key, [...(groups.get(key) ?? []), job]);
  }
  const size = jobs.length > 1 ? ` (${jobs.length})` : "";
  return make("section", { class: generation === 0 ? "here" : "" }, make("h3", null, `${name}${depth}${size}`),
    make("ul", null, ...[...groups.values()].map((group) => lines(pool, group))));
}

function lines(pool, group) {
  const { kind, state: name } = group[0];
  const items = group.toSorted((a, b) => a.job_id.localeCompare(b.job_id, "en", { numeric: true })).map((job) => make("li", null, make("a", { class: "mono", "data-relative": job.job_id, href: `#/${pool}/jobs/${encodeURIComponent(job.job_id)}` }, job.job_id)));
  if (group.length < FOLDED) return make("li", null, make("b", null, kind), " ", state(name), make("ul", null, ...items));
  return make("li", null, make("details", null, make("summary", null, make("b", null, `${group.length} × ${kind}`), " ", state(name)), make("ul", { class: "columns" }, ...items)));
}
