"""A model: a public schema and its binding to an engine. It knows names and values, no files and no engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gesso.core.inputs import CONVERTERS, Inputs, Size, to_size
from gesso.core.pictures import Picture, Validation
from gesso.core.schema import JudgeImage, Schema

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = ("model", "workflow", "inference")
BOUND = ("images", "prompt", "negative_prompt", "size", "seed", "expand_prompt")
"""What every engine knows by name; other bound names reach it in `Inputs.extra`."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One line of a binding: the field of the public input, and how its value is converted."""

    field: str
    converter: str | None = None

    def __call__(self, input: Mapping[str, Any]) -> Any:
        value = input[self.field]
        return CONVERTERS[self.converter](value) if self.converter else value


@dataclass(frozen=True, slots=True)
class Card:
    """How the catalogue shows a model, in one language."""

    display_name: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]

    def rules(self, field: str) -> Mapping[str, str]:
        """Rule of *field* -> what the schema says when it is broken."""
        entries = self.input_schema["properties"].get(field, {}).get("validations", ())
        return {each["validation_rule"]: each["validation_error"] for each in entries}


@dataclass(frozen=True, slots=True)
class Price:
    """What a run costs: USD per output picture or per second of video."""

    base_usd: float = 0
    unit: str = "output"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the catalogue.

    Attributes:
        id: path-like, with at least one slash.
        engine: the engine's entry-point name; `engine_options` are its keyword arguments.
        output: the field of the public output: `image` or `images` (pictures), `video` or `videos`.
        cards: language -> how it is shown; English is always there.
        example: a body that must be accepted.
        default_size: what an engine is asked for where no field says a size; None: the size of the first picture.
    """

    id: str
    category: str
    engine: str
    schema: Schema
    binding: Mapping[str, Bound]
    cards: Mapping[str, Card]
    kind: str = "model"
    output: str = "image"
    price: Price = Price()
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    example: Mapping[str, Any] = field(default_factory=dict)
    default_size: Size | None = None

    def card(self, language: str) -> Card:
        """The texts in *language*, else in English."""
        return self.cards.get(language) or self.cards["en"]

    def accept(self, body: Mapping[str, Any], judge_image: JudgeImage) -> dict[str, Any]:
        """The resolved input of *body*.

        Raises:
            InvalidInput: with every problem, in schema order.
        """
        return self.schema.accept(body, judge_image)

    def pictures(self, input: Mapping[str, Any]) -> tuple[Picture, ...]:
        """Every image value of *input*, as something to be fetched, in schema order."""
        found: list[Picture] = []
        for name in self.schema.image_fields:
            value = input.get(name)
            if isinstance(value, str):
                found.append(Picture(name, None, value))
            elif value is not None:
                found.extend(Picture(name, index, url) for index, url in enumerate(value))
        return tuple(found)

    def validations(self, picture: Picture) -> tuple[Validation, ...]:
        """The file rules that *picture* must obey."""
        return self.schema.validations(picture.field)

    def bind(self, input: Mapping[str, Any], images: Sequence["Image"]) -> Inputs:
        """What the engine is given: *images* are those of `pictures`, in the same order, decoded."""
        values = {name: bound(input) for name, bound in self.binding.items() if bound.field in input}
        values["images"] = tuple(images)
        values.setdefault("size", self._size_of(images))
        known = {name: values[name] for name in BOUND if name in values}
        return Inputs(**known, extra={name: value for name, value in values.items() if name not in BOUND})

    def _size_of(self, images: Sequence["Image"]) -> Size:
        if self.default_size:
            return self.default_size
        return Size(*images[0].size) if images else to_size("1024*1024")
