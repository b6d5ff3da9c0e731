"""What an engine is given, and how a field of the public input becomes it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Inputs:
    """One run of an engine: defaults filled, names bound, pictures decoded.

    Attributes:
        images: the references in their order, upright, RGB, at their own size.
        size: what the output must measure, in pixels.
        seed: 0..2147483647; 0 is a seed, not "random".
        expand_prompt: whether the caller wants the prompt enriched.
        extra: further bound fields of the model, by the engine's name for them.
        remembered: what an earlier attempt of the same request told `Report.remember`: a job that goes on elsewhere.
    """

    images: tuple["Image", ...] = ()
    prompt: str = ""
    negative_prompt: str = ""
    size: Size = Size(1024, 1024)
    seed: int = 0
    expand_prompt: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    remembered: str | None = None


def to_size(text: str) -> Size:
    """The size in `"1280*720 (16:9)"`, `"1280x720"` or `"1280*720"`.

    Raises:
        ValueError: when *text* does not begin with two numbers of pixels.
    """
    match = re.match(r"(\d{1,5})\s*[*x×]\s*(\d{1,5})(?:\s|$)", text)
    if match is None:
        raise ValueError(f"{text!r} is no size such as 1280*720")
    return Size(int(match[1]), int(match[2]))


# the `as` of a binding in model.toml -> from the public value to the engine's
CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "text": str,
    "integer": int,
    "number": float,
    "flag": bool,
    "size": to_size,
}
