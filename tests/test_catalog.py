"""Definitions become models: the built-in ones are the seeds; a wrong one says which it is and what would be right."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gesso.catalog import built_in, overlaid, read_catalog, read_model, read_texts
from gesso.core.errors import DefinitionError, UnknownModel
from gesso.core.inputs import Size
from gesso.core.wire import Wire

SEEDS = Path(__file__).parent / "seeds"
WAN = "wan-ai/wan-2-6/image-to-image"
ECHO = "gesso/echo/image-to-image"
MINE = "mine/edit"
TOML = """
title = "Mine"
category = "image-to-image"
engine = "echo"

[binding]
images = "image_urls"
"""
INPUT = {
    "type": "object",
    "required": ["image_urls"],
    "properties": {
        "image_urls": {"type": "array", "items": {"type": "string", "format": "image_uri"}, "validations": [
            {"validation_rule": "width_pixels>", "validation_value": 384, "validation_error": "Too narrow."}
        ]},
        "prompt": {"type": "string", "title": "Prompt", "maxLength": 5},
        "size": {"type": "string", "default": "64*64"},
    },
}  # fmt: skip
EXAMPLE = {"image_urls": ["https://images.example/a.png"]}
Define = Callable[..., Path]


@pytest.fixture
def define(tmp_path: Path) -> Define:
    """Writes a definition of one's own, and gives the folder of all definitions."""

    def define(id: str = MINE, *, toml: str = TOML, more: str = "", **files: Any) -> Path:
        folder = tmp_path / "models" / id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.toml").write_text(more + toml)
        for name, content in {"input": INPUT, "example": EXAMPLE, **files}.items():
            if content is not None:
                text = content if isinstance(content, str) else json.dumps(content)
                (folder / f"{name.replace('_', '.')}.json").write_text(text)
        return tmp_path / "models"

    return define


def seed(name: str) -> dict[str, Any]:
    return dict(json.loads((SEEDS / f"{name}.json").read_text("utf-8")))


@pytest.mark.parametrize("language", ["en", "ja", "ru"])
def test_what_is_published_of_the_first_model_is_its_seeds(language: str) -> None:
    entry = Wire("", read_texts()).model(read_catalog()[WAN], language, with_schema=True)

    assert json.dumps(entry["input_schema"]) == json.dumps(seed(f"input_schema.{language}"))
    assert json.dumps(entry["output_schema"]) == json.dumps(seed(f"output_schema.{language}"))


def test_the_seeds_here_are_those_of_the_standard_where_it_lies_beside_the_repository() -> None:
    standard = SEEDS.parents[2] / "shared" / "seeds"
    if not standard.exists():
        pytest.skip("the standard does not lie beside the repository")

    for path in SEEDS.glob("*.json"):
        assert path.read_bytes() == (standard / path.name).read_bytes()


def test_the_built_in_models_are_sorted_and_speak_every_language() -> None:
    catalog = read_catalog()

    assert list(catalog) == [ECHO, WAN]
    assert all(set(model.cards) == set(read_texts().languages) for model in catalog.values())


def test_an_overlay_changes_texts_and_nothing_else() -> None:
    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: bare(each)
                for key, each in value.items()
                if key not in ("title", "description", "validation_error")
            }
        return [bare(each) for each in value] if isinstance(value, list) else value

    for model in read_catalog().values():
        assert len({json.dumps(bare(card.input_schema)) for card in model.cards.values()}) == 1
        assert len({json.dumps(bare(card.output_schema)) for card in model.cards.values()}) == 1


def test_an_unknown_model_is_told_when_it_is_asked_for() -> None:
    catalog = read_catalog()

    with pytest.raises(UnknownModel):
        catalog["no/model"]
    assert "no/model" not in catalog
    assert len(catalog) == 2


def test_a_definition_of_ones_own_is_read_beside_the_built_in_ones(define: Define) -> None:
    models = read_catalog(define(more='output = "images"\ndefault_size = "64x32"\nkind = "workflow"\n'))
    model = models[MINE]

    assert list(models) == [ECHO, MINE, WAN]
    assert (model.kind, model.output, model.default_size, model.engine) == ("workflow", "images", Size(64, 32), "echo")
    assert model.accept(model.example, lambda *_: None) == EXAMPLE | {"size": "64*64"}


def test_a_definition_of_ones_own_wins_over_a_built_in_one(define: Define) -> None:
    folder = define("other/one")
    shutil.copytree(built_in() / WAN, folder / WAN)
    (folder / WAN / "model.toml").write_text((built_in() / WAN / "model.toml").read_text().replace("Wan 2.6", "My Wan"))

    assert read_catalog(folder)[WAN].card("en").display_name == "My Wan Image-to-Image"
    assert len(read_catalog(folder)) == 3


def test_rules_of_the_definition_are_stricter_than_the_schema(define: Define) -> None:
    folder = define(toml=TOML + "\n[rules]\nprompt = { maxLength = 2, blank = false }\n")

    model = read_catalog(folder)[MINE]

    for prompt in ("abc", " "):
        with pytest.raises(Exception, match="schema"):
            model.accept(EXAMPLE | {"prompt": prompt}, lambda *_: None)
    assert "maxLength" in str(model.card("en").input_schema)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"example": None}, "example.json is missing"),
        ({"example": {"prompt": "a"}}, r"example.json: .*image_urls.*missing"),
        ({"example": EXAMPLE | {"prompt": "123456"}}, r"example.json: .*prompt.*string_too_long"),
        ({"example": "{,}"}, "example.json is no JSON"),
        ({"example": [1]}, "example.json must hold an object"),
        ({"input": None}, "input.json is missing"),
        ({"input": "no json"}, "input.json is no JSON"),
        ({"input": {"type": "object"}}, "'properties' is missing"),
        ({"input": {"properties": {"image_urls": {"type": "strong"}}}}, "strong"),
        ({"more": 'colour = "red"\n'}, "unknown keys \\['colour'\\]; known are .*'binding'"),
        ({"more": 'output = "text"\n'}, "output must be one of .*'images'"),
        ({"more": 'kind = "thing"\n'}, "kind must be one of .*'workflow'"),
        ({"more": 'default_size = "big"\n'}, "'big' is no size such as 1280\\*720"),
        ({"more": "price = { base_usd = -1 }\n"}, "the price must be a number of at least 0"),
        ({"more": "price = { base_usd = inf }\n"}, "the price must be a number of at least 0"),
        ({"more": "price = { base_usd = nan }\n"}, "the price must be a number of at least 0"),
        ({"more": 'price = { base_usd = "much" }\n'}, "the price must be a number of at least 0"),
        ({"more": 'price = { unit = "picture" }\n'}, "unit must be 'output' or 'second'"),
        ({"toml": 'title = "x'}, "model.toml is no TOML"),
        ({"toml": TOML.replace('engine = "echo"', "")}, "'engine' is missing"),
        ({"toml": TOML.replace('title = "Mine"', "")}, "'title' is missing"),
        ({"toml": TOML.partition("[binding]")[0]}, "'binding' is missing"),
        ({"toml": TOML + 'prompt = "promt"\n'}, "binding 'prompt' names 'promt', which is no field of input.json"),
        ({"toml": TOML + 'size = { field = "size", as = "colour" }\n'}, "binding 'size': `as` must be one of .*'size'"),
        ({"toml": TOML + 'size = { as = "size" }\n'}, "'field' is missing"),
        (
            {"toml": TOML + "\n[rules]\npromt = { blank = false }\n"},
            "rules names 'promt', which is no field of input.json",
        ),
        ({"input_ja": {"properties": {"promt": {"title": "x"}}}}, "input.ja.json does not fit its schema: 'promt'"),
        (
            {"input_ja": {"properties": {"image_urls": {"validations": {"width>": "x"}}}}},
            "input.ja.json does not fit .* 'width_pixels>'",
        ),
        ({"input_ja": "no json"}, "input.ja.json is no JSON"),
    ],
)
def test_a_wrong_definition_names_the_model_and_says_what_is_wrong(define: Define, changes: Any, told: str) -> None:
    folder = define(**changes)

    with pytest.raises(DefinitionError, match=told) as caught:
        read_catalog(folder)

    assert str(caught.value).startswith(f"{MINE}: ")


@pytest.mark.parametrize("id", ["alone", "."])
def test_an_id_needs_a_slash(define: Define, id: str) -> None:
    with pytest.raises(DefinitionError, match="a model's id needs a slash: put its folder into another"):
        read_catalog(define(id))


def test_a_folder_of_definitions_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="there is no such folder"):
        read_catalog(tmp_path / "typo")


def test_an_overlay_has_the_shape_of_its_schema() -> None:
    schema = {"title": "a", "properties": {"x": {"title": "b", "default": 1}}}

    assert overlaid(schema, {"properties": {"x": {"title": "c"}}}) == {
        "title": "a",
        "properties": {"x": {"title": "c", "default": 1}},
    }
    assert schema["properties"]["x"]["title"] == "b"  # type: ignore[index]


def test_a_model_can_be_read_by_itself(define: Define) -> None:
    assert read_model(define() / MINE, MINE).id == MINE
