// The justified grid: rows of one width, whose photos keep their shape.

const grid = document.getElementById("grid");

/** The shape of a photo, width by height; a square where it is not known. */
function shape(item) {
  const { width, height } = item.hit;
  return width > 0 && height > 0 ? Math.min(4, Math.max(0.4, width / height)) : 1;
}

function rowHeight(width) {
  return width < 500 ? 130 : width < 1000 ? 190 : width < 1800 ? 225 : 270;
}

let laid = 0;
const room = () => Math.floor(grid.getBoundingClientRect().width); // a pixel too much would break a row

/** Whether the grid has another width than when its photos got their places. */
export const hasResized = () => room() !== laid;

/** Give every photo its place. The last row is not stretched. */
export function layOut(items) {
  const width = laid = room(), gap = width < 500 ? 4 : 8, wanted = rowHeight(width);
  let row = [], sum = 0;
  const place = last => {
    const free = width - gap * (row.length - 1), full = free / sum;
    const height = last ? Math.min(full, wanted) : full;
    for (const item of row) {
      item.element.style.width = `${Math.floor(height * shape(item) * 100) / 100}px`;
      item.element.style.setProperty("--tall", `${Math.floor(height)}px`);
    }
    row = [];
    sum = 0;
  };
  for (const item of items) {
    row.push(item);
    sum += shape(item);
    if (wanted * sum + gap * (row.length - 1) >= width) place(false);
  }
  if (row.length) place(true);
}

/** The item that an arrow leads to. */
export function neighbour(items, from, key) {
  if (key === "ArrowLeft" || key === "ArrowRight") return items[from + (key === "ArrowRight" ? 1 : -1)];
  const box = items[from].element.getBoundingClientRect(), middle = box.left + box.width / 2;
  const down = key === "ArrowDown";
  let best = null, least = Infinity, row = null;
  for (let place = from + (down ? 1 : -1); place >= 0 && place < items.length; place += down ? 1 : -1) {
    const other = items[place].element.getBoundingClientRect();
    if (Math.abs(other.top - box.top) < 2) continue;
    row ??= other.top;
    if (Math.abs(other.top - row) > 2) break;
    const distance = Math.abs(other.left + other.width / 2 - middle);
    if (distance < least) { least = distance; best = items[place]; }
  }
  return best;
}

/** Let Tab reach one photo of the grid, from which arrows lead to the others. */
export function focusable(items, current) {
  items.forEach((item, place) => { item.open.tabIndex = place === current ? 0 : -1; });
}

/** Calls `more()` where the end of the grid comes near. */
export class End {
  #mark = document.getElementById("more");
  #seen;

  constructor(more) {
    this.#seen = new IntersectionObserver(seen => { if (seen.some(one => one.isIntersecting)) more(); },
      { rootMargin: "1200px" });
  }

  /** Look anew: the end may have stayed near while photos were added. */
  look() {
    this.#seen.unobserve(this.#mark);
    this.#seen.observe(this.#mark);
  }
}
