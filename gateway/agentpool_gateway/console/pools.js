// All pools at a glance, live: a card each, and a search by name.

import { at, call, poll } from "./api.js";
import { figure, make, span, unready } from "./page.js";

// The content of a pool's card.
async function glance(name) {
  try {
    const [queue, scaling] = await Promise.all([call(`${at(name)}/queue`), call(`${at(name)}/scaling`).catch(() => ({}))]);
    const slots = queue.workers.reduce((sum, worker) => sum + worker.slots, 0);
    const workers = scaling.declared ? `workers: ${scaling.ready_replicas ?? 0} ready, demand ${scaling.wanted_replicas ?? 0}` : `workers: ${queue.workers.length}`;
    const trouble = unready(scaling);
    const marks = [queue.retired ? "deleted" : null, trouble ? `not ready: ${trouble.reason}` : null, queue.paused ? "paused" : null, scaling.limited ? "capped" : null, queue.quarantined ? `${queue.quarantined} in quarantine` : null, queue.dead ? `${queue.dead} dead letter${queue.dead === 1 ? "" : "s"}` : null].filter(Boolean);
    return make("div", null,
      make("div", { class: "pair" }, figure("queued", queue.queued), figure(`of ${slots} slots busy`, queue.running)),
      make("meter", { min: 0, max: Math.max(1, slots), value: queue.running, "aria-label": `${queue.running} of ${slots} slots busy` }),
      make("div", { class: "soft" }, `${workers}; oldest wait ${span(queue.oldest_wait_ms)}`),
      make("div", { class: "marks" }, marks.map((mark) => make("span", { class: "mark" }, mark))),
      trouble ? make("div", { class: "warning" }, trouble.message) : null);
  } catch (error) {
    return make("div", { class: "error" }, error.message);
  }
}

// Only visible cards are polled, so a thousand pools cost the gateway no more than a screenful.
export function pools(root, signal, report) {
  const cards = new Map(); // by the pool's name; a card stays the same element, so that the keyboard keeps its place
  const seen = new Set();
  const fill = async (card) => card.replaceChildren(card.firstChild, await glance(card.dataset.pool));
  const eye = new IntersectionObserver((changes) => changes.forEach(({ target, isIntersecting }) => {
    if (!isIntersecting) seen.delete(target);
    else if (!seen.has(target)) {
      seen.add(target);
      fill(target);
    }
  }), { rootMargin: "100px" });
  signal.addEventListener("abort", () => eye.disconnect());
  const search = make("input", { type: "search", placeholder: "Find a pool", "aria-label": "Find a pool", input: () => sift() });
  const grid = make("div", { class: "grid" });
  const nothing = make("p", { class: "soft" });

  function sift() {
    const wanted = search.value.trim().toLowerCase();
    for (const [name, card] of cards) card.hidden = !name.toLowerCase().includes(wanted);
    const found = [...cards.values()].some((card) => !card.hidden);
    nothing.textContent = found ? "" : cards.size ? "No pool of that name." : "No pools yet: apply an AgentPool.";
  }

  function list(names) {
    const known = new Set(names);
    for (const [name, card] of cards) {
      if (known.has(name)) continue;
      eye.unobserve(card);
      seen.delete(card);
      card.remove();
      cards.delete(name);
    }
    names.forEach((name, place) => {
      if (cards.has(name)) return;
      const card = make("a", { class: "card", href: `#/${name}`, "data-pool": name }, make("b", null, name));
      cards.set(name, card);
      grid.insertBefore(card, grid.children[place] ?? null);
      eye.observe(card);
    });
    sift();
  }

  poll(signal, report, 2000, async () => {
    const { pools: names } = await call("../v1/pools");
    if (signal.aborted) return;
    if (!grid.isConnected) root.replaceChildren(make("div", { class: "bar" }, search), nothing, grid);
    list(names);
    await Promise.all([...seen].map(fill));
  });
}
