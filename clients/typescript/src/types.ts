// Short names for the generated types of the API's documents.

import type { Event, JobState, Queue } from "./schema.js";

export type {
  Chunk, Job, JobPage, JobRequest, JobState, JobSummary, Outcome, Problem, Result, Signalled, Submitted,
} from "./schema.js";

export type Json = unknown;
export type JobEvent = Event;
export type QueueSnapshot = Queue;

const ENDS: ReadonlySet<JobState> = new Set<JobState>(["succeeded", "failed", "cancelled", "expired"]);

/** Whether a job in this state has ended. */
export function hasEnded(state: JobState): boolean {
  return ENDS.has(state);
}
