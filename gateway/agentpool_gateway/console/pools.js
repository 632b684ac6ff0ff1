// All pools at a glance, live: a card each, those in trouble first with the reason, and a search by name.

import { call, poll } from "./api.js";
import { figure, make } from "./page.js";
import { counted, number, span } from "./words.js";

const SHOWN_TROUBLES = 3; // on a card; the pool's page has the rest

function content(row) {
  if (!row.read) return troubles(row);
  const declared = row.ready_replicas !== null;
  const workers = declared ? `${counted(row.ready_replicas, "worker")} ready, ${number(row.wanted_replicas ?? 0)} needed` : counted(row.workers, "worker");
  const used = `${number(row.slots_used)} of ${counted(row.slots, "slot")} used`;
  return [
    make("div", { class: "pair" }, figure("queued", row.queued), figure("running", row.running)),
    make("meter", { min: 0, max: Math.max(1, row.slots), value: row.slots_used, "aria-label": used }),
    make("div", { class: "soft" }, `${used}; ${workers}; oldest wait ${span(row.oldest_wait_ms)}`),
    ...troubles(row)];
}

function troubles(row) {
  const shown = row.troubles.slice(0, SHOWN_TROUBLES).map(({ severity, reason, message }) =>
    make("div", { class: `trouble ${severity}` }, make("b", null, reason), make("span", null, message)));
  const more = row.troubles.length - SHOWN_TROUBLES;
  return more > 0 ? [...shown, make("div", { class: "soft" }, `and ${more} more`)] : shown;
}

export function pools(root, signal, report) {
  const cards = new Map(); // by the pool's name; a card stays the same element, so that the keyboard keeps its place
  const search = make("input", { type: "search", placeholder: "Find a pool", "aria-label": "Find a pool", input: () => sift() });
  const sum = make("p", { class: "soft", id: "sum" });
  const grid = make("div", { class: "grid" });
  const nothing = make("div");

  function sift() {
    const wanted = search.value.trim().toLowerCase();
    for (const [name, card] of cards) card.element.hidden = !name.toLowerCase().includes(wanted);
    const found = [...cards.values()].some((card) => !card.element.hidden);
    nothing.replaceChildren(found ? "" : cards.size ? make("p", { class: "soft" }, "No pool of that name.") : empty());
  }

  function list(rows) {
    const known = new Set(rows.map((row) => row.pool));
    for (const [name, card] of cards) {
      if (known.has(name)) continue;
      card.element.remove();
      cards.delete(name);
    }
    rows.forEach((row, place) => {
      const card = cards.get(row.pool) ?? { element: make("a", { class: "card", href: `#/${row.pool}`, "data-pool": row.pool }), text: "" };
      cards.set(row.pool, card);
      const text = JSON.stringify(row);
      if (card.text !== text) card.element.replaceChildren(make("b", null, row.pool), ...content(row));
      card.text = text;
      card.element.className = `card ${row.troubles[0]?.severity ?? ""}`;
      if (grid.children[place] !== card.element) move(card.element, grid.children[place] ?? null);
    });
    const bad = rows.filter((row) => ["error", "warning"].includes(row.troubles[0]?.severity)).length;
    sum.textContent = rows.length ? `${counted(rows.length, "pool")}, ${bad ? `${number(bad)} in trouble` : "all in order"}` : "";
    document.title = `${bad ? `(${bad}) ` : ""}Pools · AgentPool`;
    sift();
  }

  // Moving an element takes the focus away from it.
  function move(element, before) {
    const focused = document.activeElement === element;
    grid.insertBefore(element, before);
    if (focused) element.focus();
  }

  poll(signal, report, 2000, async () => {
    const { pools: rows, age_ms } = await call("../v1/pools:overview");
    if (signal.aborted) return 0;
    if (!grid.isConnected) root.replaceChildren(make("div", { class: "bar" }, search), sum, nothing, grid);
    list(rows);
    return age_ms;
  });
}

function empty() {
  return make("div", { class: "card calm" }, make("b", null, "No pools yet"),
    make("p", { class: "soft" }, "Apply an AgentPool, and it appears here within seconds: kubectl apply -f pool.yaml"));
}
