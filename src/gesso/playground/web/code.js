// What stands in the form as a program: curl, Python, JavaScript. The token comes from the environment.
import { base } from "./api.js";
import { h, icon, speak } from "./dom.js";
import { t } from "./texts.js";

const LANGUAGES = { curl: ["curl", curl], python: ["Python", python], javascript: ["JavaScript", javascript] };

function curl(server, model, input) {
  const body = JSON.stringify(input, null, 2).replaceAll("'", `'\\''`);
  return `curl --request POST \\
  --url ${server}/v1/models/${model} \\
  --header "Content-Type: application/json" \\
  --header "Authorization: Bearer $GESSO_TOKEN" \\
  --data '${body}'

# The answer names a request_id. Ask for the result until its status is "succeeded":
curl --url ${server}/v1/requests/$REQUEST_ID/result \\
  --header "Authorization: Bearer $GESSO_TOKEN"
`;
}

function python(server, model, input) {
  return `import json
import os
import time
import urllib.request

TOKEN = os.environ["GESSO_TOKEN"]


def call(url, body=None):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
        return json.load(answer)


request = call("${server}/v1/models/${model}", ${asPython(input)})
while call(request["status_url"])["status"] in ("in_queue", "in_progress"):
    time.sleep(1)
print(json.dumps(call(request["result_url"]), indent=2))
`;
}

function javascript(server, model, input) {
  return `const headers = {
  "Authorization": \`Bearer \${process.env.GESSO_TOKEN}\`,
  "Content-Type": "application/json",
};

const call = async (url, options) => {
  const answer = await fetch(url, { headers, ...options });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
};

const input = ${JSON.stringify(input, null, 2)};
const request = await call("${server}/v1/models/${model}", { method: "POST", body: JSON.stringify(input) });
while (["in_queue", "in_progress"].includes((await call(request.status_url)).status)) {
  await new Promise((resolve) => setTimeout(resolve, 1000));
}
console.log(JSON.stringify(await call(request.result_url), null, 2));
`;
}

/** *value* as Python writes it: the same as JSON but for three words. */
function asPython(value, indent = "") {
  const deeper = `${indent}    `;
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const parts = isList
    ? value.map((each) => asPython(each, deeper))
    : Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${asPython(each, deeper)}`);
  const [open, close] = isList ? "[]" : "{}";
  return parts.length
    ? `${open}\n${parts.map((part) => `${deeper}${part},\n`).join("")}${indent}${close}`
    : open + close;
}

class Code extends HTMLElement {
  #language = "curl";
  #call = null;

  /** Show the call that submits *input* to *model*. */
  show(model, input) {
    this.#call = [base(), model, input];
    const text = this.#text();
    const shown = this.querySelector("code");
    if (shown) shown.textContent = text;
    else this.draw();
  }

  draw() {
    if (!this.#call) return;
    const radios = Object.entries(LANGUAGES).map(([name, [title]]) => {
      const radio = h("input", {
        type: "radio",
        name: "code",
        value: name,
        onchange: () => ((this.#language = name), this.draw()),
      });
      radio.checked = name === this.#language;
      return h("label", {}, radio, h("span", {}, title));
    });
    const words = h("span", {}, t("copy"));
    const copy = h("button", { type: "button", onclick: () => this.#copy(words) }, icon("copy"), words);
    const focused = document.activeElement?.name === "code" && this.contains(document.activeElement);
    this.replaceChildren(
      h(
        "div",
        { class: "row between" },
        h("div", { class: "segments", role: "radiogroup", "aria-label": t("code_language") }, radios),
        copy,
      ),
      h(
        "pre",
        { class: "card", tabindex: "0", "aria-label": LANGUAGES[this.#language][0] },
        h("code", {}, this.#text()),
      ),
      h("p", { class: "help" }, t("code_help")),
      h("pre", { class: "small" }, "export GESSO_TOKEN=…"),
    );
    if (focused) this.querySelector("input:checked").focus();
  }

  #text() {
    return LANGUAGES[this.#language][1](...this.#call);
  }

  async #copy(words) {
    const isDone = (await copied(this.#text())) || selected(this.querySelector("code"));
    words.textContent = isDone ? t("copied") : t("copy_by_hand");
    speak(words.textContent);
    setTimeout(() => (words.textContent = t("copy")), 2000);
  }
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // plain http, or not allowed
  }
}

/** Copy the old way, which works on plain http too; the text stays selected in any case. */
function selected(element) {
  getSelection().selectAllChildren(element);
  return document.execCommand("copy");
}

customElements.define("gesso-code", Code);
