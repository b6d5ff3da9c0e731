"""A body is judged by the model's schema: every problem is told, in order, and nothing is coerced."""

from typing import Any

import pytest

from gesso.core.errors import InvalidInput, Problem
from gesso.core.pictures import PictureFault
from gesso.core.schema import Schema

RULES = {"validation_rule": "width_pixels>", "validation_value": 384, "validation_error": "Too narrow."}
PUBLISHED = {
    "type": "object",
    "required": ["prompt", "image_urls"],
    "properties": {
        "prompt": {"type": "string", "default": "an example, no default"},
        "image_urls": {
            "type": "array",
            "items": {"type": "string", "format": "image_uri"},
            "minItems": 1,
            "maxItems": 3,
            "default": ["https://example.com/a.png"],
            "validations": [RULES],
        },
        "negative_prompt": {"type": "string", "default": "blurred", "minLength": 2, "maxLength": 5},
        "image_size": {"type": "string", "enum": ["1024*1024 (1:1)", "800*1200 (2:3)"], "default": "1024*1024 (1:1)"},
        "seed": {"type": "integer", "minimum": 0, "maximum": 2147483647, "default": 0},
        "strength": {"type": "number", "minimum": 0, "maximum": 1},
        "prompt_extend": {"type": "boolean", "default": True},
        "tags": {"type": "object"},
        "mask": {"type": "string", "format": "image_uri", "default": None},
    },
}
SCHEMA = Schema(PUBLISHED, {"prompt": {"maxLength": 7, "blank": False}})
GOOD = {"prompt": "a cat", "image_urls": ["https://a.example/1.png"]}


def spelt(field: str, text: str) -> None:
    if not text.startswith("https://"):
        raise PictureFault("image_uri")


def accept(**fields: Any) -> dict[str, Any]:
    return SCHEMA.accept({**GOOD, **fields}, spelt)


def problems(**fields: Any) -> list[Problem]:
    with pytest.raises(InvalidInput) as caught:
        accept(**fields)
    return list(caught.value.problems)


def told(**fields: Any) -> list[tuple[tuple[str | int, ...], str]]:
    return [(problem.loc, problem.type) for problem in problems(**fields)]


@pytest.mark.parametrize(
    ("field", "value", "at", "type"),
    [
        ("prompt", None, (), "missing"),
        ("prompt", 1, (), "string_type"),
        ("prompt", True, (), "string_type"),
        ("prompt", ["a"], (), "string_type"),
        ("prompt", {"a": 1}, (), "string_type"),
        ("prompt", "12345678", (), "string_too_long"),
        ("prompt", "", (), "blank"),
        ("prompt", " \t\r\n\u3000\u00a0", (), "blank"),
        ("prompt", "\u200b\u200c\u200d\u2060\ufeff", (), "blank"),
        ("prompt", "a\x00b", (), "string_characters"),
        ("prompt", "a\ud800", (), "string_characters"),
        ("negative_prompt", "a\x00b", (), "string_characters"),
        ("negative_prompt", "a", (), "string_too_short"),
        ("negative_prompt", "123456", (), "string_too_long"),
        ("image_urls", None, (), "missing"),
        ("image_urls", "https://a.example/1.png", (), "list_type"),
        ("image_urls", [], (), "too_short"),
        ("image_urls", ["https://a.example/"] * 4, (), "too_long"),
        ("image_urls", ["https://a.example/", None], (1,), "string_type"),
        ("image_urls", ["https://a.example/", "ftp://a"], (1,), "image_uri"),
        ("image_urls", ["https://a.example/\x00"], (0,), "string_characters"),
        ("image_size", 1024, (), "string_type"),
        ("image_size", "1024*1024", (), "enum"),
        ("seed", "1", (), "int_type"),
        ("seed", True, (), "int_type"),
        ("seed", 1.5, (), "int_type"),
        ("seed", [1], (), "int_type"),
        ("seed", -1, (), "greater_than_equal"),
        ("seed", 2147483648, (), "less_than_equal"),
        ("seed", 2**64, (), "less_than_equal"),
        ("seed", 10**400, (), "less_than_equal"),
        ("strength", "0.5", (), "number_type"),
        ("strength", False, (), "number_type"),
        ("strength", 1.01, (), "less_than_equal"),
        ("prompt_extend", "true", (), "bool_type"),
        ("prompt_extend", 1, (), "bool_type"),
        ("tags", [], (), "object_type"),
        ("mask", "ftp://a", (), "image_uri"),
    ],
)  # fmt: skip
def test_a_breach_is_told_once_with_its_place_and_its_type(
    field: str, value: Any, at: tuple[int, ...], type: str
) -> None:
    assert told(**{field: value}) == [(("body", field, *at), type)]


def test_a_problem_knows_the_bound_that_was_broken() -> None:
    facts = {problem.loc[1]: problem.facts for problem in problems(
        prompt="12345678", image_urls=[], image_size="x", seed=-1, strength=2
    )}  # fmt: skip

    assert facts == {
        "prompt": {"limit": 7},
        "image_urls": {"limit": 1},
        "image_size": {"choices": "1024*1024 (1:1), 800*1200 (2:3)"},
        "seed": {"limit": 0},
        "strength": {"limit": 1},
    }


def test_every_problem_is_told_in_the_order_of_the_schema() -> None:
    wrong = {"mask": "x", "prompt_extend": 0, "seed": -1, "image_size": "x", "prompt": "", "negative_prompt": "123456"}

    assert [problem.loc[1] for problem in problems(**wrong)] == [
        "prompt", "negative_prompt", "image_size", "seed", "prompt_extend", "mask",
    ]  # fmt: skip


def test_items_are_told_in_the_order_of_the_list() -> None:
    schema = Schema({"properties": {"images": {"type": "array", "items": {"type": "string", "format": "image_uri"}}}})

    with pytest.raises(InvalidInput) as caught:
        schema.accept({"images": ["x"] * 12}, spelt)

    assert [problem.loc[2] for problem in caught.value.problems] == list(range(12))


def test_an_item_of_the_wrong_type_does_not_hide_a_misspelt_one() -> None:
    assert told(image_urls=["ftp://a", 1, "https://a.example/"]) == [
        (("body", "image_urls", 0), "image_uri"),
        (("body", "image_urls", 1), "string_type"),
    ]


def test_an_item_that_breaks_the_schema_is_not_judged_by_its_spelling_too() -> None:
    items = {"type": "string", "format": "image_uri", "maxLength": 3}
    schema = Schema({"properties": {"images": {"type": "array", "items": items}}})

    with pytest.raises(InvalidInput) as caught:
        schema.accept({"images": ["ftp://a", "x"]}, spelt)

    assert [(each.loc[2], each.type) for each in caught.value.problems] == [(0, "string_too_long"), (1, "image_uri")]


def test_a_list_that_is_too_long_has_no_item_judged() -> None:
    def never(field: str, text: str) -> None:
        raise AssertionError(text)

    with pytest.raises(InvalidInput) as caught:
        SCHEMA.accept({**GOOD, "image_urls": ["data:image/png;base64,AAAA"] * 4}, never)

    assert [problem.type for problem in caught.value.problems] == ["too_long"]


def test_a_required_field_is_never_filled_from_its_default() -> None:
    with pytest.raises(InvalidInput) as caught:
        SCHEMA.accept({}, spelt)

    assert [(each.loc, each.type) for each in caught.value.problems] == [
        (("body", "prompt"), "missing"),
        (("body", "image_urls"), "missing"),
    ]


def test_an_optional_field_is_filled_from_its_default_and_null_is_as_if_absent() -> None:
    filled = {"negative_prompt": "blurred", "image_size": "1024*1024 (1:1)", "seed": 0, "prompt_extend": True}

    assert accept() == {**GOOD, **filled}
    assert accept(**dict.fromkeys(filled), strength=None, mask=None) == {**GOOD, **filled}


def test_unknown_keys_are_ignored_and_not_kept() -> None:
    assert accept(x={"deep": [1]}, __proto__=1) == accept()


@pytest.mark.parametrize(("given", "kept"), [(1.0, 1), (1e2, 100), (-0.0, 0), (0, 0), (2147483647.0, 2147483647)])
def test_a_whole_float_is_an_integer_and_becomes_one(given: float, kept: int) -> None:
    seed = accept(seed=given)["seed"]

    assert (seed, type(seed)) == (kept, int)


def test_a_number_that_may_be_broken_stays_as_it_came() -> None:
    assert accept(strength=1.0)["strength"] == 1.0
    assert isinstance(accept(strength=1.0)["strength"], float)


def test_lengths_count_code_points() -> None:
    assert accept(prompt="😀" * 7)["prompt"] == "😀" * 7
    assert told(prompt="😀" * 8) == [(("body", "prompt"), "string_too_long")]
    assert accept(prompt="e\u0301" * 3)["prompt"] == "e\u0301" * 3


@pytest.mark.parametrize("prompt", ["a\u202eb", "a\ufffe", "\u200bx", "{0} %s", "\x01"])
def test_any_other_text_passes_and_is_not_touched(prompt: str) -> None:
    assert accept(prompt=prompt)["prompt"] == prompt


def test_only_fields_that_must_not_be_blank_are_judged_so() -> None:
    assert accept(negative_prompt="   ")["negative_prompt"] == "   "


def test_image_fields_are_known_by_their_format_on_the_string_its_items_or_the_list() -> None:
    schema = Schema({"properties": {
        "one": {"type": "string", "format": "image_uri"},
        "many": {"type": "array", "items": {"type": "string", "format": "image_uri"}},
        "list": {"type": "array", "items": {"type": "string"}, "format": "image_uris"},
        "other": {"type": "string", "format": "uri"},
    }})  # fmt: skip

    assert schema.image_fields == ("one", "many", "list")


def test_validations_keep_their_order_and_their_sentence() -> None:
    (rule,) = SCHEMA.validations("image_urls")

    assert (rule.rule, rule.value, rule.error) == ("width_pixels>", 384, "Too narrow.")
    assert SCHEMA.validations("prompt") == ()
