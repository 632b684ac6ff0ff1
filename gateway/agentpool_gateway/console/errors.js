// A pool's failed jobs, grouped by error: the largest group first, each with its jobs, an example, and a replay of all.

import { at, call, poll } from "./api.js";
import { change } from "./jobs.js";
import { make, table } from "./page.js";
import { counted, moment, number } from "./words.js";

export function errors(pool, root, signal, report, verbs) {
  const sum = make("p", { class: "soft" });
  const list = make("div", { id: "errors" });
  root.replaceChildren(sum, list);

  async function read() {
    const found = await call(`${at(pool)}/jobs:errors`);
    if (signal.aborted) return;
    sum.textContent = found.counted ? `${counted(found.counted, "failed job")} in ${counted(found.groups.length, "group")}${found.complete ? "" : "; there are more"}` : "";
    list.replaceChildren(table(["Error", "Jobs", "Kinds", "Latest", ""], found.groups.map(row), "No failed jobs. A job fails for good after its last attempt."));
  }

  function row(group) {
    const jobs = `#/${pool}/jobs?state=failed${group.error ? `&error_group=${encodeURIComponent(group.error)}` : ""}`;
    const body = { state: ["failed"], error_group: group.error };
    const replay = verbs.has("manage") && group.error
      ? make("button", { class: "primary", click: () => change(pool, "replay", body, "run again, with all attempts", false).then(read) }, "Replay all") : "";
    return [make("a", { class: "line error", href: jobs, title: group.error }, group.error || "no error given"), number(group.count), group.kinds.join(", "),
      make("a", { href: `#/${pool}/jobs/${encodeURIComponent(group.job_id)}` }, moment(group.latest_at_ms)), replay];
  }

  poll(signal, report, 5000, read);
}
