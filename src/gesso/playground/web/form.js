// The form, drawn out of the schema that the API judges by.
import { h, icon, speak, tell } from "./dom.js";
import { anotherSeed, drawn, isSeed } from "./fields.js";
import { broughtIn } from "./files.js";
import { exampleOf, fieldsOf, problemOf } from "./schema.js";
import { number, t } from "./texts.js";

class Form extends HTMLElement {
  #model;
  #fields = [];
  #button;

  /** Draw the form of *model*, with its examples, or with *input* and what its pictures look like. */
  draw(model, input = null, shown = {}) {
    this.#model = model;
    this.#fields = fieldsOf(model).map(drawn);
    this.#button = h("button", { class: "primary go" }, icon("run"), h("span", {}, t("run")));
    const form = h(
      "form",
      { novalidate: true, onsubmit: (event) => (event.preventDefault(), this.#run()), onkeydown: shortcut },
      this.#fields.map((field) => field.box),
      h(
        "div",
        { class: "runbar" },
        this.#button,
        h("kbd", { "aria-hidden": "true" }, /Mac|iP/.test(navigator.platform) ? "⌘ ↵" : "Ctrl ↵"),
      ),
    );
    for (const name of ["input", "change"]) form.addEventListener(name, (event) => this.#changed(event));
    form.addEventListener("focusout", (event) => this.#left(event));
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
    for (const field of this.#pictures) field.element.complaint = "";
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
    const problem = field.element.problem || problemOf(field, value) || field.element.complaint || "";
    const isOver = typeof value === "string" && [...value].length > (field.schema.maxLength ?? Infinity);
    if (isDone || isOver || !problem) field.say(problem);
  }

  #count(field) {
    const limit = field.schema.maxLength;
    if (limit && field.schema.type === "string")
      field.counter.textContent = `${number([...(field.get() ?? "")].length)} / ${number(limit)}`;
  }

  #focusFirst() {
    const first = this.#fields.find((field) => field.problem);
    if (!first) return;
    first.box.querySelector("textarea, input:not([type=file]), select, button")?.focus();
    first.box.scrollIntoView({ block: "center" });
    speak(`${first.title}: ${first.problem}`);
  }
}

function shortcut(event) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  event.currentTarget.requestSubmit();
}

customElements.define("gesso-form", Form);
