// Requests to the gateway: the token, problem documents as errors, and repeats where a repeat changes nothing.

import { AgentPoolError, GatewayUnreachableError, ProblemError, errorOf } from "./errors.js";
import type { Problem } from "./types.js";

export const PASSING = new Set([429, 502, 503, 504]);
const FIRST_PAUSE_SECONDS = 0.2; // doubles with each repeat
const LONGEST_PAUSE_SECONDS = 30;

export interface Call {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  query?: Record<string, string | number | readonly string[] | null | undefined>;
  signal?: AbortSignal | undefined;
  /** Whether a second request would change something; such a call is sent once. */
  once?: boolean;
}

export class Http {
  constructor(
    private readonly base: string,
    private readonly token: string | undefined,
    private readonly repeats: number,
    private readonly fetcher: typeof fetch,
  ) {}

  /** Returns the document of an answer; null of an empty one. */
  async json<T>(path: string, call: Call = {}): Promise<T> {
    const answer = await this.answer(path, call);
    const text = await answer.text();
    return (text ? JSON.parse(text) : null) as T;
  }

  /** Returns an answer of success. Throws ProblemError or GatewayUnreachableError. */
  async answer(path: string, call: Call = {}): Promise<Response> {
    for (let attempt = 0; ; attempt++) {
      const last = call.once === true || attempt >= this.repeats;
      const [answer, failure] = await this.tried(path, call);
      if (answer?.ok) return answer;
      const problem = answer ? await refusalOf(answer) : null;
      if (last || (problem && !PASSING.has(problem.status))) throw problem ?? failure;
      await pause(Math.min(problem?.retry_after ?? FIRST_PAUSE_SECONDS * 2 ** attempt, LONGEST_PAUSE_SECONDS), call.signal);
    }
  }

  private async tried(path: string, call: Call): Promise<[Response | null, AgentPoolError | null]> {
    const headers: Record<string, string> = { ...call.headers };
    if (this.token) headers["Authorization"] = `Bearer ${this.token}`;
    if (call.body !== undefined) headers["Content-Type"] = "application/json";
    const init: RequestInit = { method: call.method ?? "GET", headers };
    if (call.body !== undefined) init.body = JSON.stringify(call.body);
    if (call.signal) init.signal = call.signal;
    try {
      return [await this.fetcher(this.base + path + queryOf(call.query), init), null];
    } catch (error) {
      if (call.signal?.aborted) throw error;
      return [null, new GatewayUnreachableError(`${this.base}: ${String(error)}`, { cause: error })];
    }
  }
}

/** Waits; a signal ends the wait with its reason. */
export function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}

async function refusalOf(answer: Response): Promise<ProblemError> {
  const after = Number(answer.headers.get("Retry-After") ?? NaN);
  const retryAfter = Number.isFinite(after) ? after : null;
  try {
    return errorOf((await answer.json()) as Problem, retryAfter);
  } catch {
    const detail = `the answer is ${answer.status} without a problem document`;
    return errorOf({ type: "urn:agentpool:problem:unreadable", title: "", status: answer.status, detail }, retryAfter);
  }
}

function queryOf(query: Call["query"]): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === null || value === undefined) continue;
    for (const each of Array.isArray(value) ? value : [value]) found.append(name, String(each));
  }
  return found.size ? `?${found}` : "";
}
