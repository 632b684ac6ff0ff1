// BullMQ, as bench/peers/measure.py drives the Python peers: `node bullmq.mjs MEASURE --redis URL --jobs N`.
//
// throughput and mixed print their figures; drain works until it is killed. The last line is JSON. Bulk adds are of 500
// jobs, as in BullMQ's documentation; ended jobs are removed, which is its cheapest setting.

import { createRequire } from "node:module";
import { argv, exit } from "node:process";

const require = createRequire(`${process.cwd()}/build/npm-bench/`);
const { Queue, Worker } = require("bullmq");
const { Redis } = require("ioredis");

const [measure, , url, , count] = argv.slice(2);
const SLOTS = 100, MIXED_SLOTS = 10;
const SHORT_MS = 10, LONG_MS = 1000, LONG_EACH = 10;
const BULK = 500, POLL_MS = 2, COUNT_EACH_MS = 20;
const DONE = "bench:done";
const { hostname: host, port } = new URL(url);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const removal = { removeOnComplete: true };
const client = new Redis(connection); // for this program's own questions
const queue = new Queue("bench", { connection, defaultJobOptions: removal });
const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));

let done = 0;
const handlers = {
  noop: async () => { done += 1; },
  sleep: async (job) => {
    await sleep(job.data.number % LONG_EACH === 0 ? LONG_MS : SHORT_MS);
    done += 1;
  },
};

async function submitMany(kind, jobs) {
  for (let first = 0; first < jobs; first += BULK) {
    const size = Math.min(BULK, jobs - first);
    await queue.addBulk(Array.from({ length: size }, (_, at) => ({ name: kind, data: { number: first + at } })));
  }
}

function startWorker(slots) {
  const worker = new Worker("bench", (job) => handlers[job.name](job), { connection, concurrency: slots });
  worker.on("failed", (_, error) => { throw error; });
}

async function serverUs() {
  const text = await client.info("cpu");
  return ["user", "sys"].reduce((sum, part) => sum + Number(text.match(`used_cpu_${part}:([\\d.]+)`)[1]), 0) * 1e6;
}

async function worked(jobs, slots) {
  const began = performance.now();
  startWorker(slots);
  while (done < jobs) await sleep(POLL_MS);
  return (performance.now() - began) / 1000;
}

async function throughput(jobs) {
  const singles = jobs / 10;
  let began = performance.now();
  await submitMany("noop", jobs);
  const bulkS = (performance.now() - began) / 1000;
  began = performance.now();
  for (let number = 0; number < singles; number += 1) await queue.add("noop", { number });
  const eachS = (performance.now() - began) / 1000;
  const before = await serverUs();
  const drainS = await worked(jobs + singles, SLOTS);
  return {
    "drain jobs/s": (jobs + singles) / drainS,
    "drain server us/job": (await serverUs() - before) / (jobs + singles),
    "bulk jobs/s": jobs / bulkS,
    "one by one jobs/s": singles / eachS,
  };
}

async function mixed(jobs) {
  await submitMany("sleep", jobs);
  return { "mixed makespan s": await worked(jobs, MIXED_SLOTS) };
}

// A worker process of the scale measure: the parent adds up what all of them have done.
async function drain() {
  startWorker(SLOTS);
  for (let told = 0; ; await sleep(COUNT_EACH_MS)) {
    const now = done;
    if (now > told) await client.incrby(DONE, now - told);
    told = now;
  }
}

async function fill(jobs) {
  await submitMany("noop", jobs);
  return {};
}

console.log(JSON.stringify(await { throughput, mixed, drain, fill }[measure](Number(count))));
exit(0);
