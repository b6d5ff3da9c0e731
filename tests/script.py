"""Waiting for what must come, and the test's end of the scripted engine."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
FOLDER = Path(__file__).parent / "scripted"
"""Where the engine and its model's definition lie."""


class Script:
    """What a test says to the scripted engine, and hears from it."""

    definitions = FOLDER / "definitions"
    model = "tests/scripted"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, gate: str) -> None:
        """Let the run go on that waits at *gate*."""
        (self.folder / gate).touch()

    def lines(self) -> list[tuple[int, str]]:
        """What was done, and in which process."""
        journal = self.folder / "journal"
        told = journal.read_text().splitlines() if journal.exists() else []
        return [(int(line.split()[0]), line.partition(" ")[2]) for line in told]

    def journal(self) -> list[str]:
        """What was done."""
        return [line for _, line in self.lines()]

    def begun(self, prompt: str) -> int:
        """The process in which the last run of *prompt* began; 0 where none did."""
        return next((pid for pid, line in reversed(self.lines()) if line == f"begin {prompt}"), 0)


async def eventually(condition: Callable[[], T], within_s: float = 10.0) -> T:
    """What *condition* gives once it is true; looked at again and again until then.

    Raises:
        AssertionError: when it does not become true in time.
    """
    ends = time.monotonic() + within_s
    while not (told := condition()):
        assert time.monotonic() < ends, f"not within {within_s} s"
        await asyncio.sleep(0.005)
    return told


def eventually_now(condition: Callable[[], T], within_s: float = 10.0) -> T:
    """The same, for tests without an event loop."""
    ends = time.monotonic() + within_s
    while not (told := condition()):
        assert time.monotonic() < ends, f"not within {within_s} s"
        time.sleep(0.01)
    return told


def at_once(asked: Coroutine[Any, Any, T]) -> T:
    """What a read of SQLite answers, which never pauses; for looks from places that cannot wait."""
    try:
        asked.send(None)
    except StopIteration as told:
        return told.value
    raise AssertionError("it paused")
