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

// Follows a pool's events until `signal` aborts; resumes by the last id after a break.
export async function follow(pool, signal, onEvent) {
  let last = "";
  while (!signal.aborted) {
    try {
      const more = last ? { "Last-Event-ID": last } : {};
      const answer = await fetch(`${at(pool)}/events`, { headers: headers(more), signal });
      if (answer.status === 401 || answer.status === 403) return;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        text += part.value;
        const messages = text.split("\n\n");
        text = messages.pop();
        for (const message of messages) {
          const data = message.split("\n").find((line) => line.startsWith("data: "));
          const id = message.split("\n").find((line) => line.startsWith("id: "));
          if (id) last = id.slice(4);
          if (!data || message.startsWith("event: error\n") || message.startsWith("event: gap\n")) continue;
          onEvent(JSON.parse(data.slice(6)));
        }
      }
    } catch (error) {
      if (signal.aborted) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
