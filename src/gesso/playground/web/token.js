// The token: where it is kept, and the dialog that asks for it. It leaves this page in one header only.
import { h, icon } from "./dom.js";
import { device, tab } from "./storage.js";
import { t } from "./texts.js";

const NAME = "gesso.token";
let asking = null;

export const token = {
  get value() {
    return tab.get(NAME) || device.get(NAME) || "";
  },
  get isRemembered() {
    return Boolean(device.get(NAME));
  },
  keep(value, isRemembered) {
    tab.set(NAME, isRemembered ? null : value);
    device.set(NAME, isRemembered ? value : null);
  },
  forget() {
    this.keep(null, false);
  },
};

/** The token that a link has brought behind its `#`, taken out of the address bar; "" where there is none. */
export function broughtByLink() {
  const brought = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  if (brought) history.replaceState(history.state, "", location.pathname + location.search);
  return brought;
}

/** What is wrong with a token; "" when the server takes it. */
async function judged(value) {
  if (!/^[\x21-\x7e]+$/.test(value)) return t("token_malformed");
  try {
    const answer = await fetch("/v1/balance", { headers: { Authorization: `Bearer ${value}` }, cache: "no-store" });
    if (answer.ok) return "";
    return answer.status === 401 ? t("token_refused") : t("server_error", { status: answer.status });
  } catch {
    return t("unreachable");
  }
}

/** Take what a link has brought. Whoever is signed in as somebody else is asked first: a link may come from anybody. */
export async function takeFromLink(brought) {
  if (!brought || brought === token.value) return;
  if (token.value && !(await judged(token.value))) await ask(t("token_from_link"), brought);
  else if (!(await judged(brought))) token.keep(brought, false);
  else await ask(t("token_refused"), brought);
}

/**
 * Ask the person for a token until the server takes it. Whoever asks meanwhile waits for the same answer.
 * Gives whether there is a good token now.
 */
export function ask(why = "", suggested = "") {
  asking ??= new Promise((resolve) => show(why, suggested, resolve)).finally(() => (asking = null));
  return asking;
}

/** The dialog; *resolve* is told whether it ended with a good token. */
function show(why, suggested, resolve) {
  const field = tokenField(suggested);
  const problem = h("p", { id: "token-problem", class: "problem", role: "alert" });
  const remember = h("input", { type: "checkbox" });
  remember.checked = token.isRemembered;
  const say = (words) => {
    problem.textContent = words;
    if (words) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  };
  const submit = async (event) => {
    event.preventDefault();
    const value = field.value.trim();
    const wrong = await judged(value);
    say(wrong);
    if (wrong) return field.select();
    token.keep(value, remember.checked);
    dialog.close("good");
  };
  const dialog = h(
    "dialog",
    { class: "sheet", "aria-labelledby": "token-title", onclose: () => ended(dialog, resolve) },
    h(
      "form",
      { onsubmit: submit, novalidate: true },
      h("h2", { id: "token-title" }, icon("key"), t("token_title")),
      h("label", { for: "token" }, t("token_label")),
      field,
      problem,
      h("p", { id: "token-help", class: "help" }, t("token_help")),
      h("pre", {}, "gesso tokens create --owner NAME"),
      h("label", { class: "check" }, remember, t("token_remember")),
      h(
        "div",
        { class: "row end" },
        buttons(() => dialog.close()),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  say(why);
}

function tokenField(value) {
  return h("input", {
    id: "token",
    type: "password",
    autocomplete: "current-password",
    spellcheck: "false",
    required: true,
    placeholder: "gesso_…",
    value,
    "aria-describedby": "token-problem token-help",
  });
}

function buttons(close) {
  const signOut = () => {
    token.forget();
    document.dispatchEvent(new CustomEvent("signed-out"));
    close();
  };
  return [
    token.value ? h("button", { type: "button", class: "quiet danger", onclick: signOut }, t("token_forget")) : null,
    h("button", { type: "button", class: "quiet", onclick: close }, t("close")),
    h("button", { class: "primary" }, t("token_use")),
  ];
}

function ended(dialog, resolve) {
  dialog.remove();
  resolve(dialog.returnValue === "good");
  document.dispatchEvent(new CustomEvent("account"));
}
