// The bar on top: models, language, theme, account.
import { h, icon, speak } from "./dom.js";
import { device } from "./storage.js";
import * as texts from "./texts.js";
import { t } from "./texts.js";
import { token } from "./token.js";

const THEMES = ["auto", "light", "dark"];
const find = (id) => document.getElementById(id);

/** What a model costs, in words; "" where it costs nothing. */
export function priceOf({ base_price_usd: price, price_unit: unit, pricing_note: note }) {
  if (!price) return note;
  const sum = new Intl.NumberFormat(texts.current(), {
    style: "currency",
    currency: "USD",
    maximumFractionDigits: 4,
  }).format(price);
  return `${t(`price_${unit}`, { sum })} ${note}`;
}

/** The models to choose from, by category; those of the same name are told apart by their ids. */
export function drawModels(models) {
  const groups = Object.groupBy(models, ({ categories }) => categories[0] ?? "");
  const isAlone = (name) => models.filter((each) => each.display_name === name).length === 1;
  const words = ({ model_id: id, display_name: name }) => (isAlone(name) ? name : `${name} – ${id}`);
  const options = (group) => group.map((each) => h("option", { value: each.model_id }, words(each)));
  find("model").replaceChildren(
    ...Object.entries(groups).map(([name, group]) => h("optgroup", { label: name }, options(group))),
  );
}

/** Language, theme and account, as they are now. */
export function drawTools() {
  const languages = Object.entries(texts.languages).map(([code, name]) =>
    h("option", { value: code, lang: code }, name),
  );
  find("language").replaceChildren(...languages);
  find("language").value = texts.current();
  const theme = document.documentElement.dataset.theme ?? "auto";
  const words = t("theme", { theme: t(`theme_${theme}`) });
  find("theme").replaceChildren(icon(theme));
  for (const name of ["title", "aria-label"]) find("theme").setAttribute(name, words);
  find("account").replaceChildren(icon("key"), h("span", {}, token.value ? t("account") : t("sign_in")));
  find("account").classList.toggle("signed-in", Boolean(token.value));
}

/** As the system, then light, then dark, and round again. */
export function switchTheme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  device.set("gesso.theme", next === "auto" ? null : next);
  drawTools();
  speak(t("theme", { theme: t(`theme_${next}`) }));
}
