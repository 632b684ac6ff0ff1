// Numbers, durations and times as text. Pure.

const whole = new Intl.NumberFormat("en");

export const number = (value) => (typeof value === "number" ? whole.format(value) : "–");

// `job` for one, `jobs` for any other number.
export const plural = (value, noun) => `${noun}${value === 1 ? "" : "s"}`;

// `1 job`, `2 jobs`, `12,000 jobs`.
export const counted = (value, noun) => `${number(value)} ${plural(value, noun)}`;

export function span(ms) {
  if (ms === null || ms === undefined) return "–";
  const units = [["d", 86400000], ["h", 3600000], ["min", 60000], ["s", 1000]];
  for (const [name, size] of units) if (ms >= size) return `${(ms / size).toFixed(ms < 9.95 * size && ms % size ? 1 : 0)} ${name}`;
  return `${Math.max(0, Math.round(ms))} ms`;
}

// A time of day; of a different day with the date.
export function moment(ms) {
  const at = new Date(ms);
  return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString();
}
