// A photo large, with its regions, why it was found, what is known of it, and what can be done with it.

import { address, get, post } from "./api.js";
import { columnName, filled, parts, texts } from "./texts.js";

const dialog = document.getElementById("lightbox"), large = document.getElementById("large");
const LARGE = 2048;
let shown = null, act = {};

/** What the buttons do: `close`, `step`, `like`, `unlike`, `say`, and what `where` says of the gallery. */
export function prepare(actions) {
  act = actions;
  dialog.addEventListener("cancel", event => { event.preventDefault(); act.close(); });
  dialog.addEventListener("click", event => { if (event.target === dialog) act.close(); });
  dialog.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = { ArrowLeft: () => act.step(-1), ArrowRight: () => act.step(1), m: like, x: unlike, c: copy };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
}

export const isOpen = () => dialog.open;

/** Show a hit; `answer` is the search that found it, `place` whether there are photos before and after it. */
export function show(hit, answer, place) {
  shown = { hit, answer };
  large.replaceChildren(photo(hit), side(hit, answer, place));
  if (!dialog.open) dialog.showModal();
  large.querySelector(".close").focus();
}

export function hide() {
  if (dialog.open) dialog.close();
  shown = null;
}

const like = () => act.like(shown.hit);
const unlike = () => act.unlike(shown.hit);

async function copy() {
  const { path, id } = shown.hit;
  try {
    await navigator.clipboard.writeText(path || id);
    act.say(texts.copied);
  } catch {
    act.say(filled(texts.not_copied, { path: path || id }));
  }
}

async function openFolder() {
  try {
    await post("/api/open", { gallery: shown.answer.gallery, id: shown.hit.id });
    act.say(texts.opened);
  } catch (error) {
    act.say(error.message);
  }
}

async function closer() {
  const { hit, answer } = shown;
  act.say(texts.closer_wait);
  try {
    const found = await get("/api/explain", { gallery: answer.gallery, id: hit.id, q: act.words(), fine: true });
    if (shown?.hit !== hit) return;
    Object.assign(hit, { words: found.hits[0].words });
    act.say("");
    large.replaceChild(photo(hit), large.querySelector(".photo"));
    large.querySelector(".words")?.replaceWith(words(hit));
  } catch (error) {
    act.say(error.message);
  }
}

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "class") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter(child => child !== null));
  return element;
}

function photo(hit) {
  const frame = make("div", { class: "photo" });
  const image = make("img", { alt: hit.id });
  image.src = address("/api/thumbnail", { gallery: act.gallery(), id: hit.id, side: LARGE, v: hit.version });
  image.addEventListener("error", () => frame.replaceChildren(make("div", { class: "missing" }, texts.no_preview)));
  frame.append(image);
  if (hit.width > 0 && hit.height > 0) {
    const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", `0 0 ${hit.width} ${hit.height}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const draw = (box, id, word, ...classes) => {
      const [left, top, right, bottom] = box, region = document.createElementNS(space, "rect");
      const given = { id, x: left, y: top, width: right - left, height: bottom - top };
      for (const [name, value] of Object.entries(given)) region.setAttribute(name, value);
      region.dataset.word = word;
      region.classList.add("drawn", ...classes);
      svg.append(region);
    };
    hit.words.forEach((word, place) => {
      if (word.box) draw(word.box, `large-${place}`, word.word, `c${place % 3}`);
    });
    hit.written.forEach((line, place) => draw(line.box, `written-${place}`, line.text));
    frame.append(svg);
    frame.style.setProperty("--shape", hit.width / hit.height);
  }
  return frame;
}

function words(hit) {
  return make("div", { class: "words" }, ...hit.words.map((word, place) => word.box
    ? make("button", { type: "button", class: `word c${place % 3}`, "data-region": `large-${place}`,
      "data-word": word.word }, word.word, make("small", {}, ` ${word.weight.toFixed(2)}`))
    : make("span", { class: "word" }, word.word)));
}

/** The parts of a score with their lengths; what counts against a photo goes to the left. */
function owes(hit, names) {
  const values = hit.step_scores.map((value, place) => [names[place] ?? "", value]);
  if (hit.hubness !== null && hit.hubness !== undefined) values.push(["hubness", -hit.hubness]);
  const most = Math.max(...values.map(([, value]) => Math.abs(value)), 1e-9);
  return make("table", { class: "parts" }, make("tbody", {}, ...values.map(([name, value]) => {
    const bar = make("span", { class: `part ${name}${value < 0 ? " against" : ""}`, "aria-hidden": "true" });
    bar.style.width = `${100 * Math.abs(value) / most}%`;
    const head = make("th", { scope: "row" }, parts[name] ?? name);
    return make("tr", {}, head, make("td", {}, bar), make("td", { class: "number" }, value.toFixed(2)));
  })));
}

function about(hit) {
  const rows = [];
  if (hit.width > 0) rows.push(["", filled(texts.pixels, hit)]);
  for (const [name, value] of Object.entries(hit.metadata)) {
    if (value !== null && !["width", "height"].includes(name)) rows.push([columnName(name), String(value)]);
  }
  if (hit.path) rows.push([texts.path, hit.path]);
  return make("dl", { class: "about" }, ...rows.map(([name, value]) =>
    make("div", {}, make("dt", {}, name || texts.about), make("dd", {}, value))));
}

function side(hit, answer, place) {
  const button = (text, does, properties = {}) =>
    make("button", { type: "button", class: "plain", onclick: does, ...properties }, text);
  const scored = Boolean(answer.query), likely = hit.probability;
  const score = scored && make("p", { class: "score" },
    likely === null ? `${texts.score} ${hit.score.toFixed(2)}` : `${Math.round(100 * likely)} %`,
    make("small", {}, likely === null ? "" : ` ${texts.likely}`));
  const close = button("×", () => act.close(), { class: "round close", "aria-label": texts.close });
  const original = address("/api/original", { gallery: answer.gallery, id: hit.id });
  const asksWords = Boolean(act.words());
  return make("div", { class: "side" },
    make("div", { class: "bar" },
      button("‹", () => act.step(-1), { class: "round", "aria-label": texts.previous, disabled: !place.before }),
      button("›", () => act.step(1), { class: "round", "aria-label": texts.next, disabled: !place.after }),
      make("span", { class: "rank" }, scored ? `#${hit.rank}` : ""), close),
    make("h2", { id: "lightbox-id" }, hit.id),
    score || null,
    hit.step_scores.length ? owes(hit, answer.score_parts) : null,
    hit.words.length ? make("h3", {}, texts.words) : null,
    hit.words.length ? words(hit) : null,
    hit.seen.length ? make("p", { class: "steps" },
      `${texts.seen} ${hit.seen.map(one => `${one.name} ${Math.round(100 * one.probability)} %`).join(", ")}`) : null,
    ...hit.written.map((line, place) => make("p", { class: "written" }, `${texts.written} `,
      make("q", { dir: "auto", tabindex: 0, "data-region": `written-${place}` }, line.text))),
    make("div", { class: "does" },
      button(texts.more_like, like), button(texts.without_this, unlike),
      hit.path ? button(texts.copy_path, copy) : null,
      hit.path && act.canOpen() ? button(texts.open_folder, openFolder) : null,
      hit.path ? make("a", { class: "plain", href: original, target: "_blank", rel: "noopener" }, texts.original) : null,
      asksWords && hit.path && hit.words.length ? button(texts.closer, closer) : null),
    about(hit));
}
