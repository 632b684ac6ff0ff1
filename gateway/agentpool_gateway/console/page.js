// Helpers to build a page: elements, figures, tables, and the confirmation of an irreversible action.
// Text is inserted as text, never as markup, so a job's content cannot run here.

import { number } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

export const make = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
export const draw = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);
export const view = () => document.getElementById("view");

export function figure(label, value) {
  return make("div", { class: "figure" }, make("b", null, typeof value === "number" ? number(value) : value), make("span", null, label));
}

export function table(headers, rows, empty) {
  if (!rows.length) return make("p", { class: "soft" }, empty);
  const head = make("tr", null, headers.map((header) => make("th", { scope: "col" }, header)));
  const body = rows.map((cells) => make("tr", null, cells.map((cell, place) => make("td", { "data-label": headers[place], class: (cell ?? null) === null ? "none" : null }, cell ?? "–"))));
  return make("div", { class: "wide" }, make("table", null, make("thead", null, head), make("tbody", null, body)));
}

// The Ready condition of a pool that is not ready; undefined for a ready pool.
export const unready = (scaling) => scaling.conditions?.find((each) => each.type === "Ready" && each.status === "False");

export function state(name) {
  return make("span", { class: `state ${name}` }, name);
}

// A button that copies a text, given as it is or by a function at the time of the click.
export function copyButton(label, text) {
  const button = make("button", { class: "copy", type: "button", click: async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed: select and copy";
    }
    setTimeout(() => { button.textContent = label; }, 1500);
  } }, label);
  return button;
}

// Shows an error until it is closed.
export function refused(error) {
  show(make("p", { class: "error", role: "alert" }, error.message),
    make("div", { class: "bar" }, make("button", { autofocus: true, click: () => document.getElementById("dialog").close() }, "Close")));
}

export function show(...content) {
  const dialog = document.getElementById("dialog");
  dialog.replaceChildren(...content);
  if (!dialog.open) dialog.showModal();
  return dialog;
}

// Asks for confirmation; an irreversible action has the button for danger.
export function asked(question, doing, final = false) {
  return new Promise((resolve) => {
    const answer = (value) => () => { dialog.close(); resolve(value); };
    const dialog = show(
      make("p", null, question),
      make("div", { class: "bar" },
        make("button", { class: final ? "danger" : "primary", click: answer(true) }, doing),
        make("button", { click: answer(false), autofocus: true }, "Keep it as it is")));
    // The event comes later: where the dialog is open again, it tells of an earlier question.
    dialog.onclose = () => { if (!dialog.open) resolve(false); };
  });
}
