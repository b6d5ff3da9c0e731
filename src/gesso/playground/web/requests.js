// Requests: waiting, running, ended; this token's, or everybody's for administrators, who see the queue and not the
// pictures. What this browser remembers of its own adds picture and prompt.
import * as api from "./api.js";
import { fill, h, icon, iconButton, tell } from "./dom.js";
import * as history from "./history.js";
import { moment, number, t } from "./texts.js";

const EVERY_MS = 3000;
const MOST_ASKED = 12;
const GROUPS = { in_queue: "group_waiting", in_progress: "group_running", ended: "group_ended" };
const OF_ALL = [{ status: "in_queue" }, { status: "in_progress" }, {}]; // what is open may be older than the newest
const isOpen = ({ status }) => status === "in_queue" || status === "in_progress";

class Requests extends HTMLElement {
  #timer = 0;
  #isWatching = false;
  #listsOthers = true;
  #isAdmin = false;
  #isOfAll = false;

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
    const told = await this.#listed();
    const mine = new Map(history.entries().map((entry) => [entry.id, entry]));
    const found = new Map(this.#isOfAll ? [] : mine);
    for (const { request_id: id, owner, model_id: model, status, created_at: at } of told) {
      const earlier = mine.get(id);
      const word = status === "completed" && earlier && !isOpen(earlier) ? earlier.status : status;
      found.set(id, { ...earlier, id, owner, model, at, status: word, isOthers: this.#isOfAll && !earlier });
    }
    const all = [...found.values()].sort((one, other) => new Date(other.at) - new Date(one.at));
    await Promise.all(
      all
        .filter((entry) => isOpen(entry) && !entry.isOthers)
        .slice(0, MOST_ASKED)
        .map((entry) => this.#ask(entry)),
    );
    return all;
  }

  async #listed() {
    if (!this.#listsOthers) return [];
    try {
      const queries = this.#isOfAll ? OF_ALL.map((query) => ({ all: true, ...query })) : [{}];
      const pages = await Promise.all(queries.map(api.requests));
      this.#isAdmin = pages.every((page) => page.admin);
      return pages.flatMap((page) => page.requests);
    } catch (error) {
      if (error.status === 403 && this.#isOfAll) {
        this.#isOfAll = false; // somebody else has signed in
        return this.#listed();
      }
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
      this.#isAdmin ? this.#switch() : null,
      shown.length ? shown : h("p", { class: "soft" }, t("requests_none")),
      this.#listsOthers ? null : h("p", { class: "help" }, t("requests_mine_only")),
      history.entries().length ? h("div", { class: "row end" }, clear) : null,
    );
    if (focused) this.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  }

  /** Mine, or everybody's. */
  #switch() {
    const radio = (isOfAll, words) =>
      h(
        "label",
        {},
        h("input", {
          type: "radio",
          name: "whose",
          checked: this.#isOfAll === isOfAll,
          "data-focus": `whose ${isOfAll}`,
          onchange: () => {
            this.#isOfAll = isOfAll;
            this.#look();
          },
        }),
        h("span", {}, words),
      );
    return h(
      "div",
      { class: "segments whose", role: "radiogroup", "aria-label": t("requests_whose") },
      radio(false, t("requests_mine")),
      radio(true, t("requests_all")),
    );
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
    const opens = {
      type: "button",
      class: "open",
      "data-focus": `open ${entry.id}`,
      onclick: () => tell(this, "open-request", entry.id),
    };
    return h(
      "li",
      { class: entry.status },
      h(
        entry.isOthers ? "div" : "button",
        entry.isOthers ? { class: "open" } : opens,
        picture,
        h(
          "span",
          { class: "words" },
          h("b", {}, words),
          h(
            "small",
            {},
            h("span", { class: "state" }, state),
            `${entry.isOthers ? "" : ` · ${entry.title ?? entry.model}`} · ${moment(entry.at)}`,
          ),
        ),
      ),
      entry.owner
        ? h("span", { class: "owner", title: entry.owner }, h("span", { class: "hidden" }, t("owner")), entry.owner)
        : null,
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
