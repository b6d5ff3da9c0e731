// Where a request stands, told until it ends: by the server's events, or by polling where it has none, or no more.
import { events, pause, result, status } from "./api.js";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 8000;
const POLLS = [
  [10, 500],
  [30, 1000],
  [Infinity, 2000],
]; // so many polls, so far apart

const HOPELESS = [401, 404]; // nobody signs in, or there is no such request

/**
 * Yields {kind, data}: `status`, `progress` and `preview` as the server tells them, `away` while it cannot be reached,
 * and last `result` with the body of /result. Throws what cannot be waited out: the request is not there, nobody signs
 * in, or *signal* says to stop.
 */
export async function* follow(id, signal) {
  const seen = { id: "" };
  let speaksEvents = true;
  for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(wait * 2, LONGEST_PAUSE_MS)) {
    try {
      for await (const event of speaksEvents ? streamed(id, seen, signal) : polled(id, signal)) {
        yield event;
        if (event.kind === "result") return;
        wait = FIRST_PAUSE_MS;
      }
    } catch (error) {
      if (speaksEvents && (error.isUnknownRoute || error.status === 429)) {
        speaksEvents = false;
        continue;
      }
      if (signal.aborted || HOPELESS.includes(error.status)) throw error;
      yield { kind: "away", data: { message: error.message } };
    }
    await pause(wait, signal);
  }
}

async function* polled(id, signal) {
  for (let count = 0; ; count++) {
    const told = await status(id, signal);
    if (told.status === "completed" || told.status === "cancelled") break;
    yield { kind: "status", data: told };
    await pause(POLLS.find(([most]) => count < most)[1], signal);
  }
  yield { kind: "result", data: await result(id, signal) };
}

async function* streamed(id, seen, signal) {
  const headers = { Accept: "text/event-stream", ...(seen.id ? { "Last-Event-ID": seen.id } : {}) };
  const answer = await events(id, headers, signal);
  let event = { kind: "message", lines: [] };
  for await (const line of linesOf(answer.body)) {
    if (line === "") {
      if (event.lines.length) yield { kind: event.kind, data: JSON.parse(event.lines.join("\n")) };
      event = { kind: "message", lines: [] };
      continue;
    }
    const [, name, value] = line.match(/^([^:]*):? ?(.*)$/);
    if (name === "event") event.kind = value;
    if (name === "data") event.lines.push(value);
    if (name === "id") seen.id = value;
  }
}

async function* linesOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    yield* lines;
  }
}
