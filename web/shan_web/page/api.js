// Requests to the server. A file name's bytes that are no UTF-8 arrive as lone surrogates and go back as those bytes.

const held = { token: document.querySelector('meta[name="token"]').content };

/** What the server refuses, as it says it. */
export class Refused extends Error {
  constructor(status, sentence, wait) {
    super(sentence);
    this.status = status;
    this.wait = wait;
  }
}

function encoded(value) {
  const odd = /[\udc80-\udcff](?<![\ud800-\udbff][\udc80-\udcff])/g;
  return String(value).split(odd).map(encodeURIComponent).reduce((whole, part, place) => {
    const bytes = String(value).match(odd) ?? [];
    return place ? `${whole}%${(bytes[place - 1].charCodeAt(0) - 0xdc00).toString(16)}${part}` : part;
  }, "");
}

/** An address with parameters; empty ones are left out, lists are repeated. */
export function address(route, parameters) {
  const pairs = [];
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") pairs.push(`${encodeURIComponent(name)}=${encoded(one)}`);
    }
  }
  return pairs.length ? `${route}?${pairs.join("&")}` : route;
}

async function answered(response) {
  const answer = await response.json().catch(() => ({ error: response.statusText }));
  if (!response.ok) throw new Refused(response.status, answer.error, Number(response.headers.get("retry-after")) || 0);
  return answer;
}

/** The JSON that an address answers. Raises Refused. */
export async function get(route, parameters = {}, signal = undefined) {
  return answered(await fetch(address(route, parameters), { signal }));
}

/** Questions of which only the last one counts. */
export class Questions {
  turn = 0;
  #busy = null;

  /** Begin another question: what is still being asked is given up. */
  next() {
    this.#busy?.abort();
    this.#busy = new AbortController();
    return ++this.turn;
  }

  /** The JSON that an address answers, or null where another question has begun meanwhile. Raises Refused. */
  async get(route, parameters) {
    const turn = this.next();
    try {
      const answer = await get(route, parameters, this.#busy.signal);
      return turn === this.turn ? answer : null;
    } catch (error) {
      if (turn === this.turn) throw error;
      return null;
    }
  }
}

/** The JSON that a POST answers, with the token of the page. Raises Refused. */
export async function post(route, parameters = {}, body = undefined) {
  return answered(await fetch(address(route, parameters), {
    method: "POST", body, headers: { "x-shan-token": held.token },
  }));
}

/** Give the server its token once; it answers with a cookie. Raises Refused where it is wrong. */
export async function enter(token) {
  await answered(await fetch("/api/session", { method: "POST", headers: { authorization: `Bearer ${token}` } }));
  const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
  held.token = page.querySelector('meta[name="token"]').content;
}
