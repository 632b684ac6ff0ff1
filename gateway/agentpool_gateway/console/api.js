// The gateway's API. The token is kept in this tab's session only, and sent in a header, never in a URL.

const KEY = "agentpool-token";

export class Refused extends Error {
  constructor(status, problem) {
    super([problem.detail ?? `HTTP ${status}`, problem.remedy].filter(Boolean).join("; "));
    this.status = status;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  clear: () => sessionStorage.removeItem(KEY),
};

function headers(more) {
  return token.get() ? { Authorization: `Bearer ${token.get()}`, ...more } : { ...more };
}

export async function call(path, method = "GET", document) {
  const sent = document === undefined ? {} : { body: JSON.stringify(document) };
  const answer = await fetch(path, { method, headers: headers(document === undefined ? {} : { "Content-Type": "application/json" }), ...sent });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body);
  return body;
}

// Relative to the page, because the gateway may be served under a path.
export const at = (pool) => {
  const [namespace, name] = pool.split("/").map(encodeURIComponent);
  return `../v1/namespaces/${namespace}/pools/${name}`;
};

// Polls until `signal` aborts or the token is refused, and reports each outcome with `report`; nothing after the abort,
// because by then the next page is shown.
export async function poll(signal, report, pauseMs, read) {
  while (!signal.aborted) {
    try {
      await read();
      if (signal.aborted) return;
      report("live", false);
    } catch (error) {
      if (signal.aborted) return;
      report(error.message, true);
      if (error.status === 401) return;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

// Calls `onMessage` with event, id and data of each server-sent event of an answer.
async function readEvents(answer, onMessage) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text += part.value;
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const fields = Object.fromEntries(message.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
      onMessage({ event: fields.event ?? "", id: fields.id ?? "", data: fields.data ?? "" });
    }
  }
}

// Follows a stream of events until `signal` aborts, or `onMessage` returns true; resumes by the last id after a break.
async function followStream(path, signal, onMessage) {
  let last = "", over = false;
  while (!signal.aborted && !over) {
    try {
      const answer = await fetch(path, { headers: headers(last ? { "Last-Event-ID": last } : {}), signal });
      if ([204, 401, 403, 404].includes(answer.status)) return;
      await readEvents(answer, (message) => {
        if (message.id) last = message.id;
        if (message.data && !["error", "gap"].includes(message.event)) over = onMessage(message) === true || over;
      });
    } catch (error) {
      if (signal.aborted) return;
    }
    if (!over) await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

// Follows a pool's events.
export const follow = (pool, signal, onEvent) =>
  followStream(`${at(pool)}/events`, signal, (message) => { onEvent(JSON.parse(message.data)); });

// Follows the chunks of a job's output until the job has ended.
export const followOutput = (job, signal, onChunk) =>
  followStream(`${job}/stream`, signal, (message) => (message.event === "end" ? true : onChunk(JSON.parse(message.data))));
