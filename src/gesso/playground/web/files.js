// Picture files in the browser: what they measure, what was dropped or pasted, and how a large one is made to fit.
import { t } from "./texts.js";

const MOST_SIDE = { "width_pixels<": "width", "height_pixels<": "height" };
const QUALITY = 0.92;

/** Size in bytes and upright pixels; null where the browser cannot read the file. */
export async function measured(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const { width, height } = bitmap;
    bitmap.close();
    return { bytes: file.size, width, height };
  } catch {
    return null;
  }
}

/** Whether *facts* break only rules that a smaller copy would keep, such as those of a large photograph from a phone. */
export function isShrinkable(schema, facts) {
  if (!facts) return false;
  const rules = schema.validations ?? [];
  return rules.some(({ validation_rule: rule, validation_value: bound }) =>
    rule === "file_size_mb<" ? facts.bytes >= bound * 2 ** 20 : facts[MOST_SIDE[rule]] > bound,
  );
}

/** A copy of *file* as JPEG that is as large as the schema's rules for its sides let it be. */
export async function shrunk(file, schema, facts) {
  const scales = (schema.validations ?? [])
    .filter(({ validation_rule: rule }) => rule in MOST_SIDE)
    .map(({ validation_rule: rule, validation_value: bound }) => bound / facts[MOST_SIDE[rule]]);
  const scale = Math.min(1, ...scales);
  const canvas = document.createElement("canvas");
  canvas.width = Math.floor(facts.width * scale);
  canvas.height = Math.floor(facts.height * scale);
  const paper = canvas.getContext("2d");
  paper.fillStyle = "#fff"; // where a picture is transparent, as on the server
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.drawImage(await createImageBitmap(file), 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  return new File([blob], file.name.replace(/\.\w+$/, ".jpg"), { type: "image/jpeg" });
}

/** The pictures and URLs in what was dropped or pasted. */
export function broughtIn(transfer) {
  const files = [...(transfer?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  const text = transfer?.getData("text/uri-list") || transfer?.getData("text/plain") || "";
  const urls = files.length ? [] : text.split(/\s+/).filter((each) => /^(https?:\/\/|data:image\/)\S+$/i.test(each));
  return { files, urls };
}

/** What to call the picture behind *url*. */
export function nameOf(url) {
  try {
    const { hostname, pathname, protocol } = new URL(url);
    return protocol === "data:" ? t("picture") : decodeURIComponent(pathname.split("/").pop()) || hostname;
  } catch {
    return url;
  }
}
