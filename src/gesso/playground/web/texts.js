// The page's words. Those of a model's form come from the API, in the same language.
import { device } from "./storage.js";

export const languages = JSON.parse(document.documentElement.dataset.languages);
let table = {};
let language = "en";

/** What the reader chose before, else the first of the browser's languages that is spoken here. */
export function preferred() {
  const known = (code) => code in languages;
  const wanted = navigator.languages.flatMap((code) => [code, code.split("-")[0]]);
  return [device.get("gesso.language"), ...wanted].find((code) => code && known(code)) ?? "en";
}

/** Speak *code* from now on; the words that stand in the page already are changed. */
export async function learn(code) {
  const answer = await fetch(new URL(`texts/${code}.json`, import.meta.url));
  table = await answer.json();
  language = code;
  document.documentElement.lang = code;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
}

export const current = () => language;

/** The sentence of *key*, its braces filled. */
export function t(key, values = {}) {
  return table[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** The sentence of *key*, or null where there is none. */
export const known = (key) => table[key] ?? null;

export const number = (value) => new Intl.NumberFormat(language).format(value);

export function moment(iso) {
  const at = new Date(iso);
  const isToday = at.toDateString() === new Date().toDateString();
  const day = isToday ? {} : { day: "numeric", month: "short" };
  return new Intl.DateTimeFormat(language, { ...day, hour: "2-digit", minute: "2-digit" }).format(at);
}

export function seconds(value) {
  const digits = value < 10 ? 1 : 0;
  const style = {
    style: "unit",
    unit: "second",
    unitDisplay: "short",
    minimumFractionDigits: 0,
    maximumFractionDigits: digits,
  };
  return new Intl.NumberFormat(language, style).format(value);
}
