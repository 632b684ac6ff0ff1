// The console's frame: sign-in, and the page that the address names.

import { token } from "./api.js";
import { make, view } from "./page.js";
import { open } from "./pool.js";
import { pools } from "./pools.js";

let leaving = new AbortController();

// `agentpool dev` prints an address with the token behind the #, which no browser sends; the page reads it and removes it.
function tokenFromAddress() {
  const found = /^#token=([\w.~+/=-]+)$/.exec(location.hash);
  if (!found) return;
  token.set(found[1]);
  history.replaceState(null, "", location.pathname);
}

function report(text, bad) {
  const live = document.getElementById("live");
  if (live.textContent !== text) live.textContent = text;
  live.className = bad ? "bad" : "";
  if (bad && text.includes("Authorization")) signIn(text);
}

function signIn(problem) {
  leaving.abort();
  const field = make("input", { type: "password", autocomplete: "off", "aria-label": "Token", placeholder: "Token", required: true, autofocus: true });
  const form = make("form", { class: "sign-in", submit: (event) => { event.preventDefault(); token.set(field.value.trim()); route(); } },
    make("label", null, "A token of this gateway"), field, make("button", { class: "primary" }, "Sign in"),
    problem && token.get() ? make("p", { class: "error", role: "alert" }, "That token is not known, or has expired.") : null);
  view().replaceChildren(form);
  document.getElementById("crumbs").textContent = "";
  document.getElementById("sign-out").hidden = true;
  field.focus();
  report("", false);
}

function route() {
  leaving.abort();
  leaving = new AbortController();
  document.getElementById("sign-out").hidden = !token.get();
  const name = decodeURIComponent(location.hash.slice(2));
  document.getElementById("crumbs").textContent = name || "All pools";
  view().replaceChildren();
  if (/^[^/]+\/[^/]+$/.test(name)) open(name, view(), leaving.signal, report);
  else pools(view(), leaving.signal, report);
}

document.getElementById("sign-out").addEventListener("click", () => { token.clear(); signIn(""); });
addEventListener("hashchange", () => { tokenFromAddress(); route(); });
tokenFromAddress();
route();
