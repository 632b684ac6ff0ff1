// Errors, with the names of the Python client. A refusal of the gateway has its problem document.

import type { JobState, Problem } from "./types.js";

/** Base of all errors of the client. */
export class AgentPoolError extends Error {
  override get name(): string {
    return this.constructor.name;
  }
}

/** The gateway cannot be reached, also after the repeats. */
export class GatewayUnreachableError extends AgentPoolError {}

/** `result` has waited long enough; the job goes on. */
export class ResultTimeoutError extends AgentPoolError {
  constructor(readonly job_id: string, readonly timeout: number) {
    super(`job ${job_id} has not ended within ${timeout} s; it goes on`);
  }
}

/** The job has ended without a result. */
export class JobEndedError extends AgentPoolError {
  constructor(readonly job_id: string, readonly state: JobState, readonly reason: string) {
    super(`job ${job_id} ended as ${state}${reason ? `: ${reason}` : ""}`);
  }
}

/** The gateway refuses the request. `remedy` says what to do; `field` names the field that cannot be used. */
export class ProblemError extends AgentPoolError {
  constructor(readonly problem: Problem, readonly retry_after: number | null = null) {
    super([problem.detail, problem.remedy].filter(Boolean).join("; "));
  }

  /** The last part of the problem's type, such as `unknown-job`. */
  get type(): string {
    return this.problem.type.split(":").at(-1) ?? "";
  }

  get status(): number {
    return this.problem.status;
  }

  get detail(): string {
    return this.problem.detail;
  }

  get remedy(): string | undefined {
    return this.problem.remedy;
  }

  get field(): string | undefined {
    return this.problem.field;
  }
}

export class UnknownPoolError extends ProblemError {}
export class RetiredPoolError extends ProblemError {}
export class UnknownJobError extends ProblemError {}
export class UnknownScheduleError extends ProblemError {}
export class UnknownWebhookError extends ProblemError {}
export class InvalidJobError extends ProblemError {}
export class UnknownKindError extends InvalidJobError {}
export class IdempotencyConflictError extends ProblemError {}
export class SignalRefusedError extends ProblemError {}
/** The queue is full; `retry_after` has the seconds to wait. */
export class QueueFullError extends ProblemError {}
/** No token, an unknown token, or a token without the verb. */
export class AccessError extends ProblemError {}

const BY_TYPE: Record<string, typeof ProblemError> = {
  "unknown-pool": UnknownPoolError,
  "retired-pool": RetiredPoolError,
  "unknown-job": UnknownJobError,
  "unknown-schedule": UnknownScheduleError,
  "unknown-webhook": UnknownWebhookError,
  "invalid-job": InvalidJobError,
  "too-deep": InvalidJobError,
  "too-large": InvalidJobError,
  "unknown-kind": UnknownKindError,
  "idempotency-conflict": IdempotencyConflictError,
  "signal-refused": SignalRefusedError,
  "queue-full": QueueFullError,
};

/** Returns the error of a refusal. */
export function errorOf(problem: Problem, retryAfter: number | null): ProblemError {
  const plain = problem.status === 401 || problem.status === 403 ? AccessError : ProblemError;
  const kind = BY_TYPE[problem.type.split(":").at(-1) ?? ""] ?? plain;
  return new kind(problem, retryAfter);
}
