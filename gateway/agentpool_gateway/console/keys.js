// Keyboard shortcuts, and the dialog that lists them.

import { make, show } from "./page.js";

const SHORTCUTS = [
  ["/", "Search or filter", () => document.querySelector("main input")?.focus()],
  ["p", "All pools", () => { location.hash = "#/"; }],
  ["o", "Overview of the pool", () => section("")],
  ["j", "Jobs of the pool", () => section("/jobs")],
  ["f", "Failures of the pool", () => section("/failures")],
  ["w", "Workers of the pool", () => section("/workers")],
  ["n", "Next page of jobs", () => document.getElementById("next")?.click()],
  ["?", "This list", () => help()]];

function section(name) {
  const pool = /^#\/([^/?]+\/[^/?]+)/.exec(location.hash);
  if (pool) location.hash = `#/${pool[1]}${name}`;
}

export function help() {
  show(make("h2", null, "Keyboard"), make("dl", { class: "keyboard" }, ...SHORTCUTS.flatMap(([key, label]) => [make("dt", null, make("kbd", null, key)), make("dd", null, label)]),
    make("dt", null, make("kbd", null, "Escape")), make("dd", null, "Close a dialog, or leave a field")),
    make("div", { class: "bar" }, make("button", { autofocus: true, click: () => document.getElementById("dialog").close() }, "Close")));
}

export function listen() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const writing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
    if (writing && event.key === "Escape") document.activeElement.blur();
    if (writing || document.getElementById("dialog").open) return;
    const found = SHORTCUTS.find(([key]) => key === event.key);
    if (!found) return;
    event.preventDefault();
    found[2]();
  });
}
