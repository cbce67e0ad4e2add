// Shows /openapi.json, and sends requests by hand. It makes elements and texts,
// never markup, of what the description says.

const el = (name, attributes = {}, ...children) => {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) {
    if (k === "onclick" || k === "onsubmit" || k === "ontoggle") e[k] = v;
    else if (v !== false && v !== undefined) e.setAttribute(k, v === true ? "" : v);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
};

// Texts of the description have `code`, **strong** and paragraphs.
const rich = (text) =>
  (text ?? "").split(/\n\s*\n/).map((paragraph) =>
    el("p", {}, ...paragraph.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) =>
      part.startsWith("`") ? el("code", {}, part.slice(1, -1))
        : part.startsWith("**") ? el("strong", {}, part.slice(2, -2))
          : part)));

let spec;
const resolve = (schema) => {
  while (schema?.$ref) schema = schema.$ref.split("/").slice(1).reduce((o, k) => o[k], spec);
  return schema ?? {};
};

const typeOf = (schema) => {
  const s = resolve(schema);
  const types = [s.type].flat().filter((t) => t && t !== "null");
  let text = types.join(" or ") || "any";
  if (types[0] === "array") text = `list of ${typeOf(s.items)}`;
  if (s.additionalProperties?.type || s.additionalProperties?.$ref) text = `map of ${typeOf(s.additionalProperties)}`;
  if (s.format && !s.format.startsWith("int")) text += `, ${s.format}`;
  return text;
};

const limits = (schema) => {
  const s = resolve(schema);
  const out = [];
  if (s.enum) out.push(s.enum.join(" | "));
  if (s.minimum !== undefined || s.maximum !== undefined) out.push(`${s.minimum ?? ""} … ${s.maximum ?? ""}`);
  if (s.maxLength !== undefined) out.push(`at most ${s.maxLength} characters`);
  if (s.maxItems !== undefined) out.push(`at most ${s.maxItems}`);
  if (s.default !== undefined) out.push(`default ${JSON.stringify(s.default)}`);
  return out.join("; ");
};

const row = (name, schema, required, description, depth = 0) =>
  el("tr", {},
    el("td", { class: depth ? "in" : "" }, el("code", {}, `${"  ".repeat(depth)}${name}`), required ? el("small", {}, " required") : null),
    el("td", {}, el("small", {}, typeOf(schema))),
    el("td", {}, description ?? "", limits(schema) ? el("small", {}, ` ${limits(schema)}`) : null));

const properties = (schema, depth = 0, seen = []) => {
  let s = resolve(schema);
  if (s.type === "array") s = resolve(s.items);
  if (seen.includes(s)) return [];
  return Object.entries(s.properties ?? {}).flatMap(([name, p]) => [
    row(name, p, s.required?.includes(name), p.description ?? resolve(p).description, depth),
    ...properties(p, depth + 1, [...seen, s]),
  ]);
};

const example = (schema, seen = []) => {
  const s = resolve(schema);
  if (s.examples?.length) return s.examples[0];
  if (s.default !== undefined) return s.default;
  if (s.enum) return s.enum[0];
  if (seen.includes(s)) return null;
  switch ([s.type].flat()[0]) {
    case "object": {
      const out = {};
      for (const [name, p] of Object.entries(s.properties ?? {})) {
        if (s.required?.includes(name)) out[name] = example(p, [...seen, s]);
      }
      return out;
    }
    case "array": return [];
    case "integer": case "number": return s.minimum ?? 0;
    case "boolean": return false;
  }
  return s.format === "date-time" ? new Date().toISOString() : "";
};

// The key stays in this page's memory.
let key = "";

const tryIt = (path, method, op) => {
  const fields = new Map();
  const form = el("form", {});
  const field = (name, label, value = "") => {
    const input = el("input", { name, value, autocomplete: "off", spellcheck: "false" });
    fields.set(name, input);
    form.append(el("label", {}, el("span", {}, label), input));
  };
  const secret = el("input", { type: "password", autocomplete: "off", value: key });
  form.append(el("label", {}, el("span", {}, "API key"), secret));
  for (const p of op.parameters ?? []) field(`${p.in}:${p.name}`, p.name);
  const content = op.requestBody?.content?.["application/json"];
  const body = content && el("textarea", { spellcheck: "false" });
  if (body) {
    body.value = JSON.stringify(example(content.schema), null, 2);
    form.append(el("label", {}, el("span", {}, "Body"), body));
  }
  const answer = el("pre", { hidden: true });
  form.append(el("div", {}, el("button", {}, "Send")), answer);
  form.onsubmit = async (event) => {
    event.preventDefault();
    key = secret.value;
    let url = path;
    const query = new URLSearchParams();
    const headers = {};
    for (const [name, input] of fields) {
      const [where, ...rest] = name.split(":");
      const parameter = rest.join(":");
      if (where === "path") url = url.replace(`{${parameter}}`, encodeURIComponent(input.value));
      else if (input.value && where === "query") query.set(parameter, input.value);
      else if (input.value && where === "header") headers[parameter] = input.value;
    }
    if (key) headers["Authorization"] = `Bearer ${key}`;
    if (body) headers["Content-Type"] = "application/json";
    answer.hidden = false;
    answer.textContent = "…";
    try {
      const res = await fetch(url + (query.size ? `?${query}` : ""), { method, headers, body: body?.value, credentials: "omit" });
      answer.textContent = `${res.status} ${res.statusText}\n`;
      const etag = res.headers.get("ETag");
      if (etag) answer.textContent += `ETag: ${etag}\n`;
      const text = res.headers.get("Content-Type")?.includes("json") ? JSON.stringify(await res.json(), null, 2) : await res.text();
      answer.textContent += `\n${text}`;
    } catch (err) {
      answer.textContent = `The request failed: ${err.message}`;
    }
  };
  return form;
};

const curl = (path, method, op) => {
  const words = ["curl"];
  if (method !== "get") words.push("-X", method.toUpperCase());
  if (op["x-access"] !== "public") words.push(`-H "Authorization: Bearer $KEY"`);
  const content = op.requestBody?.content?.["application/json"];
  if (content) words.push("--json", `'${JSON.stringify(example(content.schema))}'`);
  return [...words, `'${location.origin}${path}'`].join(" ");
};

const operation = (path, method, op) => {
  const inside = el("div", { class: "body" });
  const fill = () => {
    if (inside.childNodes.length) return;
    const content = op.requestBody?.content?.["application/json"];
    const good = Object.entries(op.responses ?? {}).find(([status]) => status.startsWith("2"));
    const schema = Object.values(good?.[1].content ?? {})[0]?.schema;
    const answer = schema ? properties(schema) : [];
    inside.append(...rich(op.description));
    if (op.parameters?.length) {
      inside.append(el("h3", {}, "Parameters"), el("table", {}, ...op.parameters.map((p) =>
        row(p.name, p.schema, p.required, p.description ?? p.schema?.description))));
    }
    if (content) inside.append(el("h3", {}, "Body"), el("table", {}, ...properties(content.schema)));
    inside.append(el("h3", {}, `Answer: ${good?.[0] ?? ""} ${good?.[1].description ?? ""}`));
    if (answer.length) inside.append(el("table", {}, ...answer));
    inside.append(el("h3", {}, "Example"), el("pre", {}, curl(path, method, op)), tryIt(path, method, op));
  };
  const details = el("details", { ontoggle: fill },
    el("summary", {},
      el("span", { class: `method ${method}` }, method.toUpperCase()),
      el("span", { class: "path" }, path),
      el("span", { class: "what" }, op.summary ?? ""),
      el("span", { class: "access" }, op["x-access"] ?? "")),
    inside);
  return el("article", { id: op.operationId }, details);
};

const show = () => {
  document.getElementById("version").textContent = spec.info.version;
  document.getElementById("introduction").replaceChildren(...rich(spec.info.description));
  const main = document.getElementById("operations");
  const index = document.getElementById("index");
  main.replaceChildren();
  for (const tag of spec.tags) {
    const of = Object.entries(spec.paths).flatMap(([path, methods]) =>
      Object.entries(methods).filter(([, op]) => op.tags?.includes(tag.name)).map(([method, op]) => ({ path, method, op })));
    if (!of.length) continue;
    main.append(el("section", {}, el("h2", {}, tag.name), el("p", { class: "quiet" }, tag.description ?? ""),
      ...of.map(({ path, method, op }) => operation(path, method, op))));
    index.append(el("section", {}, el("h2", {}, tag.name),
      ...of.map(({ op }) => el("a", { href: `#${op.operationId}` }, op.summary))));
  }
  index.append(el("section", {}, el("h2", {}, "Refusals"), el("a", { href: "#refusals" }, "Types of problems")));
};

// jump opens what the address names.
const jump = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target?.querySelector(":scope > details");
  if (details) details.open = true;
  target?.scrollIntoView();
};

document.getElementById("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const link of document.querySelectorAll("#index a")) {
    const text = `${link.textContent} ${link.hash}`.toLowerCase();
    link.hidden = !words.every((w) => text.includes(w));
  }
});

try {
  spec = await (await fetch("/openapi.json")).json();
  show();
  addEventListener("hashchange", jump);
  jump();
} catch (err) {
  document.getElementById("operations").textContent = `The description cannot be read: ${err.message}`;
}
