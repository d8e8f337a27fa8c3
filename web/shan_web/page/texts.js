// The page's words, which the report shares, and how their gaps are filled.
const all = await (await fetch("/static/texts.json")).json();

export const texts = all.page;
export const parts = all.parts;

/** A sentence with its gaps {name} filled. */
export function filled(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (gap, name) => values[name] ?? gap);
}

/** A number as people write it. */
export function number(value) {
  return Number(value).toLocaleString("en");
}

/** What a column is called. */
export function columnName(name) {
  return texts.columns[name] ?? name;
}
