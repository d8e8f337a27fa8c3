// A word lights up its region in its photo: what the report and the page share.
"use strict";
(() => {
  let picked = null, chip = null;
  function pick(rectangle, by = null) {
    if (picked) { picked.classList.remove("picked"); picked.ownerSVGElement.classList.remove("picking"); }
    if (chip) chip.classList.remove("lit");
    picked = rectangle;
    chip = by;
    if (picked) { picked.classList.add("picked"); picked.ownerSVGElement.classList.add("picking"); }
    if (chip) chip.classList.add("lit");
  }
  // The smallest region of a card under the pointer, as regions overlap.
  function regionAt(event) {
    const photo = event.target.closest(".photo");
    let best = null, least = Infinity;
    for (const rectangle of photo ? photo.querySelectorAll("rect") : []) {
      const box = rectangle.getBoundingClientRect(), area = box.width * box.height;
      const within = event.clientX >= box.left && event.clientX <= box.right
        && event.clientY >= box.top && event.clientY <= box.bottom;
      if (within && area < least) { best = rectangle; least = area; }
    }
    return best;
  }
  function pickByWord(event) {
    const word = event.target.closest("[data-region]");
    if (word) pick(document.getElementById(word.dataset.region));
    else if (event.type !== "pointerover") pick(null);
  }
  for (const kind of ["pointerover", "focusin", "click"]) document.addEventListener(kind, pickByWord);
  document.addEventListener("pointermove", event => {
    if (event.pointerType === "touch" || !event.target.closest(".photo")) return;
    const region = regionAt(event);
    if (region !== picked) {
      const word = region && region.closest(".hit")?.querySelector(`[data-region="${region.id}"]`);
      pick(region, word || null);
      if (region) region.closest(".photo").title = region.dataset.word;
    }
  });
  for (const kind of ["pointerout", "focusout"]) document.addEventListener(kind, event => {
    if (event.target.closest("[data-region], .photo")) pick(null);
  });
  document.addEventListener("keydown", event => { if (event.key === "Escape") pick(null); });
})();
