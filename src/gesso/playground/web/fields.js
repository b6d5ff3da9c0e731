// One field of the form: its control by what the schema says it is, its words, and the place for its problem.
import { h, iconButton, tell } from "./dom.js";
import "./pictures.js";
import { sizeOf } from "./schema.js";
import { t } from "./texts.js";

const LARGEST_SEED = 2 ** 31 - 1;
const GROUPS = ["size", "pictures"]; // not one element that a label can point to

/** The field with its control, its words, and the place for its problem. */
export function drawn(field) {
  const id = `field-${field.name}`;
  const control = CONTROLS[field.kind](field, {
    id,
    "aria-describedby": `${id}-help ${id}-problem`,
    "aria-required": field.isRequired && !GROUPS.includes(field.kind) ? "true" : null,
  });
  const isGroup = GROUPS.includes(field.kind);
  const label = h(
    isGroup ? "span" : "label",
    { id: `${id}-label`, class: "label", for: isGroup ? null : id },
    field.title,
    field.isRequired ? h("span", { class: "required" }, t("required")) : null,
  );
  const counter = h("span", { class: "counter" });
  const problem = h("p", { id: `${id}-problem`, class: "problem" });
  const box = h(
    "div",
    { class: `field ${field.kind}`, "data-field": field.name },
    h("div", { class: "row between" }, label, field.kind === "switch" ? control.element : counter),
    field.schema.description
      ? h("p", { id: `${id}-help`, class: "help" }, field.schema.description)
      : h("p", { id: `${id}-help`, class: "help", hidden: true }),
    field.kind === "switch" ? null : control.element,
    problem,
  );
  const input = control.element.matches("input, textarea, select")
    ? control.element
    : control.element.querySelector("input");
  return {
    ...field,
    ...control,
    box,
    counter,
    get problem() {
      return problem.textContent;
    },
    say(words) {
      problem.textContent = words;
      box.classList.toggle("wrong", Boolean(words));
      if (words) input?.setAttribute("aria-invalid", "true");
      else input?.removeAttribute("aria-invalid");
    },
  };
}

/** What a field's control is made of: `element`, `get()` and `set(value)`; undefined stands for nothing. */
const CONTROLS = {
  text: (field, ids) => typed(h("textarea", { ...ids, rows: "4", spellcheck: "true" })),
  line: (field, ids) => typed(h("textarea", { ...ids, rows: "2", spellcheck: "true" })),
  list: (field, ids) => {
    const area = h("textarea", { ...ids, rows: "3" });
    const lines = () =>
      area.value
        .split("\n")
        .map((line) => line.trim())
        .filter(Boolean);
    return { element: area, get: lines, set: (value) => (area.value = (value ?? []).join("\n")) };
  },
  json: (field, ids) => {
    const area = h("textarea", { ...ids, rows: "4", class: "code", spellcheck: "false" });
    return {
      element: area,
      get: () => parsed(area.value),
      set: (value) => (area.value = value === undefined ? "" : JSON.stringify(value, null, 2)),
    };
  },
  number: (field, ids) => {
    const { minimum, maximum, type } = field.schema;
    const box = h("input", {
      ...ids,
      type: "number",
      inputmode: "decimal",
      min: minimum,
      max: maximum,
      step: type === "integer" ? "1" : "any",
    });
    const get = () => (box.value === "" ? undefined : Number(box.value));
    const set = (value) => (box.value = value ?? "");
    if (!isSeed(field)) return { element: box, get, set };
    const roll = () => (set(anotherSeed(field)), tell(box, "input"));
    return { element: h("div", { class: "row tight" }, box, iconButton("dice", t("seed_roll"), roll)), get, set };
  },
  switch: (field, ids) => {
    const box = h("input", { ...ids, type: "checkbox", role: "switch" });
    return { element: box, get: () => box.checked, set: (value) => (box.checked = Boolean(value)) };
  },
  choice: (field, ids) => {
    const options = field.schema.enum.map((each) => h("option", { value: JSON.stringify(each) }, String(each)));
    const select = h("select", ids, field.isRequired ? null : h("option", { value: "" }, "–"), options);
    return {
      element: select,
      get: () => (select.value ? JSON.parse(select.value) : undefined),
      set: (value) => (select.value = value === undefined ? "" : JSON.stringify(value)),
    };
  },
  size: (field, ids) => {
    const radios = field.schema.enum.map((each) =>
      h("input", { type: "radio", name: `radio-${field.name}`, value: each }),
    );
    const element = h(
      "div",
      {
        class: "sizes",
        role: "radiogroup",
        "aria-labelledby": `${ids.id}-label`,
        "aria-describedby": ids["aria-describedby"],
      },
      radios.map((radio) => h("label", { class: "size" }, radio, shape(sizeOf(radio.value)))),
    );
    return {
      element,
      get: () => radios.find((radio) => radio.checked)?.value,
      set: (value) => radios.forEach((radio) => (radio.checked = radio.value === value)),
    };
  },
  pictures: (field, ids) => {
    const element = h("gesso-pictures", { id: ids.id });
    element.draw(field, { labelledBy: `${ids.id}-label`, describedBy: ids["aria-describedby"] });
    return { element, get: () => element.value, set: (value, shown, more) => element.fill(value, shown, more) };
  },
};
const typed = (area) => ({ element: area, get: () => area.value, set: (value) => (area.value = value ?? "") });
export const isSeed = (field) => field.name === "seed" && field.kind === "number";

/** Any seed that the schema takes. */
export function anotherSeed({ schema }) {
  const least = schema.minimum ?? 0;
  const most = Math.min(schema.maximum ?? LARGEST_SEED, LARGEST_SEED);
  return least + Math.floor(Math.random() * (most - least + 1));
}

function parsed(text) {
  try {
    return text.trim() ? JSON.parse(text) : undefined;
  } catch {
    return text; // the server says what it should be
  }
}

/** A small drawing of a size, with its ratio and its pixels. */
function shape({ width, height, label }) {
  const scale = 22 / Math.max(width, height);
  const frame = h("i", { "aria-hidden": "true" });
  frame.style.width = `${Math.round(width * scale)}px`;
  frame.style.height = `${Math.round(height * scale)}px`;
  return h("span", {}, h("span", { class: "frame" }, frame), h("b", {}, label), h("small", {}, `${width}×${height}`));
}
