// Making elements. Text stays text: nothing is ever parsed as HTML, and the page's policy forbids it too.

/**
 * An element: `h("button", {class: "quiet", onclick: run}, "Run")`.
 * Properties that begin with "on" are listeners; true sets a bare attribute; null, undefined and false set none.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...shownOf(children));
  return element;
}

/** Make *children* all that *element* holds; as in `h`, lists are taken apart, and null is nothing. */
export function fill(element, ...children) {
  element.replaceChildren(...shownOf(children));
}

const shownOf = (children) =>
  children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

const STROKES = {
  run: "M8 5.500v13l11-6.500z",
  add: "M12 5v14M5 12h14",
  remove: "M6 6l12 12M18 6L6 18",
  left: "M14.5 6l-6 6 6 6",
  right: "M9.5 6l6 6-6 6",
  light:
    "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.400M17.6 17.600L19 19M19 5l-1.4 1.400M6.4 17.600L5 19",
  dark: "M20 14.500A8.5 8.5 0 119.5 4a6.8 6.8 0 0010.5 10.500z",
  auto: "M12 3a9 9 0 100 18 9 9 0 000-18zM12 3v18M15 5v14M18 7v10",
  key: "M14.5 3.500a6 6 0 00-5.7 7.900L3 17.200V21h3.800v-2.500h2.500V16h2l1.3-1.300a6 6 0 101.9-11.200zM16 8h.01",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  zoom: "M10.5 4a6.5 6.5 0 100 13 6.5 6.5 0 000-13zM15.5 15.500L20 20M10.5 7.500v6M7.5 10.500h6",
  dice: "M5 4h14a1 1 0 011 1v14a1 1 0 01-1 1H5a1 1 0 01-1-1V5a1 1 0 011-1zM8.5 8.500h.01M15.5 8.500h.01M12 12h.01M8.5 15.500h.01M15.5 15.500h.01",
  reuse: "M4 12a8 8 0 0113.7-5.600L20 9M20 4v5h-5M20 12a8 8 0 01-13.7 5.600L4 15M4 20v-5h5",
  copy: "M9 9h10v11H9zM5 15V4h10",
  image: "M4 5h16v14H4zM4 16l4.5-4.500L13 16M13 14l2.5-2.500L20 16M15.5 8.500h.01",
  restore: "M4 4v5h5M4.5 9A8 8 0 1112 20",
};

/** A drawing beside words; it says nothing by itself. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  for (const [key, value] of Object.entries({
    viewBox: "0 0 24 24",
    class: `icon icon-${name}`,
    "aria-hidden": "true",
  })) {
    drawing.setAttribute(key, value);
  }
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", STROKES[name]);
  drawing.append(path);
  return drawing;
}

/** A button that shows a drawing only; its words are for the tooltip and for those who do not see it. */
export function iconButton(name, words, onclick, more = {}) {
  return h(
    "button",
    { type: "button", class: "quiet square", title: words, "aria-label": words, onclick, ...more },
    icon(name),
  );
}

/** Say *text* to those who listen to the page. */
export function speak(text) {
  document.getElementById("spoken").textContent = text;
}

/** An event that others may listen to. */
export function tell(element, name, detail = undefined) {
  element.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
}

/** Random bytes as hex; `crypto.randomUUID` is missing on plain http. */
export function randomName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
