// Two pictures on top of each other, and a slider between them.
import { h, icon, iconButton } from "./dom.js";
import { t } from "./texts.js";

class Compare extends HTMLElement {
  /** Show *after*; with *before*, what it was made of, up to the slider. A *before* that is gone is left out. */
  show(after, before = null) {
    const picture = h("img", { class: "after", src: after, alt: t("result_alt") });
    this.classList.toggle("both", Boolean(before));
    this.replaceChildren(picture);
    if (before) this.#slide(before);
    return picture;
  }

  #slide(before) {
    const under = h("img", { class: "before", src: before, alt: "" });
    const slider = h("input", {
      type: "range",
      min: "0",
      max: "100",
      step: "1",
      value: "50",
      "aria-label": t("compare"),
    });
    const move = () => {
      this.style.setProperty("--split", `${slider.value}%`);
      slider.setAttribute("aria-valuetext", t("compare_value", { percent: slider.value }));
    };
    slider.addEventListener("input", move);
    under.addEventListener("error", () => this.show(this.querySelector(".after").src));
    this.append(
      under,
      h("span", { class: "corner first" }, t("before")),
      h("span", { class: "corner last" }, t("after")),
      h("span", { class: "handle", "aria-hidden": "true" }, icon("left"), icon("right")),
      slider,
    );
    move();
  }
}

const STEPS = [0.25, 0.5, 1, 2, 4, 8];

/** Look at a picture closely: in a window of its own, with zoom by buttons, keys and wheel, and panning by scrolling. */
export function zoom(url) {
  let scale = 0; // fits the window
  const picture = h("img", { src: url, alt: t("result_alt") });
  const field = h("div", { class: "pan", tabindex: "0", "aria-label": t("zoom_area"), role: "group" }, picture);
  const told = h("output", {});
  const set = (to) => {
    scale = to;
    picture.style.width = scale ? `${picture.naturalWidth * scale}px` : "";
    picture.classList.toggle("fits", !scale);
    told.textContent = scale ? `${Math.round(scale * 100)} %` : t("zoom_fit");
  };
  const now = () => scale || picture.clientWidth / picture.naturalWidth;
  const closer = () => set(STEPS.find((step) => step > now() * 1.01) ?? STEPS.at(-1));
  const farther = () => set(STEPS.findLast((step) => step < now() * 0.99) ?? STEPS[0]);
  const keys = { "+": closer, "=": closer, "-": farther, 0: () => set(0), 1: () => set(1) };
  const dialog = h(
    "dialog",
    { class: "zoom", "aria-label": t("zoom") },
    h(
      "div",
      { class: "row end" },
      told,
      h(
        "button",
        {
          type: "button",
          class: "quiet square",
          "aria-label": t("zoom_out"),
          title: `${t("zoom_out")} (−)`,
          onclick: farther,
        },
        "−",
      ),
      h(
        "button",
        {
          type: "button",
          class: "quiet square",
          "aria-label": t("zoom_in"),
          title: `${t("zoom_in")} (+)`,
          onclick: closer,
        },
        "+",
      ),
      h("button", { type: "button", class: "quiet", title: "0", onclick: () => set(0) }, t("zoom_fit")),
      h("button", { type: "button", class: "quiet", title: "1", onclick: () => set(1) }, "100 %"),
      iconButton("remove", t("close"), () => dialog.close()),
    ),
    field,
  );
  dialog.addEventListener("keydown", (event) => !event.ctrlKey && !event.metaKey && keys[event.key]?.());
  field.addEventListener(
    "wheel",
    (event) => event.ctrlKey && (event.preventDefault(), event.deltaY < 0 ? closer() : farther()),
    { passive: false },
  );
  field.addEventListener("dblclick", () => set(scale ? 0 : 1));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  set(0);
  dialog.showModal();
  field.focus();
}

customElements.define("gesso-compare", Compare);
