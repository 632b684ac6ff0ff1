// The public names of the client.

export { Client, Receipt } from "./client.js";
export type { ClientOptions, FindOptions, SubmitOptions } from "./client.js";
export * from "./errors.js";
export type {
  Chunk,
  Job,
  JobEvent,
  JobPage,
  JobRequest,
  JobState,
  JobSummary,
  Json,
  Problem,
  QueueSnapshot,
} from "./types.js";
