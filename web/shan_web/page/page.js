// The page: what is asked, the answers, and what happens at a key or a click.

import * as bar from "./chips.js";
import * as box from "./lightbox.js";
import * as ownPhoto from "./own_photo.js";
import * as token from "./token.js";
import * as told from "./told.js";
import { LISTS, read, request, write } from "./address.js";
import { Questions, Refused, get, post } from "./api.js";
import { End, focusable, hasResized, layOut, neighbour } from "./grid.js";
import { filled, number, texts } from "./texts.js";
import { sentences, tile } from "./tiles.js";

const $ = id => document.getElementById(id);
const grid = $("grid"), q = $("q");
const TYPING = 180; // milliseconds without a key until a query is sent
const PAGE = 48;

const now = {
  asked: read(), galleries: [], canOpen: false, columns: [],
  items: [], answer: null, next: null, continued: 0, current: 0,
};
const end = new End(more), questions = new Questions();
let typing = 0;

// What is asked.

const gallery = () => now.galleries.find(one => one.name === now.asked.gallery) ?? now.galleries[0];
const holdsCaptions = () => gallery()?.kind === "captions";

/** Change what is asked by `edit`, put it into the address and search; words that are just being typed count. */
function change(edit, { replace = false } = {}) {
  clearTimeout(typing);
  now.asked.q = q.value;
  edit(now.asked);
  if (q.value !== now.asked.q) q.value = now.asked.q;
  write(now.asked, { replace });
  search();
}

/** Ask the server for the photos of what is asked. */
async function search() {
  bar.show(now.asked);
  document.title = now.asked.q ? `${now.asked.q} · ${texts.title}` : texts.title;
  now.next = null; // nothing goes on with the photos of the question before
  if (holdsCaptions()) return searchCaptions();
  const answer = await ask(...request(now.asked, now.columns, 0, PAGE));
  if (!answer) return;
  now.items = [];
  now.current = 0;
  grid.className = "photos";
  grid.setAttribute("aria-label", texts.grid_label);
  grid.replaceChildren();
  scrollTo({ top: 0 });
  add(answer);
  told.tell(answer);
  openNamed();
}

async function searchCaptions() {
  questions.next();
  now.items = [];
  grid.replaceChildren();
  grid.className = "sentences";
  grid.setAttribute("aria-label", texts.captions_label);
  for (const id of ["legend", "owes"]) $(id).hidden = true;
  $("status").textContent = texts.captions_lead;
  if (!now.asked.upload) return;
  const answer = await ask("/api/captions", { gallery: now.asked.gallery, upload: now.asked.upload });
  if (!answer) return;
  grid.replaceChildren(...sentences(answer));
  const milliseconds = number(Math.round(answer.milliseconds));
  $("status").textContent = filled(texts.found_captions, { milliseconds, photos: number(answer.captions) });
}

/** The answer, or null where another question has begun meanwhile or the server refuses. */
async function ask(route, given) {
  const slow = setTimeout(() => grid.classList.add("stale"), 250);
  const asking = questions.get(route, given), turn = questions.turn;
  try {
    const answer = await asking;
    if (answer) told.note();
    return answer;
  } catch (error) {
    refused(error);
    return null;
  } finally {
    clearTimeout(slow);
    if (turn === questions.turn) grid.classList.remove("stale");
  }
}

function refused(error) {
  if (error instanceof Refused && error.status === 401) return token.ask();
  const said = error instanceof Refused ? error.message : texts.failed;
  told.note(["warn", said], ...(error.status === 400 ? [] : [["again", texts.again]]));
  if (error.wait) setTimeout(() => { if ($("notes").querySelector(".again")) search(); }, 1000 * error.wait);
}

// What is found.

const onTile = {
  opened: openPhoto,
  focused(item) { now.current = now.items.indexOf(item); focusable(now.items, now.current); },
};

function add(answer) {
  now.answer = answer;
  now.next = answer.next;
  const known = new Set(now.items.map(item => item.hit.id));
  answer.hits.forEach((hit, place) => {
    if (!known.has(hit.id)) now.items.push(tile(hit, answer, answer.cards[place], onTile));
  });
  grid.append(...now.items.filter(item => !item.element.isConnected).map(item => item.element));
  layOut(now.items);
  focusable(now.items, now.current);
  end.look();
}

async function more() {
  const turn = questions.turn;
  if (now.next === null || now.continued === turn || holdsCaptions()) return;
  now.continued = turn;
  try {
    const answer = await get(...request(now.asked, now.columns, now.next, PAGE));
    if (turn === questions.turn) add(answer);
  } catch (error) {
    if (turn === questions.turn) refused(error);
  } finally {
    if (turn === questions.turn) now.continued = 0;
  }
}

// One photo.

function openPhoto(item) {
  now.asked.photo = item.hit.id;
  write(now.asked);
  showPhoto(item);
}

function showPhoto(item) {
  const place = now.items.indexOf(item);
  box.show(item.hit, item.answer ?? now.answer, { before: place > 0, after: place >= 0 && place + 1 < now.items.length });
}

/** Open the photo that the address names, or close what is open. */
async function openNamed() {
  const id = now.asked.photo;
  if (!id) return box.hide();
  const item = now.items.find(one => one.hit.id === id);
  if (item) return showPhoto(item);
  const { gallery: name, q: words } = now.asked;
  try {
    const answer = words.trim() ? await get("/api/explain", { gallery: name, id, q: words.trim() })
      : await get("/api/photos", { gallery: name, where: `id = '${id.replaceAll("'", "''")}'`, limit: 1 });
    if (answer.hits.length && now.asked.photo === id) showPhoto({ hit: answer.hits[0], answer });
  } catch (error) {
    refused(error);
  }
}

const actions = {
  gallery: () => now.asked.gallery,
  words: () => now.asked.q.trim(),
  canOpen: () => now.canOpen,
  say: told.say,
  close() {
    const item = now.items.find(one => one.hit.id === now.asked.photo);
    now.asked.photo = "";
    write(now.asked);
    box.hide();
    item?.open.focus();
  },
  step(by) {
    const item = now.items[now.items.findIndex(one => one.hit.id === now.asked.photo) + by];
    if (!item) return;
    now.asked.photo = item.hit.id;
    write(now.asked, { replace: true });
    showPhoto(item);
    item.element.scrollIntoView({ block: "nearest" });
    if (now.items.indexOf(item) > now.items.length - 8) more();
  },
  like(hit) {
    box.hide();
    change(asked => Object.assign(asked, { q: "", upload: "", like: hit.id, with: [], without: [], unlike: [], photo: "" }));
  },
  unlike(hit) {
    box.hide();
    change(asked => {
      asked.photo = "";
      if (asked.like === hit.id) asked.like = "";
      if (!asked.unlike.includes(hit.id)) asked.unlike.push(hit.id);
    });
  },
};

// A photo of one's own.

async function upload(file) {
  if (!file) return;
  grid.classList.add("stale");
  try {
    const { upload: name } = await post("/api/uploads", { gallery: now.asked.gallery }, file);
    change(asked => Object.assign(asked, { upload: name, like: "", photo: "" }));
  } catch (error) {
    grid.classList.remove("stale");
    refused(error);
  }
}

// Keys, typing, and the browser's own buttons.

function heedKeys() {
  q.addEventListener("input", () => {
    clearTimeout(typing);
    const replace = Boolean(now.asked.q);
    typing = setTimeout(() => change(asked => { asked.photo = ""; }, { replace }), TYPING);
  });
  $("query").addEventListener("submit", event => {
    event.preventDefault();
    change(() => {});
  });
  addEventListener("keydown", event => {
    const typed = event.target.closest?.("input, select, textarea"), held = event.ctrlKey || event.metaKey || event.altKey;
    if (held || document.querySelector("dialog[open]")) return;
    if (event.key === "ArrowDown" && event.target === q) { event.preventDefault(); now.items[0]?.open.focus(); return; }
    if (typed) return;
    const item = now.items[now.current], on = document.activeElement === item?.open;
    const keys = { "/": () => { q.focus(); q.select(); }, "?": () => $("help").showModal(),
      r: () => document.body.classList.toggle("regions") };
    if (on) Object.assign(keys, { m: () => actions.like(item.hit), x: () => actions.unlike(item.hit) });
    if (on && event.key.startsWith("Arrow")) {
      event.preventDefault();
      const next = neighbour(now.items, now.current, event.key);
      if (next) { next.open.focus(); } else if (event.key === "ArrowUp") q.focus();
    } else if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });
  $("keyboard").addEventListener("click", () => $("help").showModal());
  addEventListener("popstate", () => {
    const before = JSON.stringify({ ...now.asked, photo: "" });
    now.asked = read();
    q.value = now.asked.q;
    fixGallery();
    if (before === JSON.stringify({ ...now.asked, photo: "" })) openNamed();
    else chooseGallery().then(search, refused);
  });
  new ResizeObserver(() => { if (hasResized()) layOut(now.items); }).observe(grid);
}

// Galleries.

function fixGallery() {
  if (!now.galleries.some(one => one.name === now.asked.gallery)) now.asked.gallery = now.galleries[0].name;
}

async function chooseGallery() {
  $("gallery").value = now.asked.gallery;
  for (const button of document.querySelectorAll("[data-add]")) button.hidden = holdsCaptions();
  const { gallery: name } = now.asked;
  const facts = holdsCaptions() ? [] : (await get("/api/columns", { gallery: name })).columns;
  if (name !== now.asked.gallery) return; // another has been chosen meanwhile
  now.columns = facts;
  bar.setColumns(facts);
}

async function start() {
  let found;
  try {
    found = await get("/api/galleries");
    now.galleries = found.galleries;
    now.canOpen = found.can_open;
    fixGallery();
    $("gallery").replaceChildren(...found.galleries.map(one => new Option(`${one.name} (${number(one.size)})`, one.name)));
    $("gallery").hidden = found.galleries.length < 2;
    await chooseGallery();
  } catch (error) {
    refused(error);
    if (!found) return;
  }
  change(() => {}, { replace: true }); // with what has been typed meanwhile
}

$("gallery").addEventListener("change", () => {
  now.asked = { ...read(), q: q.value, gallery: $("gallery").value, upload: "", photo: "", like: "", near: "" };
  for (const list of LISTS) if (list === "filter" || list === "unlike") now.asked[list] = [];
  write(now.asked);
  chooseGallery().then(search, refused);
});
q.value ||= now.asked.q; // unless someone has begun to type
now.asked.q = q.value;
bar.prepare(change);
box.prepare(actions);
told.prepare(search);
ownPhoto.heed(upload);
heedKeys();
token.prepare(start);
