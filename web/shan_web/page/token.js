// The token that a server for others asks for, once: from the link, or typed.

import { enter } from "./api.js";
import { texts } from "./texts.js";

const $ = id => document.getElementById(id);
let entered = () => {};

/** `begin()` is called once the server answers: at once, or when the token is known. */
export function prepare(begin) {
  entered = begin;
  $("enter").addEventListener("submit", event => { event.preventDefault(); enterWith($("token").value.trim()); });
  $("asking").addEventListener("cancel", event => event.preventDefault());
  const token = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (location.hash) history.replaceState(history.state, "", location.pathname + location.search);
  if (token) enterWith(decodeURIComponent(token));
  else begin();
}

export function ask() {
  if (!$("asking").open) $("asking").showModal();
}

async function enterWith(token) {
  try {
    await enter(token);
    $("asking").close();
    entered();
  } catch (error) {
    ask();
    $("asking-wrong").textContent = error.status === 401 ? texts.token_wrong : error.message;
  }
}
