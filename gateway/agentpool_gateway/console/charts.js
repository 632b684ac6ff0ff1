// A pool's last hour from the server: backlog, throughput and workers over one time axis. A gap in the points stays a gap.

import { draw, make } from "./page.js";
import { number } from "./words.js";

const HOUR_MS = 3600000;
const GAP_MS = 120000; // between two points, beyond which nothing is known
const [WIDTH, HEIGHT] = [360, 60];

const x = (at, now) => WIDTH * (1 - (now - at) / HOUR_MS);
const time = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

// Pairs of neighbours without a gap between them.
const steps = (points) => points.slice(1).map((point, index) => [points[index], point])
  .filter(([before, after]) => after.at_ms > before.at_ms && after.at_ms - before.at_ms <= GAP_MS);

// `points` are the recorded ones, oldest first, with the present reading last.
export function history(points, now) {
  if (points.length < 2) return make("p", { class: "soft", id: "no-history" }, "No history yet: the operator records a point each half minute.");
  return make("div", { class: "charts" }, backlog(points, now), throughput(points, now), replicas(points, now));
}

function backlog(points, now) {
  const highest = Math.max(1, ...points.map((point) => point.queued));
  const bars = steps(points).map(([before, after]) => bar("queued", before.at_ms, after.at_ms, now, after.queued / highest, 0, `${time(after.at_ms)}: ${number(after.queued)} queued`));
  return chart("Backlog", `at most ${number(highest)}`, bars, [["queued", "queued"]]);
}

// Ends a minute: the failed ones above the others.
function throughput(points, now) {
  const rates = steps(points).map(([before, after]) => {
    const minutes = (after.at_ms - before.at_ms) / 60000;
    const rate = (name) => Math.max(0, after[name] - before[name]) / minutes;
    const failed = Math.min(rate("failed"), rate("finished"));
    return { before, after, failed, well: rate("finished") - failed };
  });
  const highest = Math.max(1, ...rates.map(({ failed, well }) => failed + well));
  const bars = rates.flatMap(({ before, after, failed, well }) => {
    const title = `${time(after.at_ms)}: ${number(Math.round(well + failed))} ended a minute, ${number(Math.round(failed))} of them failed`;
    return [bar("well", before.at_ms, after.at_ms, now, well / highest, 0, title), bar("failed", before.at_ms, after.at_ms, now, failed / highest, well / highest, title)];
  });
  return chart("Ended jobs a minute", `at most ${number(Math.round(highest))}`, bars, [["well", "ended"], ["failed", "failed"]]);
}

function replicas(points, now) {
  const known = points.filter((point) => point.ready !== null || point.desired !== null);
  if (known.length < 2) return null;
  const highest = Math.max(1, ...known.flatMap((point) => [point.desired ?? 0, point.ready ?? 0]));
  const line = (name) => draw("path", { class: `line ${name}`, d: steps(known).map(([before, after]) =>
    `M${x(before.at_ms, now)} ${height(before[name])}H${x(after.at_ms, now)}V${height(after[name])}`).join("") });
  const height = (value) => 1 + (HEIGHT - 2) * (1 - (value ?? 0) / highest);
  return chart("Workers", `at most ${number(highest)}`, [line("desired"), line("ready")], [["desired", "desired"], ["ready", "ready"]]);
}

function bar(name, from, to, now, share, above, title) {
  const [left, right] = [Math.max(0, x(from, now)), Math.min(WIDTH, x(to, now))];
  const high = share * HEIGHT;
  return draw("rect", { class: name, x: left, y: HEIGHT - above * HEIGHT - high, width: Math.max(0, right - left - 0.3), height: high }, draw("title", null, title));
}

function chart(name, most, marks, keys) {
  return make("figure", { class: "chart" },
    make("figcaption", { class: "bar ends" }, make("b", null, name), make("span", { class: "soft" }, most)),
    draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${name} over the last hour, ${most}` }, ...marks),
    make("div", { class: "bar soft ends" }, make("span", null, "1 h ago"), make("span", { class: "keys" }, keys.map(([key, label]) => make("span", { class: `key ${key}` }, label))), make("span", null, "now")));
}
