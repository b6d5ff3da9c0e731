"""Tables in Markdown, and medians over rounds."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeVar

T = TypeVar("T")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The table; the first column is words, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def interleaved(rounds: int, measured: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Measure each in turn, several rounds: what disturbs the machine disturbs all of them."""
    found: dict[str, list[T]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, measure in measured.items():
            found[name].append(measure())
    return found


def middle(values: Sequence[T], of: Callable[[T], float]) -> float:
    """The median of one figure."""
    return median(map(of, values))


def whole(value: float) -> str:
    """With commas, without a fraction."""
    return f"{value:,.0f}"
