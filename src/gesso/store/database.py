"""The database: one SQLite file, one writer that shares commits, reads beside it. It knows no table.

Moves that arrive together are committed together: one fsync for many. The writer is a thread, because a commit inside
the event loop would block every poll while the disk works; point reads take microseconds and stay in the loop.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from gesso.core.errors import ConfigError, Unavailable
from gesso.store.wakeups import Wakeups

T = TypeVar("T")
Move = Callable[[sqlite3.Connection], T]
"""A guarded change. It may be run again after a rollback, so it does nothing but talk to the connection."""

MOST_IN_A_COMMIT = 512
PATIENCE_S = 0.002
FULL = 2
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    move: Move[Any]
    done: asyncio.Future[Any]
    wakes: bool
    patient: bool
    answer: Any = None
    fault: BaseException | None = None


class Database:
    """One SQLite file, opened by one process; any number of processes may have it open.

    Attributes:
        reads_at_once: whether `read` answers without a pause.

    Use `Database.open`, and `close` when done. Call `read` and `write` in any event loop.
    """

    reads_at_once = True

    def __init__(self, path: Path, wakeups: Wakeups) -> None:
        self.wakeups = wakeups
        self._path = path
        self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._reader = connect(path)
        self._jobs: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        self._writer = threading.Thread(target=self._write_forever, name="writer", daemon=True)
        self._closed = False

    @classmethod
    def open(cls, folder: Path) -> "Database":
        """The database in *folder*, made or brought up to date if need be.

        Raises:
            ConfigError: when the file is damaged, belongs to a newer Gesso, or cannot be made durable.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "gesso.db"
        try:
            migrate(path)
            database = cls(path, Wakeups(folder / "waiters"))
        except sqlite3.DatabaseError as fault:
            raise ConfigError(reason=f"the database {path} cannot be used: {fault}") from fault
        database._writer.start()
        return database

    async def read(self, query: Move[T]) -> T:
        """Answer *query* now, in this thread and without a pause; for point reads.

        Raises:
            Unavailable: when the file cannot be read.
        """
        try:
            return query(self._reader)
        except sqlite3.DatabaseError as fault:
            raise Unavailable from fault

    async def write(self, move: Move[T], *, wakes: bool = False, patient: bool = False) -> T:
        """Carry out *move* and return once it is synced to the disk; its exceptions are raised here.

        Args:
            wakes: wake every waiter after the commit.
            patient: it may wait two milliseconds for others, to share their commit.

        Raises:
            Unavailable: when the file cannot be written; the move has not happened.
        """
        if self._closed:
            raise Unavailable
        loop = asyncio.get_running_loop()
        job = _Job(move, loop.create_future(), wakes, patient)
        # Handed in once everything that is ready has run: what comes in one turn of the loop shares a commit, and the
        # writer does not fight this thread for the interpreter with every single move.
        if loop not in self._gathered:
            self._gathered[loop] = []
            loop.call_soon(self._hand_in, loop)
        self._gathered[loop].append(job)
        answer: T = await job.done
        return answer

    def close(self) -> None:
        """Carry out what was handed in, then close; twice is safe."""
        if not self._closed:
            self._closed = True
            for loop in list(self._gathered):
                self._hand_in(loop)
            self._jobs.put(None)
            self._writer.join()
            self._reader.close()
            self.wakeups.close()
            os.close(self._lock)

    def _hand_in(self, loop: asyncio.AbstractEventLoop) -> None:
        if gathered := self._gathered.pop(loop, None):
            self._jobs.put(gathered)

    def _write_forever(self) -> None:
        connection = connect(self._path)
        while (batch := self._batch()) is not None:
            self._commit(connection, batch)
            _tell(batch)
        connection.close()

    def _batch(self) -> list[_Job] | None:
        """All that waits, at least one; None when the database closes."""
        first = self._jobs.get()
        if first is None:
            return None
        batch = first
        with contextlib.suppress(Empty):
            while len(batch) < MOST_IN_A_COMMIT:
                is_patient = all(job.patient for job in batch)
                more = self._jobs.get(timeout=PATIENCE_S) if is_patient else self._jobs.get_nowait()
                if more is None:
                    self._jobs.put(None)
                    break
                batch += more
        return batch

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_Job]) -> None:
        try:
            self._transact(connection, batch)
        except Exception as fault:  # noqa: BLE001 - it is told to whoever handed the move in
            if _is_of_the_disk(fault):
                # None of them can be carried out, and each by itself would wait as long again.
                log.error("a commit failed: %s", fault)
                for job in batch:
                    job.fault = _unavailable(fault)
                return
            if len(batch) == 1:
                batch[0].fault = fault
                return
            # One of them cannot be carried out: each by itself, so that it fails alone.
            for job in batch:
                self._commit(connection, [job])
            return
        if any(job.wakes for job in batch):
            self.wakeups.wake()

    def _transact(self, connection: sqlite3.Connection, batch: Sequence[_Job]) -> None:
        # A lock of our own in front of SQLite's: its waiters are woken, SQLite's sleep.
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                job.answer = job.move(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that syncs every commit; `now_us()` in its SQL is the database's clock, microseconds in UTC.

    Raises:
        ConfigError: when the file system does not carry WAL with full syncs.
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    journal = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute("PRAGMA synchronous = FULL")
    if (journal, connection.execute("PRAGMA synchronous").fetchone()[0]) != ("wal", FULL):
        raise ConfigError(reason=f"{path.parent} does not carry a durable database: choose a folder on a local disk")
    connection.create_function("now_us", 0, now_us)
    return connection


def now_us() -> int:
    """Microseconds since 1970 in UTC."""
    return time.time_ns() // 1000


def migrate(path: Path) -> None:
    """Bring the file at *path* to this version's tables.

    Raises:
        ConfigError: when it belongs to a newer version.
    """
    connection = connect(path)
    path.chmod(0o600)
    steps = sorted(resources.files("gesso.store.migrations").iterdir(), key=lambda step: step.name)
    scripts = [step.read_text() for step in steps if step.name.endswith(".sql")]
    connection.execute("BEGIN IMMEDIATE")
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(scripts):
            raise ConfigError(reason=f"the database {path} belongs to a newer version of Gesso")
        for statement in (each for script in scripts[version:] for each in _statements(script)):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(scripts)}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def _statements(script: str) -> list[str]:
    """The statements of *script*, whole: a trigger's body holds semicolons."""
    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements


def _is_of_the_disk(fault: Exception) -> bool:
    """Whether it is a fault of the disk or the lock, and not of a move."""
    return isinstance(fault, sqlite3.DatabaseError | OSError) and not isinstance(fault, sqlite3.IntegrityError)


def _unavailable(fault: Exception) -> Unavailable:
    """A fault of the disk or the lock by our name."""
    unavailable = Unavailable()
    unavailable.__cause__ = fault
    return unavailable


def _tell(batch: Sequence[_Job]) -> None:
    """Give each its answer, with one wake-up of each event loop."""
    for loop in {job.done.get_loop() for job in batch}:
        mine = [job for job in batch if job.done.get_loop() is loop]
        try:
            loop.call_soon_threadsafe(_resolve, mine)
        except RuntimeError:
            log.debug("an event loop closed before its answer came")


def _resolve(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.done.cancelled():
            continue
        if job.fault is not None:
            job.done.set_exception(job.fault)
        else:
            job.done.set_result(job.answer)
