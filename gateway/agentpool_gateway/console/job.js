// A job's page: state, waits for signals, error, timeline, steps, output, usage, relatives, payload and result.

import { at, call, followOutput, poll } from "./api.js";
import { family } from "./family.js";
import { ENDED } from "./jobs.js";
import { asked, copyButton, make, refused, state } from "./page.js";
import { counted, moment, number, span } from "./words.js";

const CHUNKS_SHOWN = 2000; // the newest of the output
const FAMILY_EVERY_MS = 5000;
const RELATIVES = 500; // shown
const UNSTARTED = ["queued", "scheduled", "blocked"]; // states in which the server knows why

export function job(pool, root, signal, report, verbs, id) {
  const path = `${at(pool)}/jobs/${encodeURIComponent(id)}`;
  const parts = Object.fromEntries(["head", "facts", "relatives"].map((name) => [name, make("div", { id: name })]));
  let [shown, asked] = ["", -Infinity];
  root.replaceChildren(parts.head, output(path, signal), parts.facts, parts.relatives);
  const read = async () => {
    const [found, { history }] = await Promise.all([call(path), call(`${path}/history`)]);
    const pending = UNSTARTED.includes(found.state) ? (await call(`${path}/pending-reason`)).pending_reason : null;
    if (performance.now() - asked > FAMILY_EVERY_MS) await relatives();
    if (signal.aborted) return;
    const text = JSON.stringify([found, history, pending]);
    if (text === shown || writes(parts.head)) return; // nothing new, or a value is being written
    shown = text;
    parts.head.replaceChildren(...head(pool, path, found, pending, verbs, () => read().catch(refused)));
    parts.facts.replaceChildren(...facts(found, history));
  };
  async function relatives() {
    asked = performance.now();
    const found = await call(`${path}/family?limit=${RELATIVES}`);
    const drawn = family(pool, found.jobs, found.complete);
    const open = [...parts.relatives.querySelectorAll("details[open] summary")].map((summary) => summary.textContent);
    parts.relatives.replaceChildren(...(drawn ? [section("Dependencies and dependents", drawn)] : []));
    for (const summary of parts.relatives.querySelectorAll("summary")) summary.parentElement.open = open.includes(summary.textContent);
  }
  poll(signal, report, 2000, read);
}

const writes = (part) => part.contains(document.activeElement) && document.activeElement.tagName === "INPUT";
const section = (name, ...content) => make("section", null, make("h2", null, name), ...content);

// A JSON value as text, never as markup, with a button that copies all of it; null: there is none.
function value(name, content) {
  if (content === null || content === undefined) return null;
  const text = typeof content === "string" ? content : JSON.stringify(content, null, 2);
  return make("section", null, make("div", { class: "bar ends" }, make("h2", null, name), copyButton("Copy", text)), make("pre", { tabindex: "0" }, text));
}

function head(pool, path, found, pending, verbs, again) {
  const act = async (question, doing, method, where, final = false, document = undefined) => {
    if (await asked(question, doing, final)) await call(where, method, document).then(again).catch(refused);
  };
  const actions = verbs.has("manage") ? buttons(pool, path, found, act) : [];
  return [
    make("div", { class: "bar title" }, make("b", null, found.kind), state(found.state), make("span", { class: "mono soft" }, found.job_id),
      copyButton("Copy id", found.job_id), copyButton("Copy link", location.href)),
    make("p", { class: "soft" }, summary(found)),
    pending ? make("p", { class: "card warning", id: "pending" }, make("b", null, "Not started: "), pending) : null,
    actions.length ? make("div", { class: "bar actions" }, actions) : null,
    found.state === "waiting" ? waits(found, verbs.has("manage"), (name, sent) => act(`Send the signal ${name} with the value ${JSON.stringify(sent)}?`, "Send", "POST", `${path}/signals/${encodeURIComponent(name)}`, false, sent)) : null,
    found.budget ? value("Waits for money", `budget ${found.budget.limit}: ${found.budget.spent} of ${found.budget.amount} is spent; the next window begins ${moment(found.budget.resets_at_ms)}`) : null,
    value(found.error === null ? "Error of an earlier attempt" : "Error", found.last_error),
    found.state === "succeeded" ? null : value("Why", found.reason)].filter(Boolean);
}

function buttons(pool, path, found, act) {
  const id = found.job_id;
  if (found.state === "failed") return [make("button", { id: "replay", class: "primary", click: () => act(`Run ${id} again, with all attempts?`, "Replay", "POST", `${at(pool)}/dead/${encodeURIComponent(id)}/replay`) }, "Replay")];
  if (ENDED.includes(found.state)) return [];
  return [
    make("button", { id: "cancel", class: "danger", click: () => act(`Cancel ${id}? Jobs that wait for it are cancelled too.`, "Cancel the job", "DELETE", path, true) }, "Cancel job"),
    make("button", { id: "cancel-tree", class: "danger", click: () => act(`Cancel ${id} and all jobs that it has started?`, "Cancel the tree", "DELETE", `${path}?tree=true`, true) }, "Cancel with children")];
}

function summary(found) {
  const attempt = found.attempt ? `attempt ${found.attempt} of ${found.max_attempts}` : `${counted(found.max_attempts, "attempt")} at most`;
  return [found.priority, `route ${found.route}`, attempt, `submitted ${moment(found.submitted_at_ms)}`, found.worker ? `on ${found.worker}` : null,
    found.tenant ? `tenant ${found.tenant}` : null, found.tags.length ? `tags ${found.tags.join(", ")}` : null, found.held_by ? `waits for the limit ${found.held_by}` : null,
    found.cancel_requested && !ENDED.includes(found.state) ? "asked to stop" : null, found.losses ? `${counted(found.losses, "lost worker")}` : null,
    found.quarantined ? "in quarantine: runs alone" : null, found.idempotency_key ? `key ${found.idempotency_key}` : null].filter(Boolean).join(" · ");
}

function facts(found, history) {
  return [
    section("History", timeline(history, found)),
    stepList(found),
    usage(found.usage),
    value("Result", found.result),
    value("Fields that cannot be read", fields(found.undecodable)),
    ENDED.includes(found.state) ? null : value("Progress", found.progress),
    value("Checkpoint", found.checkpoint),
    value("Payload", found.payload)].filter(Boolean);
}

// The stored text of fields that are no valid JSON; null: none.
function fields(undecodable) {
  const lines = Object.entries(undecodable).map(([name, stored]) => `${name}: ${stored}`);
  return lines.length ? lines.join("\n") : null;
}

function usage({ calls, input_tokens, output_tokens, cost }) {
  if (!calls && !input_tokens && !output_tokens && !cost) return null;
  return section("Usage of models", make("p", null, `${counted(calls, "call")}, ${counted(input_tokens, "input token")}, ${counted(output_tokens, "output token")}, cost ${number(cost)}`));
}

// The question and the awaited signals, each with a form that sends it; `send` takes the name and the value.
function waits(found, may, send) {
  const until = found.due_at_ms ? make("p", { class: "soft" }, `${found.waits_for.length ? "At the latest until" : "Until"} ${moment(found.due_at_ms)}`) : null;
  const children = found.waits_for_children ? make("p", { class: "soft" }, "For jobs that it has started.") : null;
  const question = found.question === null || found.question === undefined ? null : make("pre", { tabindex: "0" }, typeof found.question === "string" ? found.question : JSON.stringify(found.question, null, 2));
  return section("Waits for", question, ...found.waits_for.map((name) => (may ? signalForm(name, send) : make("p", null, make("b", null, name), " (a signal; your token may not send it)"))), children, until);
}

function signalForm(name, send) {
  const field = make("input", { "aria-label": `value of the signal ${name}, as JSON`, value: '{"approved": true}', spellcheck: "false" });
  const problem = make("p", { class: "error", role: "alert", hidden: true });
  const submit = (event) => {
    event.preventDefault();
    try {
      send(name, JSON.parse(field.value));
    } catch {
      problem.textContent = `The value is not JSON; write a value such as true, "text" or {"approved": false}.`;
      problem.hidden = false;
    }
  };
  return make("form", { class: "signal", submit }, make("div", { class: "bar" }, make("b", null, name), field, make("button", { class: "primary" }, "Send signal")), problem);
}

// The output of the job's handler, as it comes; hidden until the first chunk. A later run may repeat chunks, so it begins
// with a line of its own.
function output(path, signal) {
  const text = make("pre", { id: "output", tabindex: "0", role: "log" });
  const part = make("section", { hidden: true }, make("div", { class: "bar ends" }, make("h2", null, "Output"), copyButton("Copy", () => text.textContent)), text);
  let run = null;
  followOutput(path, signal, (chunk) => {
    if (run !== null && run !== chunk.run) text.append(make("span", { class: "soft" }, `\n— run ${chunk.run}, attempt ${chunk.attempt} —\n`));
    run = chunk.run;
    text.append(typeof chunk.value === "string" ? chunk.value : `${JSON.stringify(chunk.value)}\n`);
    while (text.childNodes.length > CHUNKS_SHOWN) text.firstChild.remove();
    part.hidden = false;
  });
  return part;
}

// The durable steps in the order of their ends; null: none.
function stepList(found) {
  if (!found.steps.length) return null;
  return section("Steps", make("ol", { class: "timeline" }, found.steps.map((step) => make("li", { class: step.outcome },
    make("span", { class: "when" }, `+${span(step.started_at_ms - found.submitted_at_ms)}`),
    make("b", null, step.name),
    make("span", { class: "soft" }, `${step.outcome} in attempt ${step.attempt}, after ${span(step.duration_ms)}`)))));
}

// A line for each step: time since the submit, duration until the next step, name.
function timeline(history, found) {
  return make("ol", { class: "timeline" }, history.map((entry, index) => {
    const next = history[index + 1]?.at_ms ?? null;
    return make("li", { class: entry.type },
      make("span", { class: "when" }, index ? `+${span(entry.at_ms - found.submitted_at_ms)}` : moment(entry.at_ms)),
      make("b", null, entry.type),
      make("span", { class: "soft" }, [entry.worker ? `on ${entry.worker}` : null, next !== null && next - entry.at_ms >= 1 ? `for ${span(next - entry.at_ms)}` : null].filter(Boolean).join(" ")));
  }));
}
