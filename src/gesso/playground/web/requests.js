// The requests of this token: waiting, running, ended. What the browser remembers of them adds picture and prompt.
import * as api from "./api.js";
import { fill, h, icon, iconButton, tell } from "./dom.js";
import * as history from "./history.js";
import { moment, number, t } from "./texts.js";

const EVERY_MS = 3000;
const MOST_ASKED = 12;
const GROUPS = { in_queue: "group_waiting", in_progress: "group_running", ended: "group_ended" };
const isOpen = ({ status }) => status === "in_queue" || status === "in_progress";

class Requests extends HTMLElement {
  #timer = 0;
  #isWatching = false;
  #listsOthers = true;

  /** Keep looking while the tab is open; the page must be in sight too. */
  set isWatching(is) {
    this.#isWatching = is;
    clearTimeout(this.#timer);
    if (is) this.#look();
  }

  draw() {
    if (this.#isWatching) this.#look();
  }

  async #look() {
    clearTimeout(this.#timer);
    if (!document.hidden) this.#show(await this.#all().catch((error) => ({ error })));
    if (this.#isWatching) this.#timer = setTimeout(() => this.#look(), EVERY_MS);
  }

  /** The server's list and the browser's, joined by id, newest first; open ones with their place in the queue. */
  async #all() {
    const mine = new Map(history.entries().map((entry) => [entry.id, entry]));
    for (const told of await this.#listed()) {
      const { request_id: id, model_id: model, status, created_at: at } = told;
      const earlier = mine.get(id);
      const word = status === "completed" && earlier && !isOpen(earlier) ? earlier.status : status;
      mine.set(id, { ...earlier, id, model, at, status: word });
    }
    const all = [...mine.values()].sort((one, other) => new Date(other.at) - new Date(one.at));
    await Promise.all(
      all
        .filter(isOpen)
        .slice(0, MOST_ASKED)
        .map((entry) => this.#ask(entry)),
    );
    return all;
  }

  async #listed() {
    if (!this.#listsOthers) return [];
    try {
      return (await api.requests()).requests;
    } catch (error) {
      if (!error.isUnknownRoute) throw error;
      this.#listsOthers = false;
      return [];
    }
  }

  async #ask(entry) {
    try {
      const told = await api.status(entry.id);
      Object.assign(entry, { status: told.status, place: told.queue_position });
    } catch (error) {
      if (error.status !== 404) throw error;
      entry.status = "gone";
    }
    if (!isOpen(entry)) history.change(entry.id, { status: entry.status });
  }

  #show(all) {
    if (all.error) return fill(this, h("p", { class: "note bad" }, all.error.message));
    const focused = this.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const groups = Object.keys(GROUPS).map((group) => [
      group,
      all.filter((entry) => (isOpen(entry) ? entry.status : "ended") === group),
    ]);
    const shown = groups
      .filter(([, entries]) => entries.length)
      .map(([group, entries]) =>
        h(
          "section",
          {},
          h("h2", {}, t(GROUPS[group]), " ", h("span", { class: "soft" }, number(entries.length))),
          h(
            "ul",
            { class: "requests" },
            entries.map((entry) => this.#row(entry)),
          ),
        ),
      );
    const clear = h(
      "button",
      { type: "button", class: "quiet small", "data-focus": "clear", onclick: () => this.#clear() },
      t("history_clear"),
    );
    fill(
      this,
      shown.length ? shown : h("p", { class: "soft" }, t("requests_none")),
      this.#listsOthers ? null : h("p", { class: "help" }, t("requests_mine_only")),
      history.entries().length ? h("div", { class: "row end" }, clear) : null,
    );
    if (focused) this.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  }

  #row(entry) {
    const words = entry.input?.prompt ?? entry.model;
    const state =
      entry.status === "in_queue" && entry.place !== undefined
        ? t("waiting_place", { place: number(entry.place + 1) })
        : t(`state_${entry.status}`);
    const picture = entry.thumb
      ? h("img", { src: entry.thumb, alt: "" })
      : h("span", { class: "blank" }, icon("image"));
    return h(
      "li",
      { class: entry.status },
      h(
        "button",
        {
          type: "button",
          class: "open",
          "data-focus": `open ${entry.id}`,
          onclick: () => tell(this, "open-request", entry.id),
        },
        picture,
        h(
          "span",
          { class: "words" },
          h("b", {}, words),
          h(
            "small",
            {},
            h("span", { class: "state" }, state),
            ` · ${entry.title ?? entry.model} · ${moment(entry.at)}`,
          ),
        ),
      ),
      entry.status === "in_queue"
        ? iconButton("remove", t("cancel"), () => this.#cancel(entry), { "data-focus": `cancel ${entry.id}` })
        : null,
    );
  }

  async #cancel(entry) {
    await api.cancel(entry.id).catch(() => null); // what became of it is asked next
    await this.#look();
  }

  #clear() {
    history.clear();
    this.#look();
  }
}

customElements.define("gesso-requests", Requests);
