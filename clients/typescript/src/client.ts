// The client of a pool, with the names of the Python client. Times are in seconds.

import { AgentPoolError, JobEndedError, ResultTimeoutError } from "./errors.js";
import { Http } from "./http.js";
import { follow } from "./sse.js";
import {
  hasEnded, type Chunk, type Job, type JobEvent, type JobPage, type JobRequest, type JobState, type Json, type Outcome,
  type QueueSnapshot, type Result, type Signalled, type Submitted,
} from "./types.js";

const POLL_SECONDS = 30; // of one request that waits for the end of a job; the gateway allows 60

export interface ClientOptions {
  /** Address of the gateway, such as `https://agents.example.org`. */
  url: string;
  /** `namespace/name`; without a namespace: `default`. */
  pool: string;
  token?: string | undefined;
  /** Repeats of a request after a lost connection or a passing failure. */
  repeats?: number;
  /** Another implementation of fetch. */
  fetch?: typeof fetch;
}

export type SubmitOptions = Partial<Omit<JobRequest, "kind" | "payload" | "delay_ms" | "ttl_ms" | "timeout_ms">> & {
  signal?: AbortSignal;
};

export interface FindOptions {
  state?: readonly JobState[];
  kind?: readonly string[];
  route?: readonly string[];
  tenant?: readonly string[];
  tag?: readonly string[];
  /** A text that the error contains. */
  error?: string;
  /** Exactly the errors of this group of `jobs:errors`. */
  error_group?: string;
  submitted_after_ms?: number;
  submitted_before_ms?: number;
  limit?: number;
  cursor?: string | null;
}

/** A submitted job. */
export class Receipt {
  readonly job_id: string;
  readonly state: JobState;
  /** An earlier submit made this job. */
  readonly duplicate: boolean;
  readonly queue_depth: number;

  constructor(submitted: Submitted, private readonly client: Client) {
    this.job_id = submitted.job_id;
    this.state = submitted.state;
    this.duplicate = submitted.duplicate;
    this.queue_depth = submitted.queue_depth;
  }

  /** As `Client.result`. */
  result(options: { timeout?: number; signal?: AbortSignal } = {}): Promise<Json> {
    return this.client.result(this.job_id, options);
  }

  /** As `Client.stream`. */
  stream(options: { after?: string; signal?: AbortSignal } = {}): AsyncGenerator<Chunk> {
    return this.client.stream(this.job_id, options);
  }

  /** As `Client.signal`. */
  signal(name: string, value: Json = null, options: { id?: string } = {}): Promise<Signalled> {
    return this.client.signal(this.job_id, name, value, options);
  }

  /** As `Client.cancel`. */
  cancel(options: { reason?: string } = {}): Promise<Outcome> {
    return this.client.cancel(this.job_id, options);
  }
}

/** A pool's client. */
export class Client {
  private readonly http: Http;

  constructor(options: ClientOptions) {
    const parts = options.pool.split("/");
    const [namespace, pool] = parts.length === 1 ? ["default", parts[0]] : parts;
    if (!namespace || !pool || parts.length > 2) {
      throw new AgentPoolError(`pool: ${JSON.stringify(options.pool)}: not namespace/name`);
    }
    const place = `/v1/namespaces/${encodeURIComponent(namespace)}/pools/${encodeURIComponent(pool)}`;
    const base = options.url.replace(/\/+$/, "") + place;
    this.http = new Http(base, options.token, options.repeats ?? 5, options.fetch ?? fetch);
  }

  /**
   * Submits a job; returns when the queue has stored it. A submit whose answer is lost is repeated, which makes no second
   * job, because the client chooses the job's id.
   */
  async submit(kind: string, payload: Json = null, options: SubmitOptions = {}): Promise<Receipt> {
    const { signal, ...rest } = options;
    const body = { job_id: crypto.randomUUID(), ...rest, kind, payload };
    return new Receipt(await this.http.json<Submitted>("/jobs", { method: "POST", body, signal }), this);
  }

  /**
   * Returns a job's result after its end. Throws ResultTimeoutError after `timeout` seconds (the job goes on), and
   * JobEndedError for a job that failed, expired or was cancelled.
   */
  async result(jobId: string, options: { timeout?: number; signal?: AbortSignal } = {}): Promise<Json> {
    const end = options.timeout === undefined ? Infinity : performance.now() + 1000 * options.timeout;
    for (;;) {
      const left = Math.max(0, (end - performance.now()) / 1000);
      const wait = `${Math.round(1000 * Math.min(left, POLL_SECONDS))}ms`;
      const found = await this.http.json<Result>(`${at(jobId)}/result`, { query: { wait }, signal: options.signal });
      if (found.state === "succeeded") return found.result;
      if (hasEnded(found.state)) throw new JobEndedError(jobId, found.state, found.error ?? found.reason ?? "");
      if (left === 0) throw new ResultTimeoutError(jobId, options.timeout ?? 0);
    }
  }

  /** Ends a waiting job at once; asks the worker of a running job to stop it. */
  cancel(jobId: string, options: { reason?: string } = {}): Promise<Outcome> {
    return this.http.json(at(jobId), { method: "DELETE", query: { reason: options.reason }, once: true });
  }

  /** Sends a signal to a job. A repeated `id` changes nothing. */
  signal(jobId: string, name: string, value: Json = null, options: { id?: string } = {}): Promise<Signalled> {
    const headers = { "Idempotency-Key": options.id ?? crypto.randomUUID() };
    return this.http.json(`${at(jobId)}/signals/${encodeURIComponent(name)}`, { method: "POST", body: value, headers });
  }

  /** Returns the job's record. */
  job(jobId: string): Promise<Job> {
    return this.http.json(at(jobId));
  }

  /** Returns a page of the selected jobs, and the cursor of the next page; null: these were the last. */
  find(options: FindOptions = {}): Promise<JobPage> {
    return this.http.json("/jobs", { query: { ...options } });
  }

  /** Returns the number of selected jobs. */
  async count(options: Omit<FindOptions, "limit" | "cursor"> = {}): Promise<number> {
    return (await this.http.json<{ count: number }>("/jobs:count", { query: { ...options } })).count;
  }

  /** Puts a dead letter back into the queue; `downstream`: with all jobs that were cancelled because of it. */
  async replay(jobId: string, options: { downstream?: boolean } = {}): Promise<void> {
    const query = options.downstream ? { downstream: "true" } : {};
    await this.http.json(`/dead/${encodeURIComponent(jobId)}/replay`, { method: "POST", query, once: true });
  }

  /** Returns depths, running jobs, workers and totals at this moment. */
  queue(): Promise<QueueSnapshot> {
    return this.http.json("/queue");
  }

  /** Yields the output of a job as it comes, until the job has ended. `after`: id of the last chunk read. */
  async *stream(jobId: string, options: { after?: string; signal?: AbortSignal } = {}): AsyncGenerator<Chunk> {
    for await (const message of follow(this.http, `${at(jobId)}/stream`, options.after ?? "", options.signal)) {
      if (message.event === "end") return;
      if (message.event === "chunk") yield JSON.parse(message.data) as Chunk;
    }
  }

  /** Yields the events of the pool from now on, or after the event `after`; only those of a job, until its end, by `job_id`. */
  async *events(options: { after?: string; job_id?: string; signal?: AbortSignal } = {}): AsyncGenerator<JobEvent> {
    const path = options.job_id === undefined ? "/events" : `${at(options.job_id)}/events`;
    for await (const message of follow(this.http, path, options.after ?? "", options.signal)) {
      if (message.event === "job") {
        if (hasEnded((JSON.parse(message.data) as Job).state)) return;
      } else if (message.event !== "gap") {
        const event = JSON.parse(message.data) as JobEvent;
        yield event;
        if (options.job_id !== undefined && hasEnded(event.type as JobState)) return;
      }
    }
  }
}

function at(jobId: string): string {
  return `/jobs/${encodeURIComponent(jobId)}`;
}
