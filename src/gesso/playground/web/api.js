// The public calls, and nothing that a foreign client could not use. Tokens come from token.js, words from texts.js.
import { randomName } from "./dom.js";
import { current, t } from "./texts.js";
import { ask, token } from "./token.js";

const TRIES = 3;
const PAUSE_MS = 800;
let publicUrl = location.origin;

/** What the server answered instead; status 0 where it did not answer at all. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = 0, detail = [] } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.detail = detail;
  }

  /** Whether the server has no such route: an older one, perhaps. */
  get isUnknownRoute() {
    return this.code === 404000 || this.code === 405000;
  }
}

export const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

/** The error that an answer tells. */
async function told(answer) {
  const body = await answer.json().catch(() => ({}));
  const message = body.error_message || t("server_error", { status: answer.status });
  return new ApiError(message, { status: answer.status, code: body.code, detail: body.detail });
}

/**
 * The answer to a call, asked for with the token; without a good one, the person is asked for it first.
 * Throws ApiError, also when nobody signs in.
 */
export async function open(path, { headers = {}, ...more } = {}) {
  for (;;) {
    const used = token.value;
    const answer = used && (await reached(path, { ...more, headers: { ...headers, Authorization: `Bearer ${used}` } }));
    if (answer && answer.ok) return answer;
    const error = answer ? await told(answer) : null;
    if (error && error.status !== 401) throw error;
    const isNew = token.value && token.value !== used; // another call was first to ask
    if (!isNew && !(await ask(error?.message))) throw new ApiError(t("token_needed"), { status: 401 });
  }
}

async function reached(path, options) {
  const url = new URL(path, location.origin);
  if (current() !== "en") url.searchParams.set("lang", current());
  try {
    return await fetch(url, { cache: "no-store", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(t("unreachable"));
  }
}

const json = async (path, options) => (await open(path, options)).json();
const requestPath = (id, part) => `/v1/requests/${encodeURIComponent(id)}/${part}`;
const modelPath = (id) => `/v1/models/${id.split("/").map(encodeURIComponent).join("/")}`;

export async function models() {
  const { models } = await json("/v1/models?limit=500");
  if (models.length) publicUrl = models[0].model_url.slice(0, -`/models/${models[0].model_id}`.length);
  return models;
}

export const model = (id) => json(modelPath(id));
export const status = (id, signal) => json(requestPath(id, "status"), { signal });
export const result = (id, signal) => json(requestPath(id, "result"), { signal });
export const cancel = (id) => json(requestPath(id, "cancel"), { method: "POST" });
export const events = (id, headers, signal) => open(requestPath(id, "events"), { headers, signal });
export const requests = (query) => json(`/v1/requests?${new URLSearchParams({ limit: 50, ...query })}`);

/** Submit once, however often the network fails: the key makes a repeated submit the same request. */
export async function submit(id, input) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": randomName() };
  for (let tried = 1; ; tried++) {
    try {
      return await json(modelPath(id), { method: "POST", headers, body: JSON.stringify(input) });
    } catch (error) {
      if (error.status !== 0 || tried === TRIES) throw error;
      await pause(PAUSE_MS);
    }
  }
}

export const upload = (file) =>
  json("/v1/files", {
    method: "POST",
    headers: { "Content-Type": file.type || "application/octet-stream" },
    body: file,
  });

/** Where clients reach this server. */
export const base = () => publicUrl;

/** One of the server's own URLs as seen from this page, which may be reached by another name than clients use. */
export const local = (url) => (isOurs(url) ? url.slice(publicUrl.length) : url);

export const isOurs = (url) => url.startsWith(`${publicUrl}/files/`);
