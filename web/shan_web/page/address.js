// What is asked, and how it stands in the address. An uploaded photo and the token never do.

export const LISTS = ["with", "without", "unlike", "filter"];
const SINGLE = ["gallery", "q", "like", "near", "photo"];

/** What the address asks. */
export function read() {
  const given = new URLSearchParams(location.search);
  const asked = { upload: history.state?.upload ?? "" };
  for (const name of SINGLE) asked[name] = given.get(name) ?? "";
  for (const name of LISTS) asked[name] = given.getAll(name);
  return asked;
}

/** Put what is asked into the address: as a new entry of the history, or in place of the last. */
export function write(asked, { replace = false } = {}) {
  const given = new URLSearchParams();
  for (const name of SINGLE) if (asked[name]) given.set(name, asked[name]);
  for (const name of LISTS) for (const value of asked[name]) given.append(name, value);
  const text = given.toString();
  const to = text ? `?${text}` : location.pathname;
  const state = { upload: asked.upload };
  if (to === (location.search || location.pathname) && history.state?.upload === asked.upload) return;
  history[replace ? "replaceState" : "pushState"](state, "", to);
}

/** A filter as the address has it: column, kind of condition, values. */
export function filterText(column, kind, ...values) {
  return [column, kind, ...values].map(encodeURIComponent).join(":");
}

/** The parts of a filter in the address. */
export function filterParts(text) {
  return text.split(":").map(part => { try { return decodeURIComponent(part); } catch { return part; } });
}

/** All filters as one SQL condition; empty without any. */
function condition(filters, columns) {
  return filters.map(text => one(filterParts(text), columns)).filter(Boolean).join(" AND ");
}

function one([column, kind, first = "", second = ""], columns) {
  const facts = columns.find(held => held.name === column);
  const name = `"${column.replaceAll('"', '""')}"`, numeric = facts && facts.type !== "TEXT";
  const value = text => numeric && text !== "" && isFinite(text) ? String(Number(text)) : `'${text.replaceAll("'", "''")}'`;
  const end = column === "taken" && /^\d{4}-\d\d-\d\d$/.test(second) ? `${second} 23:59:59` : second;
  if (kind === "is") return `${name} = ${value(first)}`;
  if (kind === "folder") return `substr(${name}, 1, ${[...first].length}) = ${value(first)}`;
  if (kind === "has") return `instr(lower(${name}), ${value(first.toLowerCase())}) > 0`;
  if (kind !== "range") return "";
  return [first && `${name} >= ${value(first)}`, end && `${name} <= ${value(end)}`].filter(Boolean).join(" AND ");
}

const isQuery = asked => Boolean(asked.q.trim() || asked.like || asked.upload || asked.with.length);

/** The route and the parameters that ask the server for `limit` photos after the first `skip`. */
export function request(asked, columns, skip, limit) {
  const where = condition(asked.filter, columns);
  const common = { gallery: asked.gallery, where, near: asked.near, skip, limit, cards: true };
  if (!isQuery(asked)) return ["/api/photos", common];
  const phrases = { q: asked.q.trim(), with: asked.with, without: asked.without };
  return ["/api/search", { ...common, ...phrases, like: asked.upload ? "" : asked.like, unlike: asked.unlike,
    upload: asked.upload, grouped: true }];
}
