// A model's input schema: what each field is, what stands in it at first, and what is wrong with a value.
import { known, number, t } from "./texts.js";

const MIB = 2 ** 20;
const LONG_TEXT = 200;
const SIZE = /^(\d+)\*(\d+)(?: \((.+)\))?$/;
const PICTURES = ["image_uri", "image_uris"];

// rule of `validations` -> whether a picture breaks it; bounds are inclusive, but for the size of the file
const BREAKS = {
  "file_size_mb<": (facts, bound) => facts.bytes >= bound * MIB,
  "width_pixels>": (facts, bound) => facts.width < bound,
  "width_pixels<": (facts, bound) => facts.width > bound,
  "height_pixels>": (facts, bound) => facts.height < bound,
  "height_pixels<": (facts, bound) => facts.height > bound,
  "width/height>": (facts, bound) => facts.width / facts.height < bound,
  "width/height<": (facts, bound) => facts.width / facts.height > bound,
};

/** The fields of a model's form, in the schema's order. */
export function fieldsOf(model) {
  const { properties, required = [] } = model.input_schema;
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    schema,
    kind: kindOf(schema),
    isRequired: required.includes(name),
    title: schema.title || name,
  }));
}

function kindOf(schema) {
  if (PICTURES.includes(schema.format) || PICTURES.includes(schema.items?.format)) return "pictures";
  if (schema.enum) return schema.enum.every((each) => SIZE.test(each)) ? "size" : "choice";
  if (schema.type === "boolean") return "switch";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "array" && schema.items?.type === "string") return "list";
  if (schema.type === "string") return (schema.maxLength ?? Infinity) > LONG_TEXT ? "text" : "line";
  return "json";
}

/** What stands in a field at first: the schema's default, which for a required field is an example. */
export function exampleOf({ schema }) {
  return schema.default ?? schema.examples?.[0] ?? schema.example;
}

/** A size's parts: "1280*720 (16:9)" -> {width: 1280, height: 720, label: "16:9"}. */
export function sizeOf(text) {
  const [, width, height, label] = text.match(SIZE);
  return { width: Number(width), height: Number(height), label: label ?? `${width}:${height}` };
}

/** What is wrong with a field's value, in the reader's words; "" when nothing is. */
export function problemOf(field, value) {
  const { schema } = field;
  const isMissing = value === undefined || (Array.isArray(value) && !value.length);
  if (isMissing || value === "") return field.isRequired ? t("missing") : "";
  if (field.isRequired && typeof value === "string" && !value.trim()) return t("blank");
  const limits = {
    string_too_long: [schema.maxLength, (limit) => [...value].length > limit],
    string_too_short: [schema.minLength, (limit) => [...value].length < limit],
    too_long: [schema.maxItems, (limit) => value.length > limit],
    too_short: [schema.minItems, (limit) => value.length < limit],
    int_type: [schema.type === "integer" || undefined, () => !Number.isInteger(value)],
    less_than_equal: [schema.maximum, (limit) => value > limit],
    greater_than_equal: [schema.minimum, (limit) => value < limit],
  };
  for (const [type, [limit, isBroken]] of Object.entries(limits)) {
    if (limit !== undefined && isBroken(limit))
      return t(type, { limit: typeof limit === "number" ? number(limit) : "" });
  }
  return "";
}

/** The schema's own words for the first rule that a picture breaks; "" when it breaks none. */
export function pictureProblem(schema, facts) {
  const broken = (schema.validations ?? []).find((each) =>
    BREAKS[each.validation_rule]?.(facts, each.validation_value),
  );
  return broken?.validation_error ?? "";
}

/** A key of the API in words, where the page has words for it. */
export const inWords = (key) => known(`word_${key}`) ?? key.replaceAll("_", " ");
