// The ordered references of a request: dropped, pasted, picked, photographed, or named by URL.
import { isOurs, local, upload } from "./api.js";
import { h, icon, iconButton, speak, tell } from "./dom.js";
import { isShrinkable, measured, nameOf, shrunk } from "./files.js";
import { pictureProblem } from "./schema.js";
import { t } from "./texts.js";

const TYPES = "image/jpeg,image/png,image/webp,image/bmp"; // with this list, phones turn their own formats into JPEG
const SAMPLES = ["cat", "coffee", "rocket"];

/** One picture: {key, url, shown, name, state: "ready" | "busy" | "bad", problem, isExample}. */
class Pictures extends HTMLElement {
  #field;
  #items = [];
  #list = h("ol", { class: "tiles" });
  #url;
  #count = 0;
  #taking = [];
  /** What could not be done just now; it stands until something else is done. */
  complaint = "";

  /** The URLs, in order; a single one where the field holds one picture. */
  get value() {
    const urls = this.#items.filter((item) => item.url).map((item) => item.url);
    return this.#field.schema.type === "array" ? urls : urls[0];
  }

  /** What each picture looks like here, by its URL, for showing it again later. */
  get shown() {
    return Object.fromEntries(
      this.#items.filter((item) => item.url && item.shown).map((item) => [item.url, item.shown]),
    );
  }

  get isBusy() {
    return this.#items.some((item) => item.state === "busy");
  }

  /** What is wrong with one of the pictures; "" when all are well. */
  get problem() {
    return this.#items.find((item) => item.state === "bad")?.problem ?? "";
  }

  /** Resolves when all that is being uploaded now is up, or refused. */
  get settled() {
    return Promise.all(this.#taking);
  }

  get #most() {
    return this.#field.schema.type === "array" ? (this.#field.schema.maxItems ?? Infinity) : 1;
  }

  draw(field, { labelledBy, describedBy }) {
    this.#field = field;
    this.#url = h("input", {
      type: "url",
      inputmode: "url",
      placeholder: "https://…",
      "aria-label": t("picture_url"),
      onkeydown: (event) => this.#enter(event),
    });
    const file = h("input", {
      type: "file",
      accept: TYPES,
      multiple: this.#most > 1,
      class: "hidden",
      tabindex: "-1",
      "aria-hidden": "true",
      onchange: () => (this.add([...file.files]), (file.value = "")),
    });
    this.setAttribute("role", "group");
    this.setAttribute("aria-labelledby", labelledBy);
    this.setAttribute("aria-describedby", describedBy);
    this.replaceChildren(
      this.#list,
      file,
      h(
        "button",
        { type: "button", class: "drop", onclick: () => file.click() },
        icon("image"),
        h("span", {}, h("b", {}, t("pictures_choose")), " ", h("span", { class: "soft" }, t("pictures_or_drop"))),
      ),
      h(
        "div",
        { class: "row" },
        this.#url,
        h("button", { type: "button", class: "small", onclick: () => this.#addUrl() }, t("add")),
        h("button", { type: "button", class: "small", onclick: () => this.#addSamples() }, t("pictures_sample")),
      ),
    );
    this.#refresh();
  }

  /** Set the pictures to *value*, a URL or a list of them; *shown* says how they look, where that is known. */
  fill(value, shown = {}, { isExample = false } = {}) {
    const urls = [value ?? []].flat().slice(0, this.#most);
    this.#items = urls.map((url) => this.#named({ url, shown: shown[url] ?? seen(url), isExample }));
    this.#refresh();
  }

  /** Take in *files*, as far as there is room; examples make room for them. */
  add(files) {
    this.complaint = "";
    this.#dropExamples();
    const room = this.#most - this.#items.length;
    this.#taking = [...this.#taking, ...files.slice(0, room).map((file) => this.#take(file))];
    if (files.length > room) this.#complain(t("too_long", { limit: this.#most }));
  }

  addUrl(url) {
    this.complaint = "";
    if (!/^(https?:\/\/|data:image\/)/i.test(url)) return this.#complain(t("image_uri"));
    this.#dropExamples();
    if (this.#items.length >= this.#most) return this.#complain(t("too_long", { limit: this.#most }));
    this.#url.value = "";
    this.#items.push(this.#named({ url, shown: seen(url) }));
    this.#changed();
  }

  #named(item) {
    return { state: "ready", name: item.url ? nameOf(item.url) : item.file.name, key: this.#count++, ...item };
  }

  #take(file) {
    const item = this.#named({ file, shown: URL.createObjectURL(file) });
    this.#items.push(item);
    return this.#send(item);
  }

  /** Judge the file by the schema's rules, then upload it. */
  async #send(item) {
    const { schema } = this.#field;
    item.state = "busy";
    this.#changed();
    try {
      item.facts = await measured(item.file);
      item.problem = item.facts ? pictureProblem(schema, item.facts) : t("unsupported_image");
      if (!item.problem) item.url = (await upload(item.file)).url;
    } catch (error) {
      item.problem = error.detail?.[0]?.msg ?? error.message;
    }
    item.state = item.problem ? "bad" : "ready";
    if (!this.#items.includes(item)) return;
    speak(item.problem || t("picture_ready", { name: item.name }));
    this.#changed();
  }

  async #shrink(item) {
    item.file = await shrunk(item.file, this.#field.schema, item.facts);
    this.#taking = [...this.#taking, this.#send(item)];
  }

  async #addSamples() {
    const room = Math.min(2, this.#most);
    const files = SAMPLES.slice(0, room).map(async (name) => {
      const answer = await fetch(new URL(`samples/${name}.jpg`, import.meta.url));
      return new File([await answer.blob()], `${name}.jpg`, { type: "image/jpeg" });
    });
    this.#items = [];
    this.add(await Promise.all(files));
  }

  #dropExamples() {
    this.#items = this.#items.filter((item) => !item.isExample);
  }

  #complain(words) {
    this.complaint = words;
    tell(this, "change");
  }

  #enter(event) {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#addUrl();
  }

  #addUrl() {
    if (this.#url.value.trim()) this.addUrl(this.#url.value.trim());
  }

  #changed() {
    this.#refresh();
    tell(this, "change");
  }

  #move(item, to) {
    const from = this.#items.indexOf(item);
    if (to < 0 || to >= this.#items.length || from === to) return;
    this.#items.splice(from, 1);
    this.#items.splice(to, 0, item);
    this.#changed();
    speak(t("picture_moved", { name: item.name, place: to + 1 }));
  }

  #remove(item) {
    const place = this.#items.indexOf(item);
    this.complaint = "";
    this.#items.splice(place, 1);
    this.#changed();
    speak(t("picture_removed", { name: item.name }));
    const next = this.#list.children[Math.min(place, this.#items.length - 1)];
    (next ?? this).querySelector("button")?.focus();
  }

  #refresh() {
    const focused = this.#list.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    this.#list.replaceChildren(...this.#items.map((item, place) => this.#tile(item, place)));
    if (focused) this.#focusAgain(focused);
    this.classList.toggle("full", this.#items.length >= this.#most && !this.#items.some((item) => item.isExample));
  }

  /** On the same button of the same tile; where that one is of no more use, on another of the tile. */
  #focusAgain(name) {
    const key = name.split(" ")[1];
    const same = this.#list.querySelector(`[data-focus="${name}"]:not(:disabled)`);
    (same ?? this.#list.querySelector(`[data-focus$=" ${key}"]:not(:disabled)`))?.focus();
  }

  #tile(item, place) {
    const name = t("picture_n", { place: place + 1 });
    const words = item.state === "busy" ? t("uploading") : item.problem || item.name;
    return h(
      "li",
      {
        class: `tile ${item.state}`,
        draggable: this.#items.length > 1 ? "true" : null,
        "data-name": item.name,
        ondragstart: (event) => dragged(event, place),
        ondragover: (event) => isTile(event) && event.preventDefault(),
        ondrop: (event) => this.#dropped(event, place),
      },
      item.shown
        ? h("img", { src: item.shown, alt: "", draggable: "false" })
        : h("span", { class: "blank" }, icon("image")),
      h("span", { class: "place", title: name }, h("span", { class: "hidden" }, `${name}: `), String(place + 1)),
      item.isExample ? h("span", { class: "tag" }, t("example")) : null,
      h("span", { class: "name", title: words }, words),
      h("span", { class: "moves" }, this.#buttons(item, place)),
    );
  }

  #buttons(item, place) {
    const button = (drawing, words, onclick, disabled = false) =>
      iconButton(drawing, t(words, { place: place + 1 }), onclick, { disabled, "data-focus": `${words} ${item.key}` });
    const move = (to, drawing, words) =>
      button(drawing, words, () => this.#move(item, to), to < 0 || to >= this.#items.length);
    const isTooLarge = item.state === "bad" && isShrinkable(this.#field.schema, item.facts);
    const shrink = h(
      "button",
      { type: "button", class: "small", onclick: () => this.#shrink(item) },
      t("picture_shrink"),
    );
    return [
      isTooLarge ? shrink : null,
      this.#items.length > 1
        ? [move(place - 1, "left", "picture_left"), move(place + 1, "right", "picture_right")]
        : null,
      button("remove", "picture_remove", () => this.#remove(item)),
    ];
  }

  #dropped(event, place) {
    if (!isTile(event)) return;
    event.preventDefault();
    event.stopPropagation();
    this.#move(this.#items[Number(event.dataTransfer.getData(TILE))], place);
  }
}

const TILE = "application/x-gesso-place";
const isTile = (event) => event.dataTransfer.types.includes(TILE);

function dragged(event, place) {
  event.dataTransfer.setData(TILE, String(place));
  event.dataTransfer.effectAllowed = "move";
}

/** Where a picture may be looked at from here: foreign hosts are not asked, for they would learn who looks. */
function seen(url) {
  return isOurs(url) || url.startsWith("data:image/") ? local(url) : null;
}

customElements.define("gesso-pictures", Pictures);
