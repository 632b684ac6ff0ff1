// The gateway's API. The token lives in this tab's session only, and goes out in a header, never in a URL.

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

// Relative to the page, for the gateway may be served under a path.
export const at = (pool) => {
  const [namespace, name] = pool.split("/").map(encodeURIComponent);
  return `../v1/namespaces/${namespace}/pools/${name}`;
};

// Looks again and again until `signal` aborts or the token is refused, and tells how the last look went. Who has left
// hears no more: what `tell` shows belongs to the next page by then.
export async function poll(signal, tell, pauseMs, look) {
  while (!signal.aborted) {
    try {
      await look();
      if (signal.aborted) return;
      tell("live", false);
    } catch (error) {
      if (signal.aborted) return;
      tell(error.message, true);
      if (error.status === 401) return;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

// Follows a pool's events until `signal` aborts; resumes by the last id after a break.
export async function follow(pool, signal, told) {
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
          if (!data || message.startsWith("event: error\n")) continue;
          const event = JSON.parse(data.slice(6));
          last = event.id;
          told(event);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
