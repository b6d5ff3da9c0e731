"""What is to be done to the pictures: steps in their order, and what of the prompt was not understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One operator and how to use it.

    Attributes:
        operator: its name, a key of the operators' tables.
        strength: 1 is the operator's own measure; "slightly" is 0.5, "very" 1.5.
        settings: what else it needs: references by their number from 1, colours by name, positions.
    """

    operator: str
    strength: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def note(self) -> dict[str, Any]:
        """The step as it is told in a result's metadata."""
        return {"operator": self.operator, "strength": self.strength, **self.settings}

    def __str__(self) -> str:
        told = [f"{key} {_spell(value)}" for key, value in self.settings.items() if value not in (None, "", ())]
        strength = "" if self.strength == 1 else f"strength {self.strength:g}"
        inside = ", ".join(filter(None, [*told, strength]))
        return self.operator.replace("_", " ") + (f" ({inside})" if inside else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """A prompt as it was read.

    Attributes:
        steps: in the order in which they are carried out; the first one always lays out the references.
        not_understood: content words that matched nothing, in their order, at most 20.
        warnings: stable word -> a sentence for people.
    """

    steps: tuple[Step, ...]
    not_understood: tuple[str, ...] = ()
    warnings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "First " + ", then ".join(map(str, self.steps)) + "."


def _spell(value: Any) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
