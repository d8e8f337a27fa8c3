// A photo of one's own: dropped on the page, pasted, or chosen.

const $ = id => document.getElementById(id);
const photoOf = items => [...(items ?? [])].find(one => one.type.startsWith("image/"));

/** Call `upload(file)` with each photo that is dropped, pasted or chosen. */
export function heed(upload) {
  let depth = 0;
  const shown = on => $("drop").classList.toggle("shown", on);
  addEventListener("dragenter", event => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    depth += 1;
    shown(true);
  });
  addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); shown(depth > 0); });
  addEventListener("dragover", event => event.preventDefault());
  addEventListener("drop", event => {
    event.preventDefault();
    depth = 0;
    shown(false);
    upload(photoOf(event.dataTransfer.files) ?? event.dataTransfer.files[0]);
  });
  addEventListener("paste", event => {
    const photo = photoOf(event.clipboardData?.files);
    if (photo) { event.preventDefault(); upload(photo); }
  });
  $("file").addEventListener("change", () => { upload($("file").files[0]); $("file").value = ""; });
}
