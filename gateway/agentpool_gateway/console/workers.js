// A pool's workers: slots, lease, kinds, host, whether each takes jobs, its latest failure, and the command for its log.

import { at, call, poll } from "./api.js";
import { copyButton, make, table } from "./page.js";
import { counted, moment, number, span } from "./words.js";

const MOST_CELLS = 100;

export function workers(pool, root, signal, report) {
  const sum = make("p", { class: "soft" });
  const list = make("div", { id: "workers" });
  root.replaceChildren(sum, list);
  poll(signal, report, 2000, async () => {
    const found = await call(`${at(pool)}/workers`);
    const lost = found.workers.filter((worker) => !worker.live).length;
    sum.textContent = found.workers.length ? `${counted(found.workers.length, "worker")}, ${lost ? `${number(lost)} lost` : "all live"}` : "";
    list.replaceChildren(rows(pool, found));
  });
}

function rows(pool, found) {
  return table(["Worker", "Slots", "Lease", "Host", "Takes jobs", "Kinds", "Latest failure", "Log"], found.workers.map((worker) => [
    make("a", { class: "mono", href: `#/${pool}/jobs?state=running&worker=${encodeURIComponent(worker.name)}` }, worker.name),
    slots(worker), lease(worker, found.taken_at_ms), worker.host, takes(worker),
    worker.kinds === null ? "any" : make("span", { class: "line", title: worker.kinds.join(", ") }, worker.kinds.join(", ")), failure(pool, worker.last_failure),
    copyButton("Copy command", `kubectl logs --namespace ${pool.split("/")[0]} --tail 200 ${worker.name}`)]), "No workers. The operator starts them when jobs wait; a deleted pool has none.");
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

function slots(worker) {
  return make("div", { class: "slots" }, make("span", null, `${number(worker.running)}/${number(worker.slots)}`),
    make("div", { class: "cells", "aria-hidden": "true" },
      Array.from({ length: Math.min(worker.slots, MOST_CELLS) }, (_, slot) => make("span", { class: slot < worker.running ? "cell busy" : "cell" }))));
}

function lease(worker, now) {
  const left = worker.lease_expires_at_ms - now;
  return left < 0 ? make("span", { class: "error" }, `lost ${span(-left)} ago`) : `live, ${span(left)} left`;
}
