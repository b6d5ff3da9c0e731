"""From folders of definitions to models. A definition is data: adding a model needs no code."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from gesso.core.errors import DefinitionError, InvalidInput, UnknownModel
from gesso.core.inputs import CONVERTERS, Size, to_size
from gesso.core.model import KINDS, Bound, Card, Model, Price
from gesso.core.schema import Schema
from gesso.core.texts import DEFAULT_LANGUAGE, Texts

TEXT_KEYS = ("title", "description")
KEYS = frozenset(
    {"title", "description", "category", "kind", "engine", "engine_options", "output", "default_size"}
    | {"price", "rules", "binding", "texts"}
)
OUTPUTS = ("image", "images", "video", "videos")


class Catalog(Mapping[str, Model]):
    """The models, by id, sorted.

    Raises (when indexed):
        UnknownModel: when there is no such model.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = dict(sorted(models.items()))

    def __getitem__(self, model_id: str) -> Model:
        try:
            return self._models[model_id]
        except KeyError:
            raise UnknownModel from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, model_id: object) -> bool:
        return model_id in self._models


def read_catalog(folder: Path | None = None) -> Catalog:
    """The built-in models, and those in *folder*, which win where ids meet.

    Raises:
        DefinitionError: when a definition is wrong, or *folder* is not there.
    """
    if folder is not None and not folder.is_dir():
        raise DefinitionError(model=folder, reason="there is no such folder")
    return Catalog({**_models_below(built_in()), **(_models_below(folder) if folder else {})})


def read_offers() -> Catalog:
    """The models that need weights of one's own: never served from here, only copied by `gesso models enable`."""
    return Catalog(_models_below(offered()))


def built_in() -> Path:
    """The folder of the built-in definitions."""
    return Path(str(resources.files("gesso.definitions")))


def offered() -> Path:
    """The folder of those that need weights."""
    return Path(str(resources.files("gesso.offers")))


def read_texts() -> Texts:
    """The sentences of every language that has a table."""
    tables = Path(str(resources.files("gesso.texts"))).glob("*.json")
    return Texts({path.stem: json.loads(path.read_text("utf-8")) for path in sorted(tables)})


def read_model(folder: Path, model_id: str) -> Model:
    """The model defined in *folder*.

    Raises:
        DefinitionError: names the model, and says what is wrong and what would be right.
    """
    try:
        model = _model(folder, model_id)
        model.accept(model.example, lambda *_: None)
    except InvalidInput as fault:
        problem = fault.problems[0]
        raise DefinitionError(model=model_id, reason=f"example.json: {problem.loc[1:]}: {problem.type}") from fault
    except KeyError as fault:
        raise DefinitionError(model=model_id, reason=f"{fault} is missing") from fault
    except (ValueError, TypeError, AttributeError, OSError) as fault:
        raise DefinitionError(model=model_id, reason=str(fault)) from fault
    return model


def _models_below(root: Path) -> dict[str, Model]:
    paths = {path.parent.relative_to(root).as_posix(): path.parent for path in sorted(root.rglob("model.toml"))}
    return {model_id: read_model(folder, model_id) for model_id, folder in paths.items()}


def _model(folder: Path, model_id: str) -> Model:
    told = _read_toml(folder / "model.toml")
    _require("/" in model_id, "a model's id needs a slash: put its folder into another")
    _require(not told.keys() - KEYS, f"unknown keys {sorted(told.keys() - KEYS)}; known are {sorted(KEYS)}")
    _require(told.get("output", "image") in OUTPUTS, f"output must be one of {OUTPUTS}")
    _require(told.get("kind", "model") in KINDS, f"kind must be one of {KINDS}")
    schema = Schema(_read(folder / "input.json"), told.get("rules"))
    for name in told.get("rules", {}):
        _require(name in schema.properties, f"rules names {name!r}, which is no field of input.json")
    return Model(
        id=model_id,
        category=told["category"],
        kind=told.get("kind", "model"),
        engine=told["engine"],
        engine_options=told.get("engine_options", {}),
        schema=schema,
        binding={name: _bound(name, entry, schema) for name, entry in told["binding"].items()},
        cards=_cards(folder, told),
        output=told.get("output", "image"),
        price=_price(told.get("price", {})),
        example=_read(folder / "example.json"),
        default_size=_size(told.get("default_size")),
    )


def _bound(name: str, entry: str | Mapping[str, str], schema: Schema) -> Bound:
    bound = Bound(entry) if isinstance(entry, str) else Bound(entry["field"], entry.get("as"))
    _require(
        bound.field in schema.properties, f"binding {name!r} names {bound.field!r}, which is no field of input.json"
    )
    _require(
        bound.converter is None or bound.converter in CONVERTERS,
        f"binding {name!r}: `as` must be one of {sorted(CONVERTERS)}",
    )
    return bound


def _price(told: Mapping[str, Any]) -> Price:
    price = Price(told.get("base_usd", 0), told.get("unit", "output"), told.get("note", ""))
    _require(price.unit in ("output", "second"), "the price's unit must be 'output' or 'second'")
    is_number = isinstance(price.base_usd, int | float)
    _require(is_number and 0 <= price.base_usd < float("inf"), "the price must be a number of at least 0")
    return price


def _size(text: str | None) -> Size | None:
    return to_size(text) if text else None


def _cards(folder: Path, told: Mapping[str, Any]) -> dict[str, Card]:
    """How the model is shown, in English and in each language that has an overlay."""
    input_schema, output = _read(folder / "input.json"), _output_folder(folder)
    texts: Mapping[str, Mapping[str, str]] = told.get("texts", {})
    languages = {path.name.split(".")[1] for path in folder.glob("input.*.json")} | texts.keys()
    cards = {DEFAULT_LANGUAGE: Card(told["title"], told.get("description", ""), input_schema, _read(output))}
    for language in sorted(languages):
        own = texts.get(language, {})
        cards[language] = Card(
            own.get("title", told["title"]),
            own.get("description", told.get("description", "")),
            _translated(input_schema, folder / f"input.{language}.json"),
            _translated(_read(output), output.with_name(f"output.{language}.json")),
        )
    return cards


def overlaid(schema: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """*schema* with the texts of *overlay*, which has its shape, and `validations` as rule -> sentence.

    Raises:
        KeyError: when the overlay speaks of something that the schema has not.
    """
    told = dict(schema)
    for key, text in overlay.items():
        if key in TEXT_KEYS:
            told[key] = text
        elif key == "validations":
            told[key] = [{**rule, "validation_error": text[rule["validation_rule"]]} for rule in schema[key]]
        else:
            told[key] = overlaid(schema[key], text)
    return told


def _translated(schema: Mapping[str, Any], path: Path) -> dict[str, Any]:
    try:
        return overlaid(schema, _read_if_there(path))
    except KeyError as fault:
        raise ValueError(f"{path.name} does not fit its schema: {fault} is in one of them only") from None


def _output_folder(folder: Path) -> Path:
    own = folder / "output.json"
    return own if own.exists() else built_in() / "output.json"


def _read_if_there(path: Path) -> dict[str, Any]:
    return _read(path) if path.exists() else {}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as fault:
        raise ValueError(f"{path.name} is no TOML: {fault}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.name} is missing") from None
    except ValueError as fault:
        raise ValueError(f"{path.name} is no JSON: {fault}") from None
    _require(isinstance(told, dict), f"{path.name} must hold an object")
    return dict(told)


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise ValueError(otherwise)
