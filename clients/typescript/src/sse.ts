// Server-Sent Events over fetch: a browser's EventSource sends no token. A lost connection resumes after the last event.

import { GatewayUnreachableError, ProblemError, errorOf } from "./errors.js";
import { type Http, PASSING, pause } from "./http.js";
import type { Problem } from "./types.js";

const FIRST_PAUSE_SECONDS = 0.2; // doubles with each connection that brings nothing
const LONGEST_PAUSE_SECONDS = 5;

export interface Message {
  event: string;
  id: string;
  data: string;
}

/**
 * Yields the messages of a stream, over as many connections as it takes, until the caller stops or the gateway says 204. A
 * stream that has begun waits for a gateway that is away, for as long as the caller does.
 */
export async function* follow(http: Http, path: string, after: string, signal?: AbortSignal): AsyncGenerator<Message> {
  let last = after;
  let pauseSeconds = FIRST_PAUSE_SECONDS;
  let begun = false;
  for (;;) {
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (last) headers["Last-Event-ID"] = last;
      const answer = await http.answer(path, { headers, signal });
      if (answer.status === 204 || !answer.body) return;
      begun = true;
      for await (const message of messages(answer.body)) {
        pauseSeconds = FIRST_PAUSE_SECONDS;
        last = message.id || last;
        if (message.event === "error") throw errorOf(JSON.parse(message.data) as Problem, null);
        if (message.data) yield message;
      }
    } catch (error) {
      if (signal?.aborted || !isPassing(error, begun)) throw error;
    }
    await pause(pauseSeconds, signal);
    pauseSeconds = Math.min(2 * pauseSeconds, LONGEST_PAUSE_SECONDS);
  }
}

function isPassing(error: unknown, begun: boolean): boolean {
  if (error instanceof ProblemError) return begun && PASSING.has(error.status);
  if (error instanceof GatewayUnreachableError) return begun;
  return error instanceof TypeError; // fetch's way to say that the connection was lost
}

async function* messages(body: ReadableStream<Uint8Array>): AsyncGenerator<Message> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) yield parse(block);
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function parse(block: string): Message {
  const found: Message = { event: "message", id: "", data: "" };
  for (const line of block.split("\n")) {
    const [name, text] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trimStart()];
    if (name === "event" || name === "id" || name === "data") found[name] = text;
  }
  return found;
}
