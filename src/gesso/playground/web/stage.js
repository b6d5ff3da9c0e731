// Where the picture appears: nothing yet, a request on its way, what it made, or why it made nothing.
import { cancel, local } from "./api.js";
import { zoom } from "./compare.js";
import { fill, h, icon, speak, tell } from "./dom.js";
import { inWords } from "./schema.js";
import { moment, number, seconds, t } from "./texts.js";

const SHOWN_APART = ["not_understood", "warnings", "messages", "plan", "prompt_used", "prompt"];

class Stage extends HTMLElement {
  #run = null; // {id, before, parts} of the request on its way

  empty() {
    this.#run = null;
    fill(
      this,
      h(
        "div",
        { class: "stage blank" },
        icon("image"),
        h("p", {}, t("stage_empty")),
        h("p", { class: "soft" }, t("stage_hint")),
      ),
    );
  }

  /** A request has been sent, or is followed again; *before* is shown faintly until there is more to see. */
  begin(before = null) {
    const picture = h("img", { class: before ? "faint" : "none", src: before ?? null, alt: "" });
    picture.addEventListener("error", () => (picture.className = "none"));
    const words = h("p", { class: "words", id: "run-words" }, t("sending"));
    const more = h("p", { class: "soft" });
    const bar = h("progress", { "aria-labelledby": "run-words" });
    const stop = h("button", { type: "button", hidden: true, onclick: () => this.#cancel() }, t("cancel"));
    this.#run = { id: null, picture, words, more, bar, stop, hasPreview: false, spoken: "" };
    fill(
      this,
      h("div", { class: "stage busy", "aria-busy": "true" }, picture),
      h("div", { class: "card running" }, h("div", { class: "row between" }, words, stop), bar, more),
    );
  }

  /** What follow.js tells of the request *id*, until it ends. */
  update(id, { kind, data }) {
    if (!this.#run) return;
    this.#run.id = id;
    const show = { status: this.#status, progress: this.#progress, preview: this.#preview, away: this.#away }[kind];
    show?.call(this, data);
  }

  #status({ status, queue_position: place, eta_seconds: eta }) {
    const isWaiting = status === "in_queue";
    const { stop, bar, more } = this.#run;
    stop.hidden = !isWaiting;
    if (isWaiting) bar.removeAttribute("value");
    const ahead =
      place === undefined ? t("waiting") : place ? t("waiting_behind", { count: number(place) }) : t("waiting_next");
    this.#say(isWaiting ? ahead : t("running"), status);
    more.textContent = eta === undefined ? (isWaiting ? "" : t("running_no_cancel")) : t("eta", { time: seconds(eta) });
  }

  #progress({ fraction, step, steps, eta_seconds: eta }) {
    const { bar, more, stop } = this.#run;
    stop.hidden = true;
    if (fraction !== undefined) bar.value = fraction;
    this.#say(t("running"), "in_progress");
    const count =
      step === undefined
        ? null
        : steps === undefined
          ? t("step", { step: number(step) })
          : t("step_of", { step: number(step), steps: number(steps) });
    more.textContent = [count, eta === undefined ? null : t("eta", { time: seconds(eta) })].filter(Boolean).join(" · ");
  }

  #preview({ content_type: type, data }) {
    this.#run.picture.src = `data:${type};base64,${data}`;
    this.#run.picture.className = "preview";
    this.#run.picture.alt = t("preview_alt");
  }

  #away({ message }) {
    this.#say(`${message} ${t("trying_again")}`, "away");
  }

  /** Words for the eye at each change; for the ear only when the state is another one. */
  #say(words, state) {
    this.#run.words.textContent = words;
    if (this.#run.spoken !== state) speak(words);
    this.#run.spoken = state;
  }

  async #cancel() {
    const { id, stop, more } = this.#run;
    stop.disabled = true;
    try {
      const { outcome } = await cancel(id);
      if (outcome === "not_cancellable") more.textContent = t("not_cancellable");
    } catch (error) {
      stop.disabled = false;
      more.textContent = error.message;
    }
  }

  /**
   * Show how a request ended.
   *
   * @param result the body of /result
   * @param known what this browser knows of it: {input, befores, hasSeed}; all of it may be missing
   */
  end(result, known = {}) {
    this.#run = null;
    if (result.status === "succeeded" && picturesOf(result).length) this.#succeeded(result, known);
    else if (result.status === "cancelled" && !result.error) this.#note("cancelled", t("cancelled"), result, known);
    else this.#note("bad", result.error?.message ?? t("ended_without_picture"), result, known);
  }

  /** Show what went wrong before there was a request. */
  fail(message) {
    this.#run = null;
    this.#note("bad", message, null, {});
  }

  #note(kind, words, result, known) {
    speak(words);
    const more = (result?.error?.detail ?? []).map(({ loc, msg }) =>
      h("li", {}, `${Number.isInteger(loc[2]) ? `${t("picture_n", { place: loc[2] + 1 })}: ` : ""}${msg}`),
    );
    fill(
      this,
      h(
        "div",
        { class: `stage blank ${kind}` },
        h("p", { class: "words" }, words),
        more.length > 1 ? h("ul", {}, more) : null,
        result ? h("p", { class: "soft" }, facts(result).join(" · ")) : null,
        h("div", { class: "row center" }, this.#restore(result, known)),
      ),
    );
  }

  #succeeded(result, known) {
    const urls = picturesOf(result).map(local);
    const befores = known.befores ?? [];
    const compare = h("gesso-compare", {});
    let chosen = urls[0];
    let before = befores[0] ?? null;
    const again = () => {
      const picture = compare.show(chosen, before);
      save.href = chosen;
      save.target = chosen.startsWith("/") ? "" : "_blank"; // browsers open what they do not save from other hosts
      picture.addEventListener("load", () => tell(this, "shown", { id: result.request_id, picture }), { once: true });
    };
    const save = h("a", { class: "button primary", download: true }, icon("download"), t("download"));
    const others = urls.length > 1 ? choice(t("pictures_made"), urls, (url) => ((chosen = url), again())) : null;
    const sources = befores.length > 1 ? choice(t("compare_with"), befores, (url) => ((before = url), again())) : null;
    fill(
      this,
      h("div", { class: "stage done" }, compare),
      h(
        "div",
        { class: "row actions" },
        save,
        h("button", { type: "button", onclick: () => zoom(chosen) }, icon("zoom"), t("zoom")),
        h(
          "button",
          { type: "button", onclick: () => tell(this, "use", picturesOf(result)[urls.indexOf(chosen)]) },
          icon("reuse"),
          t("use_as_input"),
        ),
        known.hasSeed && known.input
          ? h(
              "button",
              { type: "button", onclick: () => tell(this, "reseed", known.input) },
              icon("dice"),
              t("another_seed"),
            )
          : null,
        this.#restore(result, known),
      ),
      others,
      sources,
      story(result),
    );
    again();
    speak(t("done"));
  }

  #restore(result, known) {
    if (!known.input || !known.isPast) return null;
    return h(
      "button",
      { type: "button", onclick: () => tell(this, "restore", result.request_id) },
      icon("restore"),
      t("restore"),
    );
  }
}

const picturesOf = ({ output = {} }) => output.images ?? (output.image ? [output.image] : []);

/** When, how long, and which. */
function facts({ created_at: from, finished_at: to, request_id: id }) {
  return [moment(from), to ? seconds((new Date(to) - new Date(from)) / 1000) : null, id].filter(Boolean);
}

/** Small pictures, of which one is chosen. */
function choice(words, urls, choose) {
  const name = `choice-${urls[0]}`;
  return h(
    "fieldset",
    { class: "choice" },
    h("legend", {}, words),
    urls.map((url, index) => {
      const radio = h("input", {
        type: "radio",
        name,
        "aria-label": t("picture_n", { place: index + 1 }),
        onchange: () => choose(url),
      });
      radio.checked = index === 0;
      return h("label", {}, radio, h("img", { src: url, alt: "" }));
    }),
  );
}

/** How the picture was made, as far as the engine says; first what it could not do. */
function story(result) {
  const told = result.metadata ?? {};
  const missed = told.not_understood ?? [];
  const said = told.messages?.length ? told.messages : (told.warnings ?? []);
  const rows = Object.entries(told).filter(
    ([key, value]) => !SHOWN_APART.includes(key) && value !== null && typeof value !== "object",
  );
  return h(
    "div",
    { class: "story" },
    missed.length ? h("p", { class: "note warn" }, h("b", {}, t("not_understood")), " ", missed.join(", ")) : null,
    said.map((each) => h("p", { class: "note warn" }, each)),
    h("p", { class: "soft" }, facts(result).join(" · ")),
    h(
      "details",
      { class: "card" },
      h("summary", {}, t("how_made")),
      told.prompt_used ? h("p", {}, h("b", {}, t("prompt_used")), " ", told.prompt_used) : null,
      Array.isArray(told.plan)
        ? h(
            "ol",
            { class: "plan" },
            told.plan.map((step) => h("li", {}, stepInWords(step))),
          )
        : null,
      h(
        "dl",
        {},
        rows.map(([key, value]) => [h("dt", {}, inWords(key)), h("dd", {}, String(value))]),
      ),
      h(
        "details",
        {},
        h("summary", {}, "JSON"),
        h("pre", { tabindex: "0", "aria-label": "JSON" }, JSON.stringify(result, null, 2)),
      ),
    ),
  );
}

function stepInWords(step) {
  if (typeof step !== "object" || step === null) return String(step);
  const { operator, ...settings } = step;
  const details = Object.entries(settings)
    .filter(([key, value]) => !(key === "strength" && value === 1))
    .map(([key, value]) => `${inWords(key)} ${typeof value === "object" ? JSON.stringify(value) : value}`);
  return [h("b", {}, inWords(operator ?? "step")), details.length ? ` · ${details.join(" · ")}` : ""];
}

customElements.define("gesso-stage", Stage);
