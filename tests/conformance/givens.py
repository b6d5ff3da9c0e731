"""What the tests of the store are given: a clock that they own, fresh requests, and a look at the file."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gesso.core.pictures import Kept
from gesso.core.request import Request

Ask = Callable[..., Request]
A_LEASE = timedelta(seconds=30)


class Clock:
    """The database's clock, stopped; it goes when it is told to."""

    def __init__(self) -> None:
        self.now_us = 1_800_000_000_000_000

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


def rows(folder: Path, table: str = "requests") -> list[tuple[Any, ...]]:
    """What the file says, read by somebody else."""
    with sqlite3.connect(folder / "gesso.db") as foreign:
        return foreign.execute(f"SELECT * FROM {table}").fetchall()
