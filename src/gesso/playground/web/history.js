// What this browser remembers of its requests, so that a reload loses nothing. The server has the pictures.
import { read, write } from "./storage.js";

const NAME = "gesso.history";
const MOST = 60;
const THUMB_PX = 160;

/** Newest first: {id, model, title, input, at, status, thumb}. */
export const entries = () => read(NAME, []);

export const find = (id) => entries().find((entry) => entry.id === id) ?? null;

export const add = (entry) => write(NAME, [entry, ...entries()].slice(0, MOST));

export function change(id, told) {
  write(
    NAME,
    entries().map((entry) => (entry.id === id ? { ...entry, ...told } : entry)),
  );
}

export const clear = () => write(NAME, []);

/** *picture* small, as a data URI; null where another origin forbids to read it. */
export function thumb(picture) {
  const scale = THUMB_PX / Math.max(picture.naturalWidth, picture.naturalHeight, 1);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(picture.naturalHeight * scale));
  try {
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/jpeg", 0.8);
  } catch {
    return null;
  }
}
