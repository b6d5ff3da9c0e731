"""What the tests of the store are given: a clock that they own, fresh requests, and a look at the database."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from gesso.core.pictures import Kept
from gesso.core.request import Request

Ask = Callable[..., Request]
A_LEASE = timedelta(seconds=30)
REFUSED = (sqlite3.IntegrityError, psycopg.IntegrityError)
"""What either database raises at a row that cannot be."""


class Clock:
    """The database's clock, stopped; it goes when it is told to.

    Attributes:
        on_change: hears of each new time.
    """

    def __init__(self) -> None:
        self._now_us = 1_800_000_000_000_000
        self.on_change: Callable[[int], None] = lambda _: None

    @property
    def now_us(self) -> int:
        """Microseconds since 1970."""
        return self._now_us

    @now_us.setter
    def now_us(self, now_us: int) -> None:
        self._now_us = now_us
        self.on_change(now_us)

    @property
    def moment(self) -> datetime:
        """Now."""
        return datetime.fromtimestamp(self.now_us / 1e6, UTC)

    def pass_by(self, time: timedelta) -> None:
        """Let *time* pass, or come back."""
        self.now_us += time // timedelta(microseconds=1)


def kept(key: str, kind: str = "output", **more: Any) -> Kept:
    """A blob that is worth a row; *key* is its first letter."""
    return Kept(key * 32, kind, f"{key}.png", "image/png", 9, "ab" * 32, **more)


def url_of(folder: Path) -> str:
    """Where the test's database is: the URL of a PostgreSQL server, or empty for a file in *folder*."""
    note = folder / "database-url"
    return note.read_text() if note.exists() else ""


def rows(folder: Path, table: str = "requests") -> list[tuple[Any, ...]]:
    """What the database says, read by somebody else."""
    query = f"SELECT * FROM {table}"
    if url := url_of(folder):
        with psycopg.connect(url) as foreign:
            return foreign.execute(query.encode()).fetchall()
    with sqlite3.connect(folder / "gesso.db") as foreign:
        return foreign.execute(query).fetchall()
