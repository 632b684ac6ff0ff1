// A pool's workers: slots, lease, host, the reason why one takes no jobs, and the command that prints its log.

import { at, call, poll } from "./api.js";
import { copyButton, make, table } from "./page.js";
import { counted, number, span } from "./words.js";

const MOST_CELLS = 100;

export function workers(pool, root, signal, report) {
  const sum = make("p", { class: "soft" });
  const list = make("div", { id: "workers" });
  root.replaceChildren(sum, list);
  poll(signal, report, 2000, async () => {
    const queue = await call(`${at(pool)}/queue`);
    const lost = queue.workers.filter((worker) => worker.lease_expires_at_ms < queue.taken_at_ms).length;
    sum.textContent = queue.workers.length ? `${counted(queue.workers.length, "worker")}, ${lost ? `${number(lost)} lost` : "all live"}` : "";
    list.replaceChildren(rows(pool, queue));
  });
}

function rows(pool, queue) {
  const empty = queue.retired ? "No workers: the AgentPool was deleted." : "No workers. The operator starts them when jobs wait.";
  return table(["Worker", "Slots", "Lease", "Host", "Takes jobs", "Log"], queue.workers.map((worker) => [
    make("a", { class: "mono", href: `#/${pool}/jobs?state=running&worker=${encodeURIComponent(worker.name)}` }, worker.name),
    slots(worker), lease(worker, queue.taken_at_ms), worker.host,
    worker.note ? make("span", { class: "error" }, `no: ${worker.note}`) : "yes",
    copyButton("Copy command", `kubectl logs --namespace ${pool.split("/")[0]} --tail 200 ${worker.name}`)]), empty);
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
