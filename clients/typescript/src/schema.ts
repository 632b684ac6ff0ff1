// Generated from the gateway's OpenAPI description by `make generate`; change schemas.py there, not this file.

export interface CancelSelector {
  /** Any of these. */
  state?: Array<"running" | "queued" | "scheduled" | "blocked" | "waiting">;
  /** Any of these. */
  kind?: Array<string>;
  /** Any of these. */
  route?: Array<string>;
  /** Any of these. */
  tenant?: Array<string>;
  /** All of these. */
  tag?: Array<string>;
  /** At this time or later. */
  submitted_after_ms?: number | null;
  /** Before this time. */
  submitted_before_ms?: number | null;
  /** Text that the last error of the job contains. */
  error?: string | null;
  /** Exactly the errors of this group, the `error` of a FailureGroup. */
  error_group?: string | null;
  /** Of the answer before. */
  cursor?: string | null;
  /** Kept with the job. */
  reason?: string;
}

export interface Changed {
  changed: number;
  cursor: string | null;
}

export interface Chunk {
  id: string;
  run: number;
  attempt: number;
  number: number;
  /** Any JSON. */
  value: unknown;
}

export interface CloudEvent {
  specversion: "1.0";
  /** The same at each try: the header webhook-id. */
  id: string;
  /** Path of the pool. */
  source: string;
  type: "dev.agentpool.job.succeeded" | "dev.agentpool.job.failed" | "dev.agentpool.job.cancelled" | "dev.agentpool.job.expired" | "dev.agentpool.job.waiting";
  /** The job's id. */
  subject: string;
  /** Of the change. */
  time: string;
  datacontenttype: "application/json";
  /** The job's record, without payload and checkpoint. */
  data: JobNotice;
}

export interface Delivery {
  webhook: string;
  change: string;
  changed_at_ms: number;
  outcome: "delivered" | "retrying" | "failed";
  tries: number;
  tried_at_ms: number;
  /** Of the receiver, or the error of the connection. */
  answer: string;
}

export interface Demand {
  pool: string;
  /** Jobs that run, without those of lost workers. */
  running: number;
  /** Waiting jobs that all limits allow to start now. */
  startable: number;
  /** Waiting jobs that a limit keeps from starting: a further worker has no work. */
  held_back: number;
  /** Running and startable jobs. */
  jobs: number;
  /** Workers that have a slot for each of these jobs. */
  workers: number;
}

export type Durability = "local" | "fsync" | "replica";

export interface Event {
  /** Place in the stream, for Last-Event-ID. */
  id: string;
  /** queued, started, succeeded, …: docs/state-machine.md */
  type: string;
  job_id: string;
  at_ms: number;
  kind: string;
  route: string;
  priority: Priority;
  attempt: number;
  worker: string | null;
  detail: EventDetail | null;
}

export interface EventDetail {
  error?: string;
  reason?: string;
  /** Name of a signal that came. */
  signal?: string;
  /** Signals; none: a time. */
  waits_for?: Array<string>;
  /** Any JSON. */
  progress?: unknown;
}

export interface FailureGroup {
  /** First line; … stands for a number or an id. For the condition `error_group`. */
  error: string;
  /** For the condition `error`, which selects similar errors too; null: no text selects the group. */
  match: string | null;
  count: number;
  kinds: Array<string>;
  latest_at_ms: number;
  /** The latest job. */
  job_id: string;
}

export interface History {
  job_id: string;
  history: Array<{
    at_ms: number;
    type: string;
    attempt: number;
    worker: string | null;
  }>;
}

export interface HistoryPoint {
  at_ms: number;
  queued: number;
  running: number;
  slots: number;
  /** Claims, in total. */
  started: number;
  /** Ended jobs, in total. */
  finished: number;
  /** Jobs that failed for good, in total. */
  failed: number;
  /** Ended attempts, in total. */
  attempts: number;
  /** Time of all ended attempts, in total. */
  run_ms: number;
  /** Workers; null: not known. */
  desired: number | null;
  /** Workers; null: not known. */
  ready: number | null;
}

export interface Job {
  job_id: string;
  pool: string;
  state: JobState;
  kind: string;
  route: string;
  priority: Priority;
  /** Any JSON. */
  payload: unknown;
  attempt: number;
  max_attempts: number;
  timeout_ms: number;
  submitted_at_ms: number;
  enqueued_at_ms: number | null;
  claimed_at_ms: number | null;
  finished_at_ms: number | null;
  due_at_ms: number | null;
  expires_at_ms: number | null;
  worker: string | null;
  /** Any JSON. */
  result: unknown;
  /** Why the job failed; null unless failed. */
  error: string | null;
  /** Of the latest failed attempt, also of a job that a retry or a replay has started again. */
  last_error: string | null;
  /** The attempt of `last_error`; null: none, or too long ago. */
  last_error_attempt: number | null;
  reason: string | null;
  /** Any JSON. */
  progress: unknown;
  /** Any JSON. */
  checkpoint: unknown;
  after: Array<string>;
  tags: Array<string>;
  idempotency_key: string | null;
  limit_key: string | null;
  tenant: string | null;
  /** Tokens that the job is expected to use, as submitted. */
  tokens: number | null;
  /** The job that has started this job. */
  started_by: string | null;
  /** The limit that a queued job waits for, or the budget whose next window a waiting job needs. */
  held_by: string | null;
  /** When that limit opens; null: when a job ends, or not known. */
  held_until_ms: number | null;
  /** The budget that the queued job waits for. */
  budget: {
    limit: string;
    amount: number;
    spent: number;
    /** The next window begins, on Redis' clock. */
    resets_at_ms: number;
  } | null;
  cancel_requested: boolean;
  /** Workers that were lost, or ran out of memory, while they ran the job. */
  losses: number;
  /** Whether the job runs alone, or waits to run alone, after two losses. */
  quarantined: boolean;
  /** Fields of the record that cannot be read, with the beginning of their text. */
  undecodable: Record<string, string>;
  /** Signals that a waiting job waits for; none: it waits for its time. */
  waits_for: Array<string>;
  /** A waiting job waits for jobs that it has started. */
  waits_for_children: boolean;
  /** Usage of models that the handler has reported, in all attempts. */
  usage: Usage;
  /** Question of a waiting job to the sender of the signal; null: none. */
  question: unknown;
  /** Durable steps, in the order of their ends. */
  steps: Array<Step>;
}

export interface JobNotice {
  job_id: string;
  pool: string;
  state: JobState;
  kind: string;
  route: string;
  priority: Priority;
  attempt: number;
  max_attempts: number;
  timeout_ms: number;
  submitted_at_ms: number;
  enqueued_at_ms: number | null;
  claimed_at_ms: number | null;
  finished_at_ms: number | null;
  due_at_ms: number | null;
  expires_at_ms: number | null;
  worker: string | null;
  /** Why the job failed; null unless failed. */
  error: string | null;
  /** Of the latest failed attempt, also of a job that a retry or a replay has started again. */
  last_error: string | null;
  /** The attempt of `last_error`; null: none, or too long ago. */
  last_error_attempt: number | null;
  reason: string | null;
  after: Array<string>;
  tags: Array<string>;
  idempotency_key: string | null;
  limit_key: string | null;
  tenant: string | null;
  /** Tokens that the job is expected to use, as submitted. */
  tokens: number | null;
  /** The job that has started this job. */
  started_by: string | null;
  /** The limit that a queued job waits for, or the budget whose next window a waiting job needs. */
  held_by: string | null;
  /** When that limit opens; null: when a job ends, or not known. */
  held_until_ms: number | null;
  cancel_requested: boolean;
  /** Workers that were lost, or ran out of memory, while they ran the job. */
  losses: number;
  /** Whether the job runs alone, or waits to run alone, after two losses. */
  quarantined: boolean;
  /** Fields of the record that cannot be read, with the beginning of their text. */
  undecodable: Record<string, string>;
  /** Signals that a waiting job waits for; none: it waits for its time. */
  waits_for: Array<string>;
  /** A waiting job waits for jobs that it has started. */
  waits_for_children: boolean;
  /** Usage of models that the handler has reported, in all attempts. */
  usage: Usage;
  /** Any JSON. */
  result: unknown;
  /** Any JSON. */
  progress: unknown;
}

export interface JobPage {
  jobs: Array<JobSummary>;
  cursor: string | null;
}

export interface JobRequest {
  /** The handler. */
  kind: string;
  /** Any JSON, passed to the handler; at most 1 MiB. */
  payload?: unknown;
  priority?: "critical" | "task" | "info";
  /** Null: generated. */
  job_id?: string | null;
  /** As the header Idempotency-Key. */
  idempotency_key?: string | null;
  on_conflict?: "refuse" | "keep" | "replace" | "cancel_running";
  /** Limits by key apply to all jobs with the same text together. */
  limit_key?: string | null;
  /** Limits by tenant apply to all jobs of the tenant together. */
  tenant?: string | null;
  /** Tokens that the job is expected to use, for rates of tokens. Null: those of its route. */
  tokens?: number | null;
  /** Jobs that must end first. */
  after?: Array<string>;
  after_condition?: "succeeded" | "finished" | "failed";
  /** Delay before the start: seconds, or a text such as 5m. */
  delay?: number | string | null;
  /** Longest wait for the start: seconds, or a text such as 5m. */
  ttl?: number | string | null;
  /** Longest attempt: seconds, or a text such as 5m. */
  timeout?: number | string | null;
  /** Delay before the start, in milliseconds. */
  delay_ms?: number;
  /** Longest wait, in milliseconds. */
  ttl_ms?: number | null;
  /** Longest attempt, in milliseconds. */
  timeout_ms?: number | null;
  max_attempts?: number | null;
  preemptible?: boolean;
  /** W3C trace headers. */
  trace?: Record<string, string>;
  /** Labels to find the job by. */
  tags?: Array<string>;
  /** Receives the end; a URL is short for it. */
  webhook?: WebhookRequest | string;
}

export type JobState = "scheduled" | "blocked" | "queued" | "running" | "waiting" | "succeeded" | "failed" | "cancelled" | "expired";

export interface JobSummary {
  job_id: string;
  pool: string;
  state: JobState;
  kind: string;
  route: string;
  priority: Priority;
  attempt: number;
  max_attempts: number;
  timeout_ms: number;
  submitted_at_ms: number;
  enqueued_at_ms: number | null;
  claimed_at_ms: number | null;
  finished_at_ms: number | null;
  due_at_ms: number | null;
  expires_at_ms: number | null;
  worker: string | null;
  /** Why the job failed; null unless failed. */
  error: string | null;
  /** Of the latest failed attempt, also of a job that a retry or a replay has started again. */
  last_error: string | null;
  /** The attempt of `last_error`; null: none, or too long ago. */
  last_error_attempt: number | null;
  reason: string | null;
  after: Array<string>;
  tags: Array<string>;
  idempotency_key: string | null;
  limit_key: string | null;
  tenant: string | null;
  /** Tokens that the job is expected to use, as submitted. */
  tokens: number | null;
  /** The job that has started this job. */
  started_by: string | null;
  /** The limit that a queued job waits for, or the budget whose next window a waiting job needs. */
  held_by: string | null;
  /** When that limit opens; null: when a job ends, or not known. */
  held_until_ms: number | null;
  cancel_requested: boolean;
  /** Workers that were lost, or ran out of memory, while they ran the job. */
  losses: number;
  /** Whether the job runs alone, or waits to run alone, after two losses. */
  quarantined: boolean;
  /** Fields of the record that cannot be read, with the beginning of their text. */
  undecodable: Record<string, string>;
  /** Signals that a waiting job waits for; none: it waits for its time. */
  waits_for: Array<string>;
  /** A waiting job waits for jobs that it has started. */
  waits_for_children: boolean;
  /** Usage of models that the handler has reported, in all attempts. */
  usage: Usage;
}

export interface Outcome {
  job_id: string;
  outcome: string;
}

export interface PendingReason {
  job_id: string;
  state: JobState;
  /** Null: the job runs or has ended. */
  pending_reason: string | null;
}

export interface PoolOverview {
  pool: string;
  /** Whether the queue could be read; false: no figures. */
  read: boolean;
  /** The worst first. */
  troubles: Array<{
    severity: "error" | "warning" | "note";
    reason: string;
    message: string;
  }>;
  queued?: number;
  running?: number;
  dead?: number;
  slots?: number;
  /** That the running jobs take. */
  slots_used?: number;
  /** With an unexpired lease. */
  workers?: number;
  oldest_wait_ms?: number | null;
  ready_replicas?: number | null;
  wanted_replicas?: number | null;
}

export type Priority = "critical" | "task" | "info";

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  remedy?: string;
  instance?: string;
  field?: string;
}

export interface PurgeSelector {
  /** Any of these. */
  state?: Array<"failed" | "succeeded" | "cancelled" | "expired">;
  /** Any of these. */
  kind?: Array<string>;
  /** Any of these. */
  route?: Array<string>;
  /** Any of these. */
  tenant?: Array<string>;
  /** All of these. */
  tag?: Array<string>;
  /** At this time or later. */
  submitted_after_ms?: number | null;
  /** Before this time. */
  submitted_before_ms?: number | null;
  /** Text that the last error of the job contains. */
  error?: string | null;
  /** Exactly the errors of this group, the `error` of a FailureGroup. */
  error_group?: string | null;
  /** Of the answer before. */
  cursor?: string | null;
}

export interface Queue {
  pool: string;
  taken_at_ms: number;
  paused: boolean;
  /** The AgentPool was deleted: its queue refuses new jobs. */
  retired: boolean;
  depth: number;
  queued: number;
  running: number;
  /** Of the workers with an unexpired lease. */
  slots: number;
  /** That the running jobs take. */
  slots_used: number;
  scheduled: number;
  blocked: number;
  /** Started jobs that wait for a signal or a time, without a slot. */
  waiting: number;
  dead: number;
  /** Jobs that wait for a limit, in addition to the queued jobs. */
  held: number;
  /** Queued jobs that wait to run alone. */
  quarantined: number;
  oldest_wait_ms: number | null;
  estimated_wait_ms: number | null;
  routes: Array<{
    name: string;
    limit: number | null;
    /** That a job takes. */
    slots: number;
    running: number;
    /** Time until jobs start again after a handler's overload; 0: not paused. */
    paused_ms: number;
    queued: {
      critical: number;
      task: number;
      info: number;
    };
  }>;
  limits: Array<{
    name: string;
    /** key or tenant: each has a limit of its own. */
    by: string | null;
    /** The bound in words. */
    limit: string;
    /** Jobs that wait for the limit. */
    waiting: number;
    /** Jobs that may start now; null: differs by key or tenant. */
    free: number | null;
    /** Starts or tokens at once after a pause; null: no rate. */
    burst: number | null;
    /** Starts or tokens that are free now, below 0 a debt; null: no rate, or divided. */
    level: number | null;
  }>;
  workers: Array<{
    name: string;
    slots: number;
    running: number;
    host: string;
    /** Of AgentPool; empty: of a worker that does not report its version. */
    version: string;
    /** Time of the registration. */
    since_ms: number;
    /** Reason why the worker claims no jobs; empty: claims jobs. */
    note: string;
    lease_expires_at_ms: number;
  }>;
  totals: {
    submitted: number;
    started: number;
    finished: number;
  };
}

export interface Receipt {
  job_id: string;
  state: JobState;
  queued: boolean;
  queue_depth: number;
  duplicate: boolean;
}

export interface Relative {
  job_id: string;
  pool: string;
  state: JobState;
  kind: string;
  route: string;
  priority: Priority;
  attempt: number;
  max_attempts: number;
  timeout_ms: number;
  submitted_at_ms: number;
  enqueued_at_ms: number | null;
  claimed_at_ms: number | null;
  finished_at_ms: number | null;
  due_at_ms: number | null;
  expires_at_ms: number | null;
  worker: string | null;
  /** Why the job failed; null unless failed. */
  error: string | null;
  /** Of the latest failed attempt, also of a job that a retry or a replay has started again. */
  last_error: string | null;
  /** The attempt of `last_error`; null: none, or too long ago. */
  last_error_attempt: number | null;
  reason: string | null;
  after: Array<string>;
  tags: Array<string>;
  idempotency_key: string | null;
  limit_key: string | null;
  tenant: string | null;
  /** Tokens that the job is expected to use, as submitted. */
  tokens: number | null;
  /** The job that has started this job. */
  started_by: string | null;
  /** The limit that a queued job waits for, or the budget whose next window a waiting job needs. */
  held_by: string | null;
  /** When that limit opens; null: when a job ends, or not known. */
  held_until_ms: number | null;
  cancel_requested: boolean;
  /** Workers that were lost, or ran out of memory, while they ran the job. */
  losses: number;
  /** Whether the job runs alone, or waits to run alone, after two losses. */
  quarantined: boolean;
  /** Fields of the record that cannot be read, with the beginning of their text. */
  undecodable: Record<string, string>;
  /** Signals that a waiting job waits for; none: it waits for its time. */
  waits_for: Array<string>;
  /** A waiting job waits for jobs that it has started. */
  waits_for_children: boolean;
  /** Usage of models that the handler has reported, in all attempts. */
  usage: Usage;
  /** 0: the job; negative: ancestors; positive: descendants. */
  generation: number;
}

export interface ReplaySelector {
  /** Any of these. */
  state?: Array<"failed">;
  /** Any of these. */
  kind?: Array<string>;
  /** Any of these. */
  route?: Array<string>;
  /** Any of these. */
  tenant?: Array<string>;
  /** All of these. */
  tag?: Array<string>;
  /** At this time or later. */
  submitted_after_ms?: number | null;
  /** Before this time. */
  submitted_before_ms?: number | null;
  /** Text that the last error of the job contains. */
  error?: string | null;
  /** Exactly the errors of this group, the `error` of a FailureGroup. */
  error_group?: string | null;
  /** Of the answer before. */
  cursor?: string | null;
}

export interface Result {
  job_id: string;
  state: JobState;
  /** Any JSON. */
  result: unknown;
  error: string | null;
  reason: string | null;
  /** Any JSON. */
  progress: unknown;
}

export interface Scaling {
  pool: string;
  /** Whether the pool has an AgentPool; false: no further fields. */
  declared: boolean;
  replicas?: number | null;
  ready_replicas?: number | null;
  desired_replicas?: number | null;
  wanted_replicas?: number | null;
  manual_replicas?: number | null;
  min_replicas?: number | null;
  max_replicas?: number | null;
  paused?: boolean;
  limited?: {
    reason: string;
    message: string;
  } | null;
  decision?: {
    at: string;
    reason: string;
  } | null;
  gpus?: Record<string, unknown> | null;
  conditions?: Array<{
    type: string;
    status: string;
  }>;
}

export interface Schedule {
  name: string;
  kind: string;
  /** minute hour day month weekday */
  cron: string | null;
  /** An interval instead, in milliseconds. */
  every_ms: number | null;
  /** IANA name, for cron. */
  time_zone: string;
  /** Any JSON. */
  payload: unknown;
  priority: Priority;
  missed: "Skip" | "Once" | "All";
  max_catch_up: number;
  overlap: "Allow" | "Skip" | "Cancel";
  suspended: boolean;
  /** By spec.schedules of the AgentPool. */
  declared: boolean;
  paused: boolean;
  next_due_ms: number | null;
  last_due_ms: number | null;
  last_outcome: string | null;
  last_job_id: string | null;
}

export interface ScheduleRequest {
  kind: string;
  /** minute hour day month weekday */
  cron?: string | null;
  /** An interval instead, in milliseconds. */
  every_ms?: number | null;
  /** IANA name, for cron. */
  time_zone?: string;
  /** Any JSON. */
  payload?: unknown;
  priority?: Priority;
  missed?: "Skip" | "Once" | "All";
  max_catch_up?: number;
  overlap?: "Allow" | "Skip" | "Cancel";
  suspended?: boolean;
  /** An interval instead: seconds, or a text such as 5m. */
  every?: number | string | null;
}

export interface Signalled {
  job_id: string;
  signal: string;
  outcome: string;
}

export interface Step {
  name: string;
  outcome: "succeeded" | "failed" | "waiting" | "expired";
  attempt: number;
  started_at_ms: number;
  duration_ms: number;
}

export interface Submitted {
  job_id: string;
  state: JobState;
  queued: boolean;
  queue_depth: number;
  duplicate: boolean;
  position: number | null;
}

export interface SubmittedMany {
  jobs: Array<Receipt>;
  accepted: number;
  duplicates: number;
}

export interface Usage {
  calls: number;
  input_tokens: number;
  output_tokens: number;
  cost: number;
}

export interface Webhook {
  name: string;
  url: string;
  changes: Array<string>;
  format: string;
}

export interface WebhookRequest {
  /** https, of an allowed host. */
  url: string;
  changes?: Array<"succeeded" | "failed" | "cancelled" | "expired" | "waiting">;
}

export interface Worker {
  name: string;
  slots: number;
  running: number;
  host: string;
  /** Of AgentPool; empty: of a worker that does not report its version. */
  version: string;
  /** Time of the registration. */
  since_ms: number;
  /** Reason why the worker claims no jobs; empty: claims jobs. */
  note: string;
  lease_expires_at_ms: number;
  /** Kinds that the worker runs; null: any. */
  kinds: Array<string> | null;
  /** Whether the lease has not expired. */
  live: boolean;
  /** Whether the worker finishes its jobs and is removed then. */
  cordoned: boolean;
  /** Whether the worker runs the jobs in quarantine. */
  reserved: boolean;
  /** Latest failure of a job on the worker, among the newest events. */
  last_failure: {
    job_id: string;
    at_ms: number;
    error: string | null;
  } | null;
}

export interface WorkerLog {
  worker: string;
  /** The newest lines, oldest first; at most 256 KiB. */
  log: string;
}
