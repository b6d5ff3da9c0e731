"""Judges a body by a model's input schema, and fills in what it leaves out."""

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

import jsonschema_rs

from gesso.core.errors import InvalidInput, Problem
from gesso.core.pictures import PictureFault, Validation

JudgeImage = Callable[[str, str], None]
"""Judges the spelling of one image value, given its field and text; raises PictureFault. Nothing is fetched."""

IMAGE_FORMATS = frozenset({"image_uri", "image_uris"})
_INVISIBLE = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])

# keyword of JSON Schema -> type of the problem, and the name of its bound
_KEYWORDS: Mapping[str, tuple[str, str | None]] = {
    "enum": ("enum", "choices"),
    "maxLength": ("string_too_long", "limit"),
    "minLength": ("string_too_short", "limit"),
    "maxItems": ("too_long", "limit"),
    "minItems": ("too_short", "limit"),
    "maximum": ("less_than_equal", "limit"),
    "minimum": ("greater_than_equal", "limit"),
}
_TYPES: Mapping[str, str] = {
    "string": "string_type",
    "integer": "int_type",
    "number": "number_type",
    "boolean": "bool_type",
    "array": "list_type",
    "object": "object_type",
}


class Schema:
    """A model's input schema, and the rules that it states in words only.

    Args:
        schema: as published: an object with `properties` and `required`.
        rules: field -> further JSON Schema keywords, and `blank = false`; from the model's definition.

    Attributes:
        image_fields: the fields that hold pictures, in schema order.
    """

    def __init__(self, schema: Mapping[str, Any], rules: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.properties: Mapping[str, Mapping[str, Any]] = schema["properties"]
        self.image_fields = tuple(name for name, field in self.properties.items() if _holds_images(field))
        self.required = frozenset(schema.get("required", ()))
        self._rules = rules or {}
        strict = {name: _plain({**field, **self._rules.get(name, {})}) for name, field in self.properties.items()}
        self._validator = jsonschema_rs.validator_for(
            {"type": "object", "required": sorted(self.required), "properties": strict}, validate_formats=False
        )
        self._order = {name: place for place, name in enumerate(self.properties)}
        self._defaults = {
            name: field["default"]
            for name, field in self.properties.items()
            if "default" in field and field["default"] is not None and name not in self.required
        }

    def validations(self, field: str) -> tuple[Validation, ...]:
        """The rules for the files of *field*, in order, in the schema's language."""
        entries = self.properties[field].get("validations", ())
        return tuple(
            Validation(each["validation_rule"], each["validation_value"], each["validation_error"]) for each in entries
        )

    def accept(self, body: Mapping[str, Any], judge_image: JudgeImage) -> dict[str, Any]:
        """The resolved input: known fields only, nulls dropped, whole floats made integers, defaults filled.

        A required field is never filled from its default: that is an example for forms.

        Raises:
            InvalidInput: with every problem, in schema order.
        """
        given = self.given(body)
        problems = list(self._problems(given, judge_image))
        if problems:
            raise InvalidInput(tuple(sorted(problems, key=self._place)))
        return {name: self._whole(name, value) for name, value in (self._defaults | given).items()}

    def given(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What *body* says that counts: known fields, nulls dropped."""
        return {name: body[name] for name in self.properties if body.get(name) is not None}

    def _problems(self, given: Mapping[str, Any], judge_image: JudgeImage) -> Iterator[Problem]:
        told: set[tuple[str | int, ...]] = set()
        if not self._validator.is_valid(given):
            for problem in map(self._problem, self._validator.iter_errors(given)):
                if problem.loc not in told:  # a wrong type breaks the range too: say it once
                    yield problem
                told.add(problem.loc)
        for name, value in given.items():
            if ("body", name) not in told:
                yield from self._wordless(name, value, judge_image, told)

    def _wordless(
        self, name: str, value: Any, judge_image: JudgeImage, told: Container[tuple[str | int, ...]]
    ) -> Iterator[Problem]:
        """What JSON Schema has no keyword for: characters, blanks, the spelling of images."""
        for loc, text in _strings(("body", name), value):
            if loc in told:
                continue
            if not _storable(text):
                yield Problem(loc, "string_characters")
            elif self._rules.get(name, {}).get("blank") is False and not text.translate(_INVISIBLE).strip():
                yield Problem(loc, "blank")
            elif name in self.image_fields:
                try:
                    judge_image(name, text)
                except PictureFault as fault:
                    yield fault.at(*loc)

    def _problem(self, error: jsonschema_rs.ValidationError) -> Problem:
        keyword = str(error.schema_path[-1])
        loc: tuple[str | int, ...] = ("body", *error.instance_path)
        if keyword == "required":
            return Problem((*loc, _missing(error)), "missing")
        field = _at(self.properties, self._rules, error.schema_path)
        if keyword == "type":
            return Problem(loc, _TYPES.get(str(field.get("type")), "invalid"))
        if keyword not in _KEYWORDS:
            return Problem(loc, "invalid")
        kind, bound = _KEYWORDS[keyword]
        shown = ", ".join(map(str, field["enum"])) if kind == "enum" else field[keyword]
        return Problem(loc, kind, {bound: shown} if bound else {})

    def _place(self, problem: Problem) -> tuple[int, tuple[str, ...]]:
        return self._order.get(str(problem.loc[1]), len(self._order)), tuple(f"{step:>6}" for step in problem.loc[2:])

    def _whole(self, name: str, value: Any) -> Any:
        is_integer = self.properties[name].get("type") == "integer"
        return int(value) if is_integer and isinstance(value, float) else value


def _plain(field: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords that judge, without those that describe."""
    kept = {"type", "items", "enum", *_KEYWORDS}
    plain = {key: value for key, value in field.items() if key in kept}
    if isinstance(field.get("items"), Mapping):
        plain["items"] = _plain(field["items"])
    return plain


def _holds_images(field: Mapping[str, Any]) -> bool:
    items = field.get("items")
    formats = {field.get("format"), items.get("format") if isinstance(items, Mapping) else None}
    return bool(formats & IMAGE_FORMATS)


def _missing(error: jsonschema_rs.ValidationError) -> str:
    kind = error.kind
    return str(getattr(kind, "property", error.message))


def _at(
    properties: Mapping[str, Any], rules: Mapping[str, Mapping[str, Any]], schema_path: list[str | int]
) -> Mapping[str, Any]:
    """The part of the schema that an error speaks of."""
    name = str(schema_path[1])
    node: Mapping[str, Any] = {**properties[name], **rules.get(name, {})}
    for step in schema_path[2:-1]:
        node = node[str(step)]
    return node


def _strings(loc: tuple[str | int, ...], value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield loc, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings((*loc, index), item)


def _storable(text: str) -> bool:
    """Whether both databases can keep *text*: no U+0000, no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
