// The form, drawn out of the schema that the API judges by.
import { h, icon, iconButton, speak, tell } from "./dom.js";
import { broughtIn } from "./pictures.js";
import { exampleOf, fieldsOf, problemOf, sizeOf } from "./schema.js";
import { number, t } from "./texts.js";

const LARGEST_SEED = 2 ** 31 - 1;

/** What a field's control is made of: `element`, `get()` and `set(value)`; undefined stands for nothing. */
const CONTROLS = {
  text: (field, ids) => typed(h("textarea", { ...ids, rows: "4", spellcheck: "true" })),
  line: (field, ids) => typed(h("textarea", { ...ids, rows: "2", spellcheck: "true" })),
  list: (field, ids) => {
    const area = h("textarea", { ...ids, rows: "3" });
    const lines = () => area.value.split("\n").map((line) => line.trim()).filter(Boolean);
    return { element: area, get: lines, set: (value) => (area.value = (value ?? []).join("\n")) };
  },
  json: (field, ids) => {
    const area = h("textarea", { ...ids, rows: "4", class: "code", spellcheck: "false" });
    return { element: area, get: () => parsed(area.value), set: (value) => (area.value = value === undefined ? "" : JSON.stringify(value, null, 2)) };
  },
  number: (field, ids) => {
    const { minimum, maximum, type } = field.schema;
    const box = h("input", { ...ids, type: "number", inputmode: "decimal", min: minimum, max: maximum, step: type === "integer" ? "1" : "any" });
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
    return { element: select, get: () => (select.value ? JSON.parse(select.value) : undefined), set: (value) => (select.value = value === undefined ? "" : JSON.stringify(value)) };
  },
  size: (field, ids) => {
    const radios = field.schema.enum.map((each) => h("input", { type: "radio", name: `radio-${field.name}`, value: each }));
    const element = h("div", { class: "sizes", role: "radiogroup", "aria-labelledby": `${ids.id}-label`, "aria-describedby": ids["aria-describedby"] },
      radios.map((radio) => h("label", { class: "size" }, radio, shape(sizeOf(radio.value)))));
    return { element, get: () => radios.find((radio) => radio.checked)?.value, set: (value) => radios.forEach((radio) => (radio.checked = radio.value === value)) };
  },
  pictures: (field, ids) => {
    const element = h("gesso-pictures", { id: ids.id });
    element.draw(field, { labelledBy: `${ids.id}-label`, describedBy: ids["aria-describedby"] });
    return { element, get: () => element.value, set: (value, shown, more) => element.fill(value, shown, more) };
  },
};
const GROUPS = ["size", "pictures"]; // not one element that a label can point to

class Form extends HTMLElement {
  #model;
  #fields = [];
  #button;

  /** Draw the form of *model*, with its examples, or with *input* and what its pictures look like. */
  draw(model, input = null, shown = {}) {
    this.#model = model;
    this.#fields = fieldsOf(model).map(drawn);
    this.#button = h("button", { class: "primary go" }, icon("run"), h("span", {}, t("run")));
    const form = h("form", { novalidate: true, onsubmit: (event) => (event.preventDefault(), this.#run()), onkeydown: shortcut },
      this.#fields.map((field) => field.box), h("div", { class: "runbar" }, this.#button, h("kbd", { "aria-hidden": "true" }, /Mac|iP/.test(navigator.platform) ? "⌘ ↵" : "Ctrl ↵")));
    for (const name of ["input", "change"]) form.addEventListener(name, (event) => this.#changed(event));
    form.addEventListener("focusout", (event) => this.#left(event));
    form.addEventListener("complain", (event) => this.#fieldOf(event.target).say(event.detail));
    this.replaceChildren(form);
    this.fill(input, shown);
  }

  /** Put *input* into the form; without one, the examples. */
  fill(input, shown = {}) {
    for (const field of this.#fields) {
      const value = input ? input[field.name] : exampleOf(field);
      field.set(value, shown, { isExample: !input });
      field.say("");
      this.#count(field);
    }
    this.#changed();
  }

  /** The body of a submit: what the form says, and nothing where it says nothing. */
  get input() {
    const told = this.#fields.map((field) => [field.name, field.get()]);
    return Object.fromEntries(told.filter(([, value]) => value !== undefined));
  }

  /** How the pictures of the input look here: URL -> something to show. */
  get shown() {
    return Object.assign({}, ...this.#pictures.map((field) => field.element.shown));
  }

  /** The URLs of the input's pictures, in order. */
  get references() {
    return this.#pictures.flatMap((field) => field.get() ?? []);
  }

  get hasSeed() {
    return this.#fields.some(isSeed);
  }

  /** *input* with another seed. */
  reseeded(input) {
    const seed = this.#fields.find(isSeed);
    return { ...input, [seed.name]: anotherSeed(seed) };
  }

  /** Make *url* the form's picture. */
  usePicture(url) {
    this.#pictures[0]?.set(url);
    this.#changed();
  }

  /** Take what was dropped or pasted somewhere on the page. Gives whether there was a picture in it. */
  take(transfer) {
    const { files, urls } = broughtIn(transfer);
    const element = this.#pictures[0]?.element;
    if (!element || !(files.length || urls.length)) return false;
    if (files.length) element.add(files);
    for (const url of urls) element.addUrl(url);
    return true;
  }

  /** Show the server's problems, each at its field. Gives those that belong to none. */
  showProblems(detail) {
    const byField = (name) => this.#fields.find((field) => field.name === name);
    for (const { loc, msg } of [...detail].reverse()) {
      const place = Number.isInteger(loc[2]) ? `${t("picture_n", { place: loc[2] + 1 })}: ` : "";
      byField(loc[1])?.say(place + msg);
    }
    this.#focusFirst();
    return detail.filter(({ loc }) => !byField(loc[1]));
  }

  set isSending(is) {
    this.#button.disabled = is;
  }

  /** Run what stands in the form, if it may be run. */
  async #run() {
    this.isSending = true;
    await Promise.all(this.#pictures.map((field) => field.element.settled));
    this.isSending = false;
    for (const field of this.#fields) this.#judge(field, { isDone: true });
    if (this.#fields.some((field) => field.problem)) return this.#focusFirst();
    tell(this, "run", { model: this.#model, input: this.input });
  }

  get #pictures() {
    return this.#fields.filter((field) => field.kind === "pictures");
  }

  #fieldOf(element) {
    return this.#fields.find((field) => field.box.contains(element));
  }

  #left(event) {
    const field = this.#fieldOf(event.target);
    if (field && !field.box.contains(event.relatedTarget)) this.#judge(field, { isDone: true });
  }

  #changed(event) {
    const field = event && this.#fieldOf(event.target);
    if (field) {
      this.#count(field);
      this.#judge(field, { isDone: event.type === "change" });
    }
    tell(this, "edited");
  }

  /** While somebody types, a problem may go away, or be one that typing on does not solve; others wait for the end. */
  #judge(field, { isDone }) {
    if (!field || field.element.isBusy) return;
    const value = field.get();
    const problem = (field.kind === "pictures" && field.element.problem) || problemOf(field, value);
    const isOver = typeof value === "string" && [...value].length > (field.schema.maxLength ?? Infinity);
    if (isDone || isOver || !problem) field.say(problem);
  }

  #count(field) {
    const limit = field.schema.maxLength;
    if (limit && field.schema.type === "string") field.counter.textContent = `${number([...(field.get() ?? "")].length)} / ${number(limit)}`;
  }

  #focusFirst() {
    const first = this.#fields.find((field) => field.problem);
    if (!first) return;
    first.box.querySelector("textarea, input:not([type=file]), select, button")?.focus();
    first.box.scrollIntoView({ block: "center" });
    speak(`${first.title}: ${first.problem}`);
  }
}

/** The field with its control, its words, and the place for its problem. */
function drawn(field) {
  const id = `field-${field.name}`;
  const control = CONTROLS[field.kind](field, { id, "aria-describedby": `${id}-help ${id}-problem`, "aria-required": field.isRequired && !GROUPS.includes(field.kind) ? "true" : null });
  const isGroup = GROUPS.includes(field.kind);
  const label = h(isGroup ? "span" : "label", { id: `${id}-label`, class: "label", for: isGroup ? null : id }, field.title,
    field.isRequired ? h("span", { class: "required" }, t("required")) : null);
  const counter = h("span", { class: "counter" });
  const problem = h("p", { id: `${id}-problem`, class: "problem" });
  const box = h("div", { class: `field ${field.kind}`, "data-field": field.name },
    h("div", { class: "row between" }, label, field.kind === "switch" ? control.element : counter),
    field.schema.description ? h("p", { id: `${id}-help`, class: "help" }, field.schema.description) : h("p", { id: `${id}-help`, class: "help", hidden: true }),
    field.kind === "switch" ? null : control.element, problem);
  const input = control.element.matches("input, textarea, select") ? control.element : control.element.querySelector("input");
  return {
    ...field, ...control, box, counter,
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

const typed = (area) => ({ element: area, get: () => area.value, set: (value) => (area.value = value ?? "") });
const isSeed = (field) => field.name === "seed" && field.kind === "number";

function anotherSeed({ schema }) {
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

function shortcut(event) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  event.currentTarget.requestSubmit();
}

customElements.define("gesso-form", Form);
