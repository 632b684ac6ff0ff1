// The gateway's API. The token is kept in this tab's session only, and sent in a header, never in a URL.

const KEY = "agentpool-token";
const TIMEOUT_MS = 10000; // of a request; the gateway waits about as long for Redis
const SILENCE_MS = 45000; // of a stream, which has a comment every 15 seconds

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
  const kind = document === undefined ? {} : { "Content-Type": "application/json" };
  try {
    const answer = await fetch(path, { method, headers: headers(kind), ...sent, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const body = await answer.json().catch((error) => { if (error.name === "TimeoutError") throw error; return {}; });
    if (!answer.ok) throw new Refused(answer.status, body);
    return body;
  } catch (error) {
    if (error instanceof Refused) throw error;
    throw new Error(error.name === "TimeoutError" ? `the gateway did not answer within ${TIMEOUT_MS / 1000} s` : "the gateway cannot be reached");
  }
}

// Relative to the page, because the gateway may be served under a path.
export const at = (pool) => {
  const [namespace, name] = pool.split("/").map(encodeURIComponent);
  return `../v1/namespaces/${namespace}/pools/${name}`;
};

// Polls until `signal` aborts or the token is refused, and calls `report` with the error of each read, or null and the age
// that the read returns; nothing after the abort, because by then the next page is shown.
export async function poll(signal, report, pauseMs, read) {
  while (!signal.aborted) {
    try {
      const ageMs = await read();
      if (signal.aborted) return;
      report(null, ageMs);
    } catch (error) {
      if (signal.aborted) return;
      report(error);
      if (error.status === 401) return;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

// Reads a part of a stream; a silent stream is cut off, and its reader resumes.
async function soon(reader) {
  const timer = setTimeout(() => reader.cancel("silence").catch(() => {}), SILENCE_MS);
  return reader.read().finally(() => clearTimeout(timer));
}

// Calls `onMessage` with event, id and data of each server-sent event of an answer.
async function readEvents(answer, onMessage) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await soon(reader); !part.done; part = await soon(reader)) {
    text += part.value;
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const fields = Object.fromEntries(message.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
      onMessage({ event: fields.event ?? "", id: fields.id ?? "", data: fields.data ?? "" });
    }
  }
}

// Follows a stream of events after an id until `signal` aborts, or `onMessage` returns true; resumes by the last id after
// a break.
async function followStream(path, signal, onMessage, after = "") {
  let last = after, over = false;
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

// Follows a pool's events after an id; "": from now on.
export const follow = (pool, signal, onEvent, after) =>
  followStream(`${at(pool)}/events`, signal, (message) => { onEvent(JSON.parse(message.data)); }, after);

// Follows the chunks of a job's output until the job has ended.
export const followOutput = (job, signal, onChunk) =>
  followStream(`${job}/stream`, signal, (message) => (message.event === "end" ? true : onChunk(JSON.parse(message.data))));
