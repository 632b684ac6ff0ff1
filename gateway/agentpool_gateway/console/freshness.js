// The age of the figures on the page: the header says it, and figures without a fresh answer are greyed.

import { span } from "./words.js";

const STALE_MS = 8000; // of the figures; a page asks every one or two seconds
let answeredAt = null; // of the latest complete answer; null: none yet on this page
let askedAt = Date.now();
let problem = "";

// A page begins: it has no figures yet.
export function begin() {
  [answeredAt, askedAt, problem] = [null, Date.now(), ""];
  show();
}

// Figures of this age have come, or a request failed with this text.
export function report(text, ageMs = 0) {
  problem = text;
  if (!text) answeredAt = Date.now() - ageMs;
  show();
}

export const hasFigures = () => answeredAt !== null;

// A page without figures: nothing is expected.
export function rest() {
  [answeredAt, askedAt, problem] = [null, Infinity, ""];
  show();
}

function words() {
  const age = Date.now() - (answeredAt ?? askedAt);
  if (askedAt === Infinity) return "";
  if (answeredAt === null) return problem || (age < STALE_MS ? "loading" : `no answer for ${span(age)}`);
  if (age < STALE_MS && !problem) return "live";
  return `${problem || "no answer"}; figures are ${span(age)} old`;
}

function show() {
  const text = words();
  const fresh = ["", "live", "loading"].includes(text);
  const live = document.getElementById("live");
  if (live.textContent !== text) live.textContent = text;
  live.className = fresh ? "" : "bad";
  document.getElementById("view").classList.toggle("stale", answeredAt !== null && !fresh);
}

setInterval(show, 1000);
document.addEventListener("visibilitychange", show);
