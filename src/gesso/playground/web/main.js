// The page: who tells whom. Each part knows its own business; this file knows all the parts.
import * as api from "./api.js";
import { drawModels, drawTools, priceOf, switchTheme } from "./bar.js";
import "./code.js";
import "./compare.js";
import { speak } from "./dom.js";
import { follow } from "./follow.js";
import "./form.js";
import * as history from "./history.js";
import "./requests.js";
import { exampleOf, fieldsOf } from "./schema.js";
import "./stage.js";
import { device, read, write } from "./storage.js";
import "./tabs.js";
import * as texts from "./texts.js";
import { t } from "./texts.js";
import { ask, broughtByLink, takeFromLink } from "./token.js";

const FINAL = ["succeeded", "failed", "cancelled"];
const find = (id) => document.getElementById(id);
const [form, stage, code, requests, tabs] = ["form", "stage", "code", "requests", "tabs"].map(find);
let models = [];
let model = null;
let turns = 0;
let watching = new AbortController();

async function start() {
  const brought = broughtByLink();
  await texts.learn(texts.preferred());
  drawTools();
  tabs.draw();
  stage.empty();
  await takeFromLink(brought);
  drawTools();
  await load();
  const id = new URLSearchParams(location.hash.slice(1)).get("request");
  if (id) openRequest(id);
}

/** The catalogue, and the model that the address names, or that was used last. */
async function load() {
  try {
    models = await api.models();
    drawModels(models);
    await choose(named() || lastUsed() || first());
  } catch (error) {
    stage.fail(error.message);
  }
}

const named = () => decodeURIComponent(location.pathname.match(/^\/models\/(.+)$/)?.[1] ?? "");
const lastUsed = () => models.find(({ model_id: id }) => id === device.get("gesso.model"))?.model_id;
const first = () => (models.find(({ inputs }) => inputs.includes("prompt")) ?? models[0])?.model_id;

/** Show the form of model *id*, with what was typed into it before. */
async function choose(id, input = null, shown = {}) {
  const turn = ++turns;
  if (model?.model_id !== id) form.replaceChildren(); // what is typed into it now would be lost
  const told = await api.model(id);
  if (turn !== turns) return; // another model was chosen meanwhile
  model = told;
  find("model").value = id;
  find("model-name").textContent = model.display_name;
  find("model-description").textContent = [model.description, priceOf(model)].filter(Boolean).join(" ");
  document.title = `${model.display_name} – Gesso`;
  const draft = read("gesso.drafts", {})[id];
  form.draw(model, input ?? draft?.input ?? null, input ? shown : (draft?.shown ?? {}));
}

async function switchLanguage(language) {
  device.set("gesso.language", language);
  await texts.learn(language);
  drawTools();
  tabs.draw();
  code.draw();
  if (!model) return load();
  const [input, shown] = [form.input, form.shown];
  models = await api.models();
  drawModels(models);
  await choose(model.model_id, isUntouched(input) ? null : input, shown);
  const id = new URLSearchParams(location.hash.slice(1)).get("request");
  if (id) openRequest(id);
  else stage.empty();
}

/** Whether *input* is what the form begins with. */
function isUntouched(input) {
  const examples = Object.fromEntries(fieldsOf(model).map((field) => [field.name, exampleOf(field)]));
  return Object.entries(input).every(([name, value]) => JSON.stringify(value) === JSON.stringify(examples[name]));
}

async function run({ model, input }) {
  const shown = form.shown;
  const befores = beforesOf(form.references, shown);
  leave();
  tabs.choose("result");
  stage.begin(befores[0]);
  bringStage();
  form.isSending = true;
  try {
    const { request_id: id } = await api.submit(model.model_id, input);
    history.add({
      id,
      model: model.model_id,
      title: model.display_name,
      input,
      at: new Date().toISOString(),
      status: "in_queue",
    });
    address(id);
    watch(id, { input, befores, hasSeed: form.hasSeed });
  } catch (error) {
    const others = form.showProblems(error.detail ?? []);
    if (error.detail?.length && !others.length) stage.empty();
    else stage.fail([error.message, ...others.map(({ msg }) => msg)].join(" "));
  }
  form.isSending = false;
}

/** Bring the stage into sight: where it lies beside the form it scrolls by itself, else the page has to. */
function bringStage() {
  tabs.parentElement.scrollTo({ top: 0 });
  if (matchMedia("(max-width: 900px)").matches) tabs.scrollIntoView({ block: "start", behavior: "smooth" });
}

/** Stop looking at what is on the stage; it goes on without us. */
function leave() {
  watching.abort();
  watching = new AbortController();
}

async function watch(id, known) {
  const { signal } = watching;
  try {
    for await (const event of follow(id, signal)) {
      if (signal.aborted) return;
      if (event.kind === "result") finish(event.data, known);
      else stage.update(id, event);
    }
  } catch (error) {
    if (!signal.aborted) stage.fail(error.message);
  }
}

function finish(result, known) {
  history.change(result.request_id, { status: result.status });
  stage.end(result, known);
}

/** Put a request on the stage, whether it has ended or not. */
async function openRequest(id) {
  const entry = history.find(id);
  const befores = beforesOf(urlsIn(entry?.input), {});
  const fields = model && entry?.model === model.model_id ? fieldsOf(model) : [];
  const known = { input: entry?.input, befores, hasSeed: fields.some(({ name }) => name === "seed"), isPast: true };
  leave();
  tabs.choose("result");
  address(id);
  stage.begin(befores[0]);
  bringStage();
  try {
    const result = await api.result(id, watching.signal);
    if (FINAL.includes(result.status)) finish(result, known);
    else watch(id, known);
  } catch (error) {
    stage.fail(error.message);
  }
}

/** What the compared picture may look like here: only what is on this server, or in this page. */
function beforesOf(urls, shown) {
  return urls
    .map((url) => shown[url] ?? (api.isOurs(url) || url.startsWith("data:image/") ? api.local(url) : null))
    .filter(Boolean);
}

const urlsIn = (input) =>
  Object.values(input ?? {})
    .flat()
    .filter((each) => typeof each === "string" && /^(https?:|data:image\/)/.test(each));

/** Keep the request in the address, where a reload finds it and the server never sees it. */
const address = (id) => window.history.replaceState(null, "", `${location.pathname}#request=${id}`);

async function restore(id) {
  const entry = history.find(id);
  if (entry.model !== model?.model_id) go(entry.model);
  await choose(entry.model, entry.input);
  find("form").scrollIntoView({ block: "start", behavior: "smooth" });
}

function go(id) {
  device.set("gesso.model", id);
  window.history.pushState(null, "", `/models/${id}`);
}

function keepDraft() {
  const { input, shown } = form;
  const kept = Object.fromEntries(Object.entries(shown).filter(([, each]) => !each.startsWith("blob:")));
  const drafts = read("gesso.drafts", {});
  write("gesso.drafts", { ...drafts, [model.model_id]: isUntouched(input) ? undefined : { input, shown: kept } });
}

/** Whoever signs out leaves nothing for the next one at this browser. */
function forget() {
  history.clear();
  write("gesso.drafts", {});
}

find("model").addEventListener("change", async ({ target }) => {
  if (target.value === model?.model_id && form.hasChildNodes()) return;
  go(target.value);
  leave();
  stage.empty();
  await choose(target.value).catch((error) => stage.fail(error.message));
});
find("language").addEventListener("change", ({ target }) => switchLanguage(target.value));
find("theme").addEventListener("click", switchTheme);
find("account").addEventListener("click", async () => (await ask()) && load());
document.addEventListener("account", drawTools);
document.addEventListener("signed-out", forget);
form.addEventListener("run", ({ detail }) => run(detail));
form.addEventListener("edited", () => (code.show(model.model_id, form.input), keepDraft()));
stage.addEventListener("use", ({ detail }) => (form.usePicture(detail), speak(t("used_as_input"))));
stage.addEventListener(
  "reseed",
  ({ detail }) => (form.fill(form.reseeded(detail), form.shown), run({ model, input: form.input })),
);
stage.addEventListener("restore", ({ detail }) => restore(detail));
stage.addEventListener("shown", ({ detail }) => history.change(detail.id, { thumb: history.thumb(detail.picture) }));
requests.addEventListener("open-request", ({ detail }) => openRequest(detail));
tabs.addEventListener("chosen", ({ detail }) => (requests.isWatching = detail === "requests"));
window.addEventListener("popstate", () => {
  if (named() && named() !== model?.model_id) load(); // a step to an anchor of the page leaves the form alone
});
window.addEventListener("paste", (event) => {
  const isTyping = event.target.closest?.("input, textarea");
  const hasFiles = event.clipboardData.files.length > 0;
  if ((!isTyping || hasFiles) && form.take(event.clipboardData)) event.preventDefault();
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  window.addEventListener(name, (event) => {
    const isOutside = ["Files", "text/uri-list"].some((type) => event.dataTransfer.types.includes(type));
    if (!isOutside) return;
    event.preventDefault();
    document.body.classList.toggle("dropping", name === "dragenter" || name === "dragover");
    if (name === "drop") form.take(event.dataTransfer);
  });
}

start();
