// What the grid shows: photos, each with its link and a bar of the parts of its score; or sentences.

import { filled, texts } from "./texts.js";

/** A hit's tile: its `card` of the server, made a link. `opened(item)` and `focused(item)` are called by the user. */
export function tile(hit, answer, card, { opened, focused }) {
  const element = document.createElement("li"), open = document.createElement("a");
  element.className = "hit tile";
  element.innerHTML = card; // of this server, with what users wrote as text
  const score = element.querySelector("meter")?.getAttribute("aria-label") ?? "";
  const name = filled(score ? texts.open_scored : texts.open, { id: hit.id, score });
  open.className = "open";
  open.href = `?${new URLSearchParams({ gallery: answer.gallery, photo: hit.id })}`;
  open.tabIndex = -1;
  const alike = hit.alike.length ? `, ${filled(texts.alike, { count: hit.alike.length })}` : "";
  open.setAttribute("aria-label", name + alike);
  const photo = element.querySelector(".photo");
  photo.append(open);
  for (const word of element.querySelectorAll("button.word")) word.tabIndex = -1;
  for (const word of element.querySelectorAll("[data-word]")) colour(word, wordsOf(answer));
  const image = photo.querySelector("img");
  image?.addEventListener("error", () => {
    const missing = Object.assign(document.createElement("div"), { className: "missing", textContent: texts.no_preview });
    image.replaceWith(missing);
  });
  image?.addEventListener("load", () => image.classList.add("here"));
  if (hit.alike.length) {
    const count = Object.assign(document.createElement("span"), { className: "count", ariaHidden: "true" });
    count.textContent = `+${hit.alike.length}`;
    photo.append(count);
  }
  if (answer.query) element.append(owes(hit, answer.score_parts, element.querySelector("meter")));
  const item = { hit, element, open };
  open.addEventListener("click", event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    opened(item);
  });
  open.addEventListener("focus", () => focused(item));
  return item;
}

/** A bar as long as the hit is good, divided into the parts of its score. */
function owes(hit, names, meter) {
  const whole = document.createElement("span"), likely = Number(meter?.value ?? 0);
  whole.className = "owes";
  whole.setAttribute("aria-hidden", "true");
  const filledPart = document.createElement("span");
  filledPart.style.width = `${Math.max(3, 100 * likely)}%`;
  hit.step_scores.forEach((value, place) => {
    if (value <= 0) return;
    const part = document.createElement("span");
    part.className = `part ${names[place] ?? ""}`;
    part.style.flexGrow = value;
    filledPart.append(part);
  });
  whole.append(filledPart);
  return whole;
}

/** The words of the query that have regions, in order. */
export const wordsOf = answer => [...new Set((answer.hits[0]?.words ?? []).map(word => word.word))];

/** Give a word or its region the word's colour, which is the same in every photo. */
export function colour(element, words) {
  element.classList.remove("c0", "c1", "c2");
  element.classList.add(`c${Math.max(0, words.indexOf(element.dataset.word)) % 3}`);
}

/** The sentences of an answer, each with a bar of how well it fits. */
export function sentences(answer) {
  const best = Math.max(...answer.hits.map(hit => hit.score), 1e-9);
  return answer.hits.map(hit => {
    const line = document.createElement("li"), meter = document.createElement("meter");
    meter.value = Math.max(0, hit.score / best);
    meter.setAttribute("aria-label", `${texts.score} ${hit.score.toFixed(2)}`);
    line.append(meter, hit.caption);
    return line;
  });
}
