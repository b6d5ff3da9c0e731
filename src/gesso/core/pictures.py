"""A request's pictures: where each comes from, what is known of it, and which rules of the schema it obeys."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Self

from gesso.core.errors import FetchFailed, GessoError, InputRejected, Problem, RunFailed

MIB = 1024 * 1024
FETCH_FAULTS = frozenset({"url_not_allowed", "image_fetch_failed"})


class PictureFault(GessoError):
    """One picture is at fault; who raises it does not know which one it is.

    Args:
        type: a key of `problems.PROBLEMS`, or the name of the schema's rule that is broken.
        facts: fill the braces of the problem's sentence.
    """

    sentence = "{type}"

    def __init__(self, type: str, **facts: Any) -> None:
        super().__init__(type=type, **facts)
        self.type = type

    def at(self, *loc: str | int) -> Problem:
        """The same fault, told of the picture at *loc*."""
        return Problem(loc, self.type, {name: fact for name, fact in self.facts.items() if name != "type"})

    def ends(self, *loc: str | int) -> RunFailed:
        """The failure with which a request ends whose picture at *loc* has this fault."""
        kind = FetchFailed if self.type in FETCH_FAULTS else InputRejected
        return kind(detail=(self.at(*loc),))


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a picture's file.

    Attributes:
        format: "jpeg", "png", "webp" or "bmp", by content.
        width, height: in pixels, upright (orientation applied).
        size_bytes: of the file as it came.
    """

    format: str
    width: int
    height: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One image field's value in a request.

    Attributes:
        field: the name of the field in the public input.
        index: its place in a list field; None where the field is a single string.
        url: where it is fetched from; None where its bytes came with the submit.
        blob: the key of the frozen bytes; None until intake has fetched them.
        sha256: of those bytes, so that damage is seen.
    """

    field: str
    index: int | None
    url: str | None = None
    blob: str | None = None
    sha256: str | None = None

    @property
    def loc(self) -> tuple[str | int, ...]:
        """Where it stands in the body."""
        return ("body", self.field) if self.index is None else ("body", self.field, self.index)

    def frozen(self, kept: "Kept") -> Self:
        """The same picture, its bytes frozen as *kept*."""
        return replace(self, blob=kept.key, sha256=kept.sha256)

    def to_json(self) -> dict[str, Any]:
        """For the store; `from_json` reads it back."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        return cls(row["field"], row.get("index"), row.get("url"), row.get("blob"), row.get("sha256"))


@dataclass(frozen=True, slots=True)
class Kept:
    """A blob that is worth a row: it is known, owned and removed with what it belongs to.

    Attributes:
        key: of the blob.
        kind: "input" (frozen with a request), "output" or "upload".
        name: the public file name, with a real extension.
        sha256: of the bytes, in hexadecimal.
        expires_at: for uploads; other files live as long as their request.
    """

    key: str
    kind: str
    name: str
    content_type: str
    size_bytes: int
    sha256: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Validation:
    """One entry of a field's `validations`: a rule, its bound, and (in the schema's language) what to say."""

    rule: str
    value: float
    error: str

    def holds(self, facts: Facts) -> bool:
        """Whether a picture obeys; a rule that is not about pictures (seconds of video) holds.

        The bound that the message names is accepted: `>` and `<` include it, except for `file_size_mb<`, which is
        strict and in MiB.
        """
        match self.rule:
            case "file_size_mb<":
                return facts.size_bytes < self.value * MIB
            case "file_size_mb>":
                return facts.size_bytes >= self.value * MIB
        measure = _measures(facts).get(self.rule[:-1])
        if measure is None:
            return True
        return measure >= self.value if self.rule.endswith(">") else measure <= self.value


def _measures(facts: Facts) -> dict[str, float]:
    return {
        "width_pixels": facts.width,
        "height_pixels": facts.height,
        "width/height": facts.width / facts.height,
    }


def judge(facts: Facts, validations: Iterable[Validation]) -> None:
    """Judge a picture by its field's rules, in the schema's order.

    Raises:
        PictureFault: names the first rule that is broken.
    """
    for validation in validations:
        if not validation.holds(facts):
            raise PictureFault(validation.rule)


def largest_bytes(validations: Iterable[Validation], default: int = 10 * MIB) -> int:
    """How many bytes a file may have at most, so that a fetch can stop early: one less than its strict limit."""
    limits = [int(each.value * MIB) for each in validations if each.rule == "file_size_mb<"]
    return min(limits, default=default) - 1
