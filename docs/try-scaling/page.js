// The page "Try the scaling": a load to draw or paste, and the sizes that worker.js computes for it.
const BINS = 48;
const BIN_SECONDS = 30;
const MOST_A_BIN = 60;
const QUIET_SECONDS = 900; // that the simulation continues after the last job
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [720, 200, 40, 22, 20];
const LOADS = {
  bursts: (bin) => (bin % 12 < 2 ? 40 : 0),
  step: (bin) => (bin >= 8 && bin < 30 ? 30 : 3),
  day: (bin) => Math.round(22 - 20 * Math.cos((2 * Math.PI * bin) / BINS)),
  once: (bin) => (bin === 4 ? 60 : 0),
  nothing: () => 0,
};

const lab = document.getElementById("scaling-lab");
const part = (name) => lab.querySelector(`[data-part="${name}"]`);
const number = (name) => Number(part(name).value);
let rates = Array.from({ length: BINS }, (_, bin) => LOADS.bursts(bin));
let worker = null;
let busy = false;
let asked = null; // the newest question that waits for the worker
let shown = null; // the last answer

function svg(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// The scale of a chart: seconds and values to coordinates.
function scale(spanSeconds, most) {
  const x = (at) => LEFT + (at / spanSeconds) * (WIDTH - LEFT - 10);
  const y = (value) => HEIGHT - BOTTOM - (value / most) * (HEIGHT - BOTTOM - TOP);
  return { x, y, spanSeconds, most };
}

function axes(chart, { x, y, spanSeconds, most }, label) {
  const stepMinutes = [5, 10, 20, 30, 60, 120, 240].find((step) => spanSeconds / 60 / step <= 12) ?? 480;
  for (let at = 0; at <= spanSeconds; at += stepMinutes * 60)
    chart.append(svg("text", { x: x(at), y: HEIGHT - 6, "text-anchor": "middle" }, `${at / 60} min`));
  for (const value of [0, most / 2, most]) {
    chart.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - 10, y1: y(value), y2: y(value) }));
    chart.append(svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, String(Math.round(value))));
  }
  chart.append(svg("text", { x: LEFT, y: 11 }, label));
}

function isPasted() {
  return part("pasted").value.trim() !== "";
}

// Both charts have the same time axis: the whole of a pasted trace, or of the drawn bins.
function span() {
  return isPasted() && shown ? shown.span_s : BINS * BIN_SECONDS + QUIET_SECONDS;
}

function drawLoad() {
  const pasted = isPasted();
  const chart = part("load");
  const counts = pasted ? histogram(shown ? shown.arrivals : [], span()) : rates;
  const measure = scale(span(), pasted ? Math.max(1, ...counts) : MOST_A_BIN);
  const binSeconds = pasted ? span() / counts.length : BIN_SECONDS;
  chart.replaceChildren();
  axes(chart, measure, pasted ? "jobs of the pasted trace" : `jobs in ${BIN_SECONDS} s: drag here to draw`);
  counts.forEach((count, bin) => {
    const [from, to] = [bin, bin + 1].map((edge) => measure.x(edge * binSeconds));
    chart.append(svg("rect", {
      class: "bar", x: from + 1, width: Math.max(1, to - from - 2), y: measure.y(count),
      height: HEIGHT - BOTTOM - measure.y(count),
    }));
  });
}

function histogram(arrivals, spanSeconds) {
  const counts = new Array(96).fill(0);
  for (const at of arrivals) counts[Math.min(95, Math.floor((at / spanSeconds) * 96))] += 1;
  return counts;
}

function path(sizes, { x, y, spanSeconds }) {
  const steps = sizes.map(([at, size]) => `H${x(at)}V${y(size)}`).join("");
  return `M${x(0)},${y(0)}${steps}H${x(spanSeconds)}`;
}

function drawSizes() {
  const chart = part("sizes");
  chart.replaceChildren();
  if (!shown) return;
  const most = Math.max(2, ...shown.policies.flatMap((policy) => policy.sizes.map(([, size]) => size)));
  const measure = scale(span(), most);
  axes(chart, measure, "workers");
  for (const [index, policy] of [...shown.policies.entries()].reverse())
    chart.append(svg("path", { class: `line p${index}`, d: path(policy.sizes, measure) }));
}

function fillTable() {
  const rows = shown.policies.map((policy, index) => {
    const row = document.createElement("tr");
    const cells = [
      policy.name, `${policy.p50_s.toFixed(1)} s`, `${policy.p99_s.toFixed(1)} s`,
      `${(100 * policy.in_time).toFixed(0)} %`, policy.worker_hours.toFixed(2), policy.changes,
    ];
    row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    row.firstChild.className = `key p${index}`;
    return row;
  });
  part("figures").replaceChildren(...rows);
}

function explain(at) {
  const before = shown.reasons.filter(([when]) => when <= at);
  const [when, size, reason] = before.at(-1) ?? [0, 0, "no decision has changed the size yet"];
  part("reason").textContent = `${(when / 60).toFixed(1)} min, ${size} workers: ${reason}`;
}

function show(answer) {
  shown = answer;
  drawLoad();
  drawSizes();
  fillTable();
  explain(answer.span_s);
  lab.dataset.answers = String(Number(lab.dataset.answers ?? 0) + 1);
}

function question() {
  return JSON.stringify({
    pasted: part("pasted").value.trim(),
    drawn: { rates, bin_s: BIN_SECONDS, service_s: number("service") },
    service_s: number("service"), startup_s: number("startup"), slots: number("slots"),
    max_workers: number("most"), target_wait_s: number("target"),
  });
}

function ask() {
  asked = question();
  if (worker === null || busy) return;
  busy = true;
  worker.postMessage(asked);
  asked = null;
}

function say(text, refused = false) {
  part("state").textContent = text;
  part("state").classList.toggle("refused", refused);
}

function start() {
  part("start").disabled = true;
  say("Python starts in your browser …");
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.onerror = () => say("This site was built without Python: build it with make docs, and open it by http.", true);
  worker.onmessage = ({ data }) => {
    if (data.ready) return say("The decision runs in your browser: change anything.");
    busy = false;
    if (data.failed) return say(`Python did not start: ${data.failed}`, true);
    if (data.refused) say(data.refused, true);
    else {
      say("The decision runs in your browser: change anything.");
      show(data.answer);
    }
    if (asked) ask();
  };
  ask();
}

function place(event) {
  const box = part(event.currentTarget.dataset.part).getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * WIDTH, ((event.clientY - box.top) / box.height) * HEIGHT];
}

function secondsAt(x) {
  return ((x - LEFT) / (WIDTH - LEFT - 10)) * span();
}

function drag(event) {
  if (!event.buttons || isPasted()) return;
  const [x, y] = place(event);
  const bin = Math.floor(secondsAt(x) / BIN_SECONDS);
  if (bin < 0 || bin >= BINS) return;
  const height = (HEIGHT - BOTTOM - y) / (HEIGHT - BOTTOM - TOP);
  rates[bin] = Math.round(Math.min(1, Math.max(0, height)) * MOST_A_BIN);
  drawLoad();
  ask();
}

part("load").addEventListener("pointerdown", drag);
part("load").addEventListener("pointermove", drag);
part("sizes").addEventListener("pointermove", (event) => {
  if (shown) explain(Math.max(0, secondsAt(place(event)[0])));
});
part("preset").addEventListener("change", () => {
  part("pasted").value = "";
  rates = Array.from({ length: BINS }, (_, bin) => LOADS[part("preset").value](bin));
  drawLoad();
  ask();
});
for (const name of ["pasted", "service", "startup", "slots", "most", "target"])
  part(name).addEventListener("change", () => { drawLoad(); ask(); });
part("start").addEventListener("click", start);
drawLoad();
