// A job in a dialog: timeline, steps, output, dependencies, payload and result; cancel, replay, and signals.

import { at, call, followOutput } from "./api.js";
import { around, graph } from "./graph.js";
import { asked, make, show, span, state } from "./page.js";

const CHUNKS_SHOWN = 2000; // the newest of the output
let following = new AbortController(); // the output of the job that is shown
const ENDED = ["succeeded", "failed", "cancelled", "expired"];

export async function detail(pool, id, known) {
  const path = `${at(pool)}/jobs/${encodeURIComponent(id)}`;
  try {
    const [job, { history }] = await Promise.all([call(path), call(`${path}/history`)]);
    const nodes = await around(pool, job, known);
    await shown(pool, job, history, nodes, known);
  } catch (error) {
    show(make("p", { class: "error", role: "alert" }, error.message), make("div", { class: "bar" }, close()));
  }
}

async function shown(pool, job, history, nodes, known) {
  const id = job.job_id;
  const path = `${at(pool)}/jobs/${encodeURIComponent(id)}`;
  const act = async (question, doing, method, where, final = false, document = undefined) => {
    if (!(await asked(question, doing, final))) return detail(pool, id, known);
    await call(where, method, document).catch((error) => show(make("p", { class: "error", role: "alert" }, error.message), make("div", { class: "bar" }, close())));
    return undefined;
  };
  const actions = [close()];
  if (job.state === "failed") {
    actions.unshift(make("button", { id: "replay", class: "primary", click: () => act(`Run ${id} again, with all attempts?`, "Replay", "POST", `${at(pool)}/dead/${encodeURIComponent(id)}/replay`) }, "Replay"));
  } else if (!ENDED.includes(job.state)) {
    actions.unshift(make("button", { id: "cancel", class: "danger", click: () => act(`Cancel ${id}? Jobs that wait for it are cancelled too.`, "Cancel the job", "DELETE", path, true) }, "Cancel job"));
  }
  const drawn = graph(nodes, id, (other) => detail(pool, other, known));
  const part = (name, content) => (content ? make("section", null, make("h2", null, name), content) : null);
  const text = (value) => (value === null || value === undefined ? null : make("pre", { tabindex: "0" }, typeof value === "string" ? value : JSON.stringify(value, null, 2)));
  show(...[
    make("div", { class: "bar title" }, make("b", null, job.kind), state(job.state), make("span", { class: "mono soft" }, id)),
    make("p", { class: "soft" }, facts(job)),
    job.state === "waiting" ? part("Waits for", waitList(job, (name, value) => act(`Send the signal ${name} with the value ${JSON.stringify(value)}?`, "Send", "POST", `${path}/signals/${encodeURIComponent(name)}`, false, value))) : null,
    job.budget ? part("Waits for money", text(`budget ${job.budget.limit}: ${job.budget.spent} of ${job.budget.amount} is spent; the next window begins ${new Date(job.budget.resets_at_ms).toLocaleString()}`)) : null,
    output(path),
    part("History", timeline(history, job)),
    part("Steps", stepList(job)),
    part("Dependencies and dependents", drawn),
    part(job.state === "failed" ? "Error" : "Error of an earlier attempt", text(job.error)), part("Why", job.state === "succeeded" ? null : text(job.reason)), part("Result", text(job.result)),
    part("Fields that cannot be read", fields(job.undecodable)), part("Progress", ENDED.includes(job.state) ? null : text(job.progress)), part("Checkpoint", text(job.checkpoint)), part("Payload", text(job.payload)),
    make("div", { class: "bar actions" }, actions)].filter(Boolean));
}

const close = () => make("button", { autofocus: true, click: () => document.getElementById("dialog").close() }, "Close");

function facts(job) {
  const attempt = job.attempt ? `attempt ${job.attempt} of ${job.max_attempts}` : `${job.max_attempts} attempts at most`;
  return [job.priority, `route ${job.route}`, attempt, job.worker ? `on ${job.worker}` : null, job.losses ? `${job.losses} lost worker${job.losses === 1 ? "" : "s"}` : null, job.quarantined ? "in quarantine: runs alone" : null, job.idempotency_key ? `key ${job.idempotency_key}` : null].filter(Boolean).join(" · ");
}

// The stored text of fields that are no valid JSON; null: none.
function fields(undecodable) {
  const lines = Object.entries(undecodable).map(([name, stored]) => `${name}: ${stored}`);
  return lines.length ? make("pre", { tabindex: "0" }, lines.join("\n")) : null;
}

// The awaited signals, each with a form that sends it; `send` takes the name and the value.
function waitList(job, send) {
  const question = job.question === null || job.question === undefined ? null : make("pre", { tabindex: "0" }, typeof job.question === "string" ? job.question : JSON.stringify(job.question, null, 2));
  const forms = job.waits_for.map((name) => {
    const value = make("input", { "aria-label": `value of the signal ${name}, as JSON`, value: '{"approved": true}', spellcheck: "false" });
    const problem = make("p", { class: "error", role: "alert", hidden: true });
    const submit = (event) => {
      event.preventDefault();
      try {
        send(name, JSON.parse(value.value));
      } catch {
        problem.textContent = `The value is not JSON; write a value such as true, "text" or {"approved": false}.`;
        problem.hidden = false;
      }
    };
    return make("form", { class: "signal", submit }, make("div", { class: "bar" }, make("b", null, name), value, make("button", { class: "primary" }, "Send signal")), problem);
  });
  const end = job.due_at_ms ? make("p", { class: "soft" }, `${forms.length ? "At the latest until" : "Until"} ${new Date(job.due_at_ms).toLocaleString()}`) : null;
  return forms.length || end ? make("div", null, question, forms, end) : null;
}

// The output of the job's handler, as it comes; hidden until the first chunk. A later run may repeat chunks, so it begins
// with a line of its own.
function output(path) {
  following.abort();
  following = new AbortController();
  document.getElementById("dialog").addEventListener("close", () => following.abort(), { once: true });
  const text = make("pre", { id: "output", tabindex: "0", role: "log" });
  const section = make("section", { hidden: true });
  let run = null;
  followOutput(path, following.signal, (chunk) => {
    if (run !== null && run !== chunk.run) text.append(make("span", { class: "soft" }, `\n— run ${chunk.run}, attempt ${chunk.attempt} —\n`));
    run = chunk.run;
    text.append(typeof chunk.value === "string" ? chunk.value : `${JSON.stringify(chunk.value)}\n`);
    while (text.childNodes.length > CHUNKS_SHOWN) text.firstChild.remove();
    if (section.hidden) section.append(make("h2", null, "Output"), text);
    section.hidden = false;
  });
  return section;
}

// The durable steps in the order of their ends; null: none.
function stepList(job) {
  const rows = job.steps.map((step) => make("li", { class: step.outcome },
    make("span", { class: "when" }, `+${span(step.started_at_ms - job.submitted_at_ms)}`),
    make("b", null, step.name),
    make("span", { class: "soft" }, `${step.outcome} in attempt ${step.attempt}, after ${span(step.duration_ms)}`)));
  return rows.length ? make("ol", { class: "timeline" }, rows) : null;
}

// A line for each step: time since the submit, duration until the next step, name.
function timeline(history, job) {
  const steps = history.map((entry, index) => {
    const next = history[index + 1]?.at_ms ?? null;
    return make("li", { class: entry.type },
      make("span", { class: "when" }, index ? `+${span(entry.at_ms - job.submitted_at_ms)}` : new Date(entry.at_ms).toLocaleTimeString()),
      make("b", null, entry.type),
      make("span", { class: "soft" }, [entry.worker ? `on ${entry.worker}` : null, next !== null && next - entry.at_ms >= 1 ? `for ${span(next - entry.at_ms)}` : null].filter(Boolean).join(" ")));
  });
  return make("ol", { class: "timeline" }, steps);
}
