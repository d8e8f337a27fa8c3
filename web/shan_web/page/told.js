// What is said about an answer: how it was found, what its colours mean, what does not fit; and passing messages.

import { colour, wordsOf } from "./tiles.js";
import { filled, number, parts, texts } from "./texts.js";

const $ = id => document.getElementById(id);
let searchAgain = () => {}, toasting = 0;

/** `again()` is called where someone wants to search once more after a failure. */
export function prepare(again) {
  searchAgain = again;
}

/** Tell how an answer was found and what is to be known of it. */
export function tell(answer) {
  const milliseconds = number(Math.round(answer.milliseconds));
  const counts = { milliseconds, photos: number(answer.photos), matching: number(answer.matching) };
  const some = answer.matching !== answer.photos;
  const sentence = answer.query ? (some ? texts.found_some : texts.found) : some ? texts.some : texts.all;
  $("status").textContent = filled(sentence, counts);
  const seen = answer.scanned;
  $("status").title = seen ? filled(texts.stages, Object.fromEntries(
    Object.entries(seen).map(([name, value]) => [name, number(value)]))) : "";
  legend(answer);
  const said = [];
  if (!answer.matching) said.push(["warn", texts.no_match]);
  for (const { gallery, photos } of answer.missing) {
    said.push(["warn", filled(texts.missing, { gallery, photos: number(photos) })]);
  }
  if (answer.nothing_fits) {
    said.push(["warn", filled(texts.nothing_fits, { probability: answer.best_probability.toFixed(2) })]);
  }
  for (const [word, other] of Object.entries(answer.replaced_words)) said.push(["", filled(texts.replaced, { word, other })]);
  for (const word of answer.unknown_words) said.push(["", filled(texts.unknown, { word })]);
  for (const word of answer.unlearnt_words) said.push(["", filled(texts.unlearnt, { word })]);
  if (answer.words_left_out) said.push(["", filled(texts.left_out, { count: answer.words_left_out })]);
  for (const hint of answer.hints) said.push(["", hint]);
  note(...said);
}

/** Show these sentences, each as [kind, text], in place of those before. */
export function note(...said) {
  $("notes").replaceChildren(...said.map(([kind, text]) => {
    const line = document.createElement(kind === "again" ? "button" : "p");
    line.className = kind === "again" ? "plain again" : kind;
    line.textContent = text;
    if (kind === "again") line.addEventListener("click", () => searchAgain());
    return line;
  }));
}

/** The words of the query, each of which lights up its regions in every photo; and what the bars' colours mean. */
function legend(answer) {
  const words = wordsOf(answer);
  $("legend").hidden = !words.length;
  $("legend").replaceChildren(...words.map(word => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "word" });
    button.textContent = button.dataset.word = word;
    colour(button, words);
    const light = on => {
      for (const region of $("grid").querySelectorAll("rect")) {
        if (region.dataset.word === word) region.classList.toggle("picked", on);
      }
    };
    for (const kind of ["pointerenter", "focus"]) button.addEventListener(kind, () => light(true));
    for (const kind of ["pointerleave", "blur"]) button.addEventListener(kind, () => light(false));
    return button;
  }));
  $("owes").hidden = !answer.query;
  $("owes").replaceChildren(...answer.score_parts.map(name => {
    const line = document.createElement("li"), mark = document.createElement("span");
    mark.className = `part ${name}`;
    line.append(mark, parts[name] ?? name);
    return line;
  }));
}

/** Show a message for some seconds. */
export function say(text) {
  clearTimeout(toasting);
  (document.querySelector("dialog[open]") ?? document.body).append($("toast")); // a dialog covers all else
  $("toast").textContent = text;
  $("toast").classList.toggle("shown", Boolean(text));
  toasting = setTimeout(() => $("toast").classList.remove("shown"), 4000);
}
