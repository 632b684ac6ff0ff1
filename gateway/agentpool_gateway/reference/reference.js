// The API's description, /openapi.json, as a page: parameters, answers and a curl command for each operation.
// Everything is served by this gateway; text is inserted as text, never as markup.

import { make, table } from "../console/page.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const SUCCESS = /^2/;

const words = (text) => (text ?? "").split(/(`[^`]*`)/).map((part) => (part.startsWith("`") ? make("code", null, part.slice(1, -1)) : part));
const anchor = (operation) => operation.operationId ?? operation.summary;

// The schema behind a reference; a plain schema is returned unchanged.
function resolved(schema, api) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref.split("/").slice(1).reduce((found, name) => found?.[name], api) ?? {};
}

// A schema's type in few words, its limits included.
function typed(given, api) {
  const schema = resolved(given, api);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.map((choice) => typed(choice, api)).join(" or ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `list of ${typed(schema.items, api)}`;
  const type = [].concat(schema.type ?? "anything").join(" or ");
  const limits = [["minimum", "from"], ["maximum", "to"], ["minLength", "at least"], ["maxLength", "at most"], ["pattern", "like"]]
    .filter(([name]) => name in schema).map(([name, word]) => `${word} ${schema[name]}`);
  return limits.length ? `${type} (${limits.join(", ")})` : type;
}

// The fields of an object, with the fields of nested objects below; null without named fields.
function fields(given, api, depth = 0) {
  const schema = resolved(given, api);
  const choices = (schema.anyOf ?? schema.oneOf ?? []).map((choice) => fields(choice, api, depth)).filter(Boolean);
  if (choices.length) return make("div", null, choices.flatMap((choice, index) => (index ? [make("p", { class: "soft" }, "or"), choice] : [choice])));
  if (schema.type === "array") return fields(schema.items, api, depth);
  const names = Object.entries(schema.properties ?? {});
  if (!names.length || depth > 4) return null;
  const needed = new Set(schema.required ?? []);
  return make("ul", { class: "fields" }, names.map(([name, part]) => make("li", null,
    make("code", { class: needed.has(name) ? "required" : null }, name), " ",
    make("span", { class: "soft" }, typed(part, api)),
    resolved(part, api).description ? make("span", null, ": ", words(resolved(part, api).description)) : null,
    fields(part, api, depth + 1))));
}

function parameters(operation, api) {
  const found = operation.parameters ?? [];
  if (!found.length) return null;
  const rows = found.map((one) => [make("code", { class: one.required ? "required" : null }, one.name), one.in, typed(one.schema, api),
    make("span", null, words(one.description ?? (one.example ? `for example \`${one.example}\`` : "")))]);
  return make("section", null, make("h3", null, "Parameters"), table(["Name", "In", "Type", ""], rows, ""));
}

function body(operation, api) {
  const content = operation.requestBody?.content;
  if (!content) return null;
  return make("section", null, make("h3", null, "Body"), Object.entries(content).map(([kind, { schema }]) =>
    make("div", null, make("code", null, kind), " ", make("span", { class: "soft" }, resolved(schema, api).description ?? typed(schema, api)), fields(schema, api))));
}

function answers(operation, api) {
  const rows = Object.entries(operation.responses).map(([status, answer]) => {
    const [kind, { schema } = {}] = Object.entries(answer.content ?? {})[0] ?? ["no body"];
    return [make("code", null, status), make("div", null, words(answer.description), SUCCESS.test(status) ? fields(schema, api) : null), make("code", null, kind)];
  });
  return make("section", null, make("h3", null, "Answers"), table(["Status", "Meaning", "Body"], rows, ""));
}

// A first command for this gateway; replace the names in braces.
function curl(path, method, operation) {
  const base = new URL("..", location.href).href.replace(/\/$/, "");
  const parts = [`curl -sS '${base}${path}'`];
  if (method !== "get") parts.push(`-X ${method.toUpperCase()}`);
  if (operation.security?.length) parts.push('-H "Authorization: Bearer $TOKEN"');
  if (operation.requestBody) parts.push("--json @body.json");
  return make("pre", { tabindex: "0" }, parts.join(" \\\n  "));
}

function shown(path, method, operation, api) {
  const details = make("details", { class: "operation", id: anchor(operation) },
    make("summary", null, make("span", { class: `method ${method}` }, method.toUpperCase()), make("code", { class: "path" }, path),
      make("span", { class: "soft" }, operation.summary)),
    make("div", null, make("p", null, words(operation.description)), curl(path, method, operation),
      parameters(operation, api), body(operation, api), answers(operation, api)));
  return details;
}

function problems(operations, api) {
  const found = operations.flatMap(({ operation }) => Object.values(operation.responses)).map((answer) => answer.content?.["application/problem+json"]).find(Boolean);
  if (!found) return [];
  return [make("h2", { id: "errors" }, "Errors"), make("p", null, "A refused request gets a problem (RFC 9457) with its remedy:"), fields(found.schema, api)];
}

async function load() {
  const view = document.getElementById("view");
  try {
    const answer = await fetch("../openapi.json");
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const api = await answer.json();
    const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
      METHODS.filter((method) => methods[method]).map((method) => ({ path, method, operation: methods[method] })));
    const tags = [...new Set(operations.map(({ operation }) => operation.tags?.[0] ?? "other"))];
    view.replaceChildren(
      make("p", null, words(api.info.description)),
      make("p", { class: "soft" }, `Version ${api.info.version}. Paths under /v1 need the header `, make("code", null, "Authorization: Bearer TOKEN"), "; fields and parameters marked * are required."),
      make("ul", { class: "contents" }, [...tags, "errors"].map((tag) => make("li", null, make("a", { href: `#${tag}` }, tag)))),
      ...tags.flatMap((tag) => [make("h2", { id: tag }, tag), ...operations.filter(({ operation }) => (operation.tags?.[0] ?? "other") === tag)
        .map(({ path, method, operation }) => shown(path, method, operation, api))]),
      ...problems(operations, api));
    open();
  } catch (error) {
    view.replaceChildren(make("p", { class: "error", role: "alert" }, `The description cannot be read: ${error.message}`));
  }
}

// Opens the operation that the address names.
function open() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named?.tagName === "DETAILS") named.open = true;
  named?.scrollIntoView();
}

addEventListener("hashchange", open);
load();
