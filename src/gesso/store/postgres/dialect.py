"""How PostgreSQL reads SQLite's SQL, and how values come and go. It knows no table.

One text serves both databases. What only PostgreSQL is to read stands in a comment, which SQLite skips: `/*pg … */`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.types.numeric import Int8Dumper

PARAMETER = re.compile(r"'[^']*'|\?(\d*)")
OURS = re.compile(r"/\*pg (.*?)\*/", re.DOTALL)
# The larger of two values, not the largest of a column: SQLite calls both max.
LARGER = re.compile(r"\bmax\((?=[\w.]+(?:\(\))?, )")


@lru_cache(maxsize=512)
def to_postgres(sql: str) -> str:
    """The statement in PostgreSQL's words: `?` becomes `$1`, `$2` and so on, and `?7` becomes `$7`."""
    count = 0

    def numbered(found: re.Match[str]) -> str:
        nonlocal count
        if found[0] == "?":
            count += 1
            return f"${count}"
        return f"${found[1]}" if found[1] else found[0]

    return PARAMETER.sub(numbered, LARGER.sub("greatest(", OURS.sub(r"\1", sql)))


class Row(Sequence[Any]):
    """A row by index and by name, as SQLite gives it."""

    __slots__ = ("_names", "_values")

    def __init__(self, names: dict[str, int], values: Sequence[Any]) -> None:
        self._names = names
        self._values = tuple(values)

    def __getitem__(self, key: Any, /) -> Any:
        return self._values[self._names[key] if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, Row) else other)

    def __hash__(self) -> int:
        return hash(self._values)

    def __repr__(self) -> str:
        return f"Row{self._values}"

    def keys(self) -> list[str]:
        """The names of the columns."""
        return list(self._names)


def make_rows(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], Row]:
    """psycopg's row factory."""
    names = {column.name: number for number, column in enumerate(cursor.description or ())}
    return lambda values: Row(names, values)


def adapt(adapters: AdaptersMap) -> None:
    """Let values come and go as SQLite's do."""
    adapters.register_dumper(bool, _Flag)
    adapters.register_dumper(int, Int8Dumper)  # one type for all, so that one statement is prepared once
    adapters.register_loader("numeric", _Number)


class _Flag(Dumper):
    """True and False, for columns that are integers as for those that are not: the server takes what it needs."""

    oid = 0

    def dump(self, obj: bool) -> Buffer:  # noqa: FBT001 - psycopg calls it
        return b"1" if obj else b"0"


class _Number(Loader):
    """What sums and averages come as."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return float(text) if "." in text else int(text)
