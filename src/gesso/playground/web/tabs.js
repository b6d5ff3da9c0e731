// The tabs of the right side: each element with `data-tab` beside this one is the panel of a tab.
import { h, tell } from "./dom.js";
import { t } from "./texts.js";

class Tabs extends HTMLElement {
  #chosen = "result";

  get #panels() {
    return [...this.parentElement.querySelectorAll(":scope > [data-tab]")];
  }

  draw() {
    const tabs = this.#panels.map((panel) => {
      const name = panel.dataset.tab;
      Object.entries({ role: "tabpanel", "aria-labelledby": `tab-${name}` }).forEach(([key, value]) =>
        panel.setAttribute(key, value),
      );
      return h(
        "button",
        { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": panel.id, onclick: () => this.choose(name) },
        t(`tab_${name}`),
      );
    });
    this.replaceChildren(
      h(
        "div",
        { class: "tabs", role: "tablist", "aria-label": t("views"), onkeydown: (event) => this.#key(event) },
        tabs,
      ),
    );
    this.choose(this.#chosen);
  }

  choose(name) {
    this.#chosen = name;
    for (const panel of this.#panels) {
      const isChosen = panel.dataset.tab === name;
      panel.hidden = !isChosen;
      const tab = this.querySelector(`#tab-${panel.dataset.tab}`);
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
    }
    tell(this, "chosen", name);
  }

  #key(event) {
    const tabs = [...this.querySelectorAll("[role=tab]")];
    const to = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (!to) return;
    event.preventDefault();
    const now = tabs.indexOf(document.activeElement);
    const next = Number.isFinite(to) ? tabs.at((now + to) % tabs.length) : tabs.at(to < 0 ? 0 : -1);
    next.click();
    next.focus();
  }
}

customElements.define("gesso-tabs", Tabs);
