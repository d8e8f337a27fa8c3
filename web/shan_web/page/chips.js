// What is asked beside the words, as chips: phrases with weights, photos, filters; and the form that adds one.

import { filterParts, filterText } from "./address.js";
import { columnName, filled, number, texts } from "./texts.js";

const holder = document.getElementById("chips"), adder = document.getElementById("adder");
let changed = () => {}, columns = [];

/** `change(edit)` is called with a function that changes what is asked. */
export function prepare(change) {
  changed = change;
  for (const button of document.querySelectorAll("[data-add]")) {
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-controls", "adder");
    button.addEventListener("click", () => toggle(button));
  }
  adder.addEventListener("keydown", event => { if (event.key === "Escape") { event.stopPropagation(); shut(true); } });
}

export function setColumns(facts) {
  columns = facts;
}

/** Show the chips of what is asked. */
export function show(asked) {
  const chips = [];
  if (asked.upload) chips.push(chip(texts.photo_chip, "photo", edit => { edit.upload = ""; }));
  if (asked.like) chips.push(chip(filled(texts.like_chip, { id: asked.like }), "photo", edit => { edit.like = ""; }));
  asked.unlike.forEach((id, place) => chips.push(chip(filled(texts.unlike_chip, { id }), "against",
    edit => { edit.unlike.splice(place, 1); })));
  for (const list of ["with", "without"]) asked[list].forEach((text, place) => chips.push(phrase(list, text, place)));
  asked.filter.forEach((text, place) => chips.push(chip(filterName(text), "filter",
    edit => { edit.filter.splice(place, 1); })));
  if (asked.near) chips.push(chip(nearName(asked.near), "filter", edit => { edit.near = ""; }));
  holder.replaceChildren(...chips);
}

function chip(text, kind, remove, ...more) {
  const made = document.createElement("span"), name = document.createElement("span");
  made.className = `chip ${kind}`;
  name.className = "name";
  name.textContent = text;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "×";
  button.setAttribute("aria-label", filled(texts.remove, { what: text }));
  button.addEventListener("click", () => { changed(remove); document.getElementById("q").focus(); });
  made.append(name, ...more, button);
  return made;
}

function weighed(text, usual) {
  const found = /^(.*):(\d*\.?\d+)$/s.exec(text);
  return found && !/\d:\d+\s*$/.test(text) ? [found[1], Number(found[2])] : [text, usual];
}

function phrase(list, text, place) {
  const [words, weight] = weighed(text, list === "with" ? 1 : 0.4);
  const input = document.createElement("input");
  Object.assign(input, { type: "number", min: 0.1, max: 5, step: 0.1, value: weight, className: "weight" });
  input.setAttribute("aria-label", filled(texts.weight, { what: words }));
  input.addEventListener("change", () => {
    if (Number(input.value) > 0) changed(edit => { edit[list][place] = `${words}:${Number(input.value)}`; });
  });
  const sign = list === "with" ? texts.also : texts.without;
  return chip(`${sign} ${words}`, list === "with" ? "also" : "against", edit => { edit[list].splice(place, 1); }, input);
}

function filterName(text) {
  const [column, kind, first = "", second = ""] = filterParts(text), name = columnName(column);
  if (kind === "has") return filled(texts.has, { column: name, value: first });
  if (kind !== "range") return filled(texts.is, { column: name, value: first });
  const sentence = first && second ? texts.range : first ? texts.at_least : texts.at_most;
  return filled(sentence, { column: name, from: first, to: second });
}

function nearName(text) {
  const [latitude = "", longitude = "", distance = ""] = text.split(",");
  return filled(texts.near, { latitude, longitude, distance });
}

// The form below the query: a phrase, or a column with its values.

function toggle(button) {
  const open = button.getAttribute("aria-expanded") === "true";
  shut(false);
  if (open) return;
  button.setAttribute("aria-expanded", "true");
  adder.replaceChildren(...(button.dataset.add === "filter" ? filterFields() : phraseFields(button.dataset.add)));
  adder.hidden = false;
  adder.querySelector("input, select").focus();
}

function shut(focus) {
  const open = document.querySelector('[data-add][aria-expanded="true"]');
  open?.setAttribute("aria-expanded", "false");
  adder.hidden = true;
  if (focus) open?.focus();
}

function field(label, properties) {
  const made = document.createElement("label"), { choices, ...rest } = properties;
  const input = document.createElement(rest.tag ?? "input");
  delete rest.tag;
  Object.assign(input, rest);
  made.append(label, input);
  if (choices?.length) {
    const list = document.createElement("datalist");
    list.id = `choices-${Math.random().toString(36).slice(2)}`;
    list.append(...choices.map(value => Object.assign(document.createElement("option"), { value })));
    input.setAttribute("list", list.id);
    made.append(list);
  }
  return made;
}

function ends() {
  const add = Object.assign(document.createElement("button"), { className: "plain", textContent: texts.add });
  const cancel = Object.assign(document.createElement("button"), { className: "plain", type: "button" });
  cancel.textContent = texts.cancel;
  cancel.addEventListener("click", () => shut(true));
  return [add, cancel];
}

function submitted(edit) {
  adder.onsubmit = event => {
    event.preventDefault();
    const change = edit();
    shut(true);
    if (change) changed(change);
  };
}

function phraseFields(list) {
  const words = field(list === "with" ? texts.also_label : texts.without_label, { type: "text", maxLength: 300 });
  submitted(() => {
    const text = words.querySelector("input").value.trim();
    return text && (edit => { edit[list].push(text); });
  });
  return [words, ...ends()];
}

function filterFields() {
  const places = columns.some(one => one.name === "latitude") ? [["near", texts.near_column]] : [];
  const named = columns.filter(one => !["latitude", "longitude"].includes(one.name));
  const choices = [...named.map(one => [one.name, columnName(one.name)]), ...places];
  const column = field(texts.column, { tag: "select" }), select = column.querySelector("select");
  select.append(...choices.map(([value, text]) => new Option(text, value)));
  const values = document.createElement("span");
  values.className = "values";
  const renew = () => values.replaceChildren(...valueFields(select.value));
  select.addEventListener("change", renew);
  renew();
  return [column, values, ...ends()];
}

function valueFields(name) {
  if (name === "near") {
    const given = [field(texts.latitude, number_(-90, 90)), field(texts.longitude, number_(-180, 180)),
      field(texts.distance, { type: "text", value: "5km", size: 6, pattern: "[0-9.]+ ?(km|m|mi)" })];
    submitted(() => {
      const text = valuesOf(given);
      return text.every(Boolean) && (edit => { edit.near = text.join(","); });
    });
    return given;
  }
  const facts = columns.find(one => one.name === name);
  if (name === "taken" || facts.type !== "TEXT") {
    const type = name === "taken" ? "date" : "number";
    const end = value => name === "taken" ? String(value).slice(0, 10) : value;
    const hint = value => type === "number" ? number(value) : "";
    const given = [[texts.from, facts.least], [texts.to, facts.most]].map(([label, value]) =>
      field(label, { type, step: "any", min: end(facts.least), max: end(facts.most), placeholder: hint(value) }));
    submitted(() => {
      const [from, to] = valuesOf(given);
      return (from || to) && (edit => { edit.filter.push(filterText(name, "range", from, to)); });
    });
    return given;
  }
  const value = field(texts.value, { type: "text", maxLength: 200, choices: facts.values });
  submitted(() => {
    const [text] = valuesOf([value]);
    const kind = name === "path" ? "folder" : facts.values.includes(text) ? "is" : "has";
    return text && (edit => { edit.filter.push(filterText(name, kind, text)); });
  });
  return [value];
}

const number_ = (min, max) => ({ type: "number", min, max, step: "any", required: true });
const valuesOf = fields => fields.map(one => one.querySelector("input").value.trim());
