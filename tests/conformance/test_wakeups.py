"""Wake-ups: who waits is woken by whoever writes, in whatever process; and who was killed is known to be dead."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from script import at_once, eventually

from gesso.store.database import Database
from gesso.store.wakeups import Waiter, Wakeups

pytestmark = [pytest.mark.anyio, pytest.mark.only("sqlite")]
WAIT = """
import asyncio, sys
from pathlib import Path
from gesso.store.wakeups import Wakeups
async def main():
    print(Wakeups(Path(sys.argv[1])).listen().name, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
WRITE = """
import asyncio, sys
from pathlib import Path
from gesso.store.database import Database
async def main():
    database = Database.open(Path(sys.argv[1]))
    await database.write(lambda rows: None, wakes=True)
    database.close()
asyncio.run(main())
"""


class Other:
    """A process that waits."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", WAIT, str(folder)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.name = self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def other(folder: Path, database: Database) -> Iterator[Other]:
    other = Other(folder / "waiters")
    yield other
    other.kill()


def nothing(rows: sqlite3.Connection) -> None:
    """A move that moves nothing."""


def pipes(folder: Path) -> list[str]:
    return [path.stem for path in (folder / "waiters").iterdir()]


def heard(waiter: Waiter) -> asyncio.Event:
    event = asyncio.Event()
    waiter.on_wake = event.set
    return event


async def test_a_waiter_is_woken_by_a_write_of_this_process(database: Database, waiter: Waiter) -> None:
    woken = heard(waiter)
    await database.write(nothing, wakes=True)

    await asyncio.wait_for(woken.wait(), 5)


async def test_a_waiter_is_woken_by_a_write_of_another_process(waiter: Waiter, folder: Path) -> None:
    woken = heard(waiter)
    await anyio.run_process([sys.executable, "-c", WRITE, str(folder)])

    await asyncio.wait_for(woken.wait(), 5)


async def test_a_waiter_is_woken_once_the_row_can_be_read(database: Database, waiter: Waiter) -> None:
    seen = []
    count = "SELECT count(*) FROM secrets"
    waiter.on_wake = lambda: seen.append(at_once(database.read(lambda rows: rows.execute(count).fetchone()[0])))
    await database.write(lambda rows: rows.execute("INSERT INTO secrets VALUES ('a', x'00')"), wakes=True)
    await eventually(lambda: seen)

    assert seen[0] == 1


async def test_a_write_that_says_nothing_wakes_nobody(database: Database, waiter: Waiter) -> None:
    calls: list[int] = []
    waiter.on_wake = lambda: calls.append(1)
    await database.write(nothing)
    told_before = list(calls)
    await database.write(nothing, wakes=True)
    await eventually(lambda: calls)

    assert told_before == []
    assert len(calls) == 1


async def test_waiters_that_come_later_are_woken_too(database: Database, waiter: Waiter) -> None:
    await database.write(nothing, wakes=True)
    for _ in range(20):
        late = database.wakeups.listen()
        woken = heard(late)
        await database.write(nothing, wakes=True)
        try:
            await asyncio.wait_for(woken.wait(), 5)
        finally:
            late.close()


async def test_a_waiter_that_does_not_read_holds_nobody_up(database: Database, folder: Path, other: Other) -> None:
    os.kill(other.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(70_000):  # more than a pipe holds
        database.wakeups.wake()

    assert time.monotonic() - began < 10
    assert database.wakeups.is_alive(other.name)


async def test_I09_a_process_that_waits_is_alive_and_one_that_was_killed_is_not(
    database: Database, other: Other
) -> None:
    alive = database.wakeups.is_alive(other.name)
    other.kill()

    assert alive
    assert not database.wakeups.is_alive(other.name)


async def test_a_stopped_process_is_not_a_dead_one(database: Database, other: Other) -> None:
    os.kill(other.process.pid, signal.SIGSTOP)

    assert database.wakeups.is_alive(other.name)


async def test_the_pipe_of_a_killed_process_is_cleaned_away(database: Database, folder: Path, other: Other) -> None:
    database.wakeups.wake()
    other.kill()
    waiter = database.wakeups.listen()
    database.wakeups.wake()

    assert pipes(folder) == [waiter.name]
    waiter.close()


async def test_a_waiter_that_ends_leaves_nothing(database: Database, folder: Path) -> None:
    waiter = database.wakeups.listen()
    there = pipes(folder)
    waiter.close()

    assert there == [waiter.name]
    assert pipes(folder) == []
    assert not database.wakeups.is_alive(waiter.name)


async def test_somebody_waits_as_long_as_one_does(database: Database, other: Other) -> None:
    there = database.wakeups.anyone()
    other.kill()

    assert there
    assert not database.wakeups.anyone()


async def test_a_waiter_in_the_making_is_not_taken_for_a_dead_one(
    folder: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the making of a pipe and its opening, others look into the folder."""
    others, make = Wakeups(folder / "waiters"), os.mkfifo

    def make_and_be_looked_at(path: Path, mode: int) -> None:
        make(path, mode)
        others.wake()

    monkeypatch.setattr(os, "mkfifo", make_and_be_looked_at)
    waiter = database.wakeups.listen()
    woken = heard(waiter)

    assert others.is_alive(waiter.name)
    others.wake()
    await asyncio.wait_for(woken.wait(), 5)
    waiter.close()
    others.close()
