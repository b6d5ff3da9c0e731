"""The database: one SQLite file, one writer that shares commits, reads beside it. It knows no table.

Moves that arrive together are committed together: one fsync for many. The writer is a thread, because a commit inside
the event loop would block every poll while the disk works; point reads take microseconds and stay in the loop.
Nobody waits for ever: whoever holds the file's locks too long, or a disk that hangs, costs `Unavailable`.
"""

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from gesso.core.errors import ConfigError, StorageBroken, Unavailable
from gesso.core.ports import OnFatal
from gesso.store.jobs import Job, tell
from gesso.store.migrating import migrate
from gesso.store.soundness import FAULTS, damaged, require_local, require_whole, require_whole_log, told
from gesso.store.turns import open_lock, take, taken
from gesso.store.wakeups import Wakeups

T = TypeVar("T")
Move = Callable[[sqlite3.Connection], T]
"""A guarded change. It may be run again after a rollback, so it does nothing but talk to the connection."""

MOST_IN_A_COMMIT = 512
MOST_WAITING = 20_000
PATIENCE_S = 0.002
DEADLINE_S = 4.0
LOCK_S = 3.5
READ_LOCK_MS = 100
FULL = 2
# A sync that failed may succeed the next time over lost pages (https://wiki.postgresql.org/wiki/Fsync_Errors).
FATAL = frozenset({"SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"})
CURABLE = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
                     sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM})  # fmt: skip
log = logging.getLogger(__name__)


def just_log(fault: Exception) -> None:
    """For processes that end soon anyway."""
    log.critical("a sync failed: %s", fault)


class Database:
    """One SQLite file, opened by one process; any number of processes may have it open.

    Attributes:
        reads_at_once: whether `read` answers without a pause.
        wakeups: those who wait for work; woken by the writes that say so.
        watchers: those who watch requests; woken by every commit.

    Args:
        on_fatal: told of a sync that failed, and of a writer that died. Nothing is written from then on.

    Use `Database.open`, and `close` when done. Call `read` and `write` in any event loop.
    """

    reads_at_once = True

    def __init__(self, path: Path, wakeups: Wakeups, on_fatal: OnFatal = just_log) -> None:
        self.wakeups = wakeups
        self._on_fatal = on_fatal
        self.watchers = Wakeups(path.parent / "watchers")
        self._path = path
        self._lock = open_lock(path)
        self._reader = connect(path)
        self._reader.execute(f"PRAGMA busy_timeout = {READ_LOCK_MS}")  # it waits in the event loop
        self._jobs: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._gathered: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        self._writer = threading.Thread(target=self._write_forever, name="writer", daemon=True)
        self._handed_in = self._told = 0
        self._broken = self._closed = False

    @classmethod
    def open(cls, folder: Path, on_fatal: OnFatal = just_log) -> "Database":
        """The database in *folder*, made or brought up to date if need be.

        Raises:
            ConfigError: when the file is damaged, belongs to a newer Gesso, or cannot be made durable.
            Unavailable: when it is locked, or the disk is full: it may be tried again.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "gesso.db"
        try:
            prepare(path)
            database = cls(path, Wakeups(folder / "waiters"), on_fatal)
        except FAULTS as fault:
            if getattr(fault, "sqlite_errorcode", 0) & 0xFF not in CURABLE:
                raise damaged(path, told(fault)) from fault
            log.error("the database %s cannot be opened now: %s", path, fault)
            raise Unavailable from fault
        database._writer.start()
        return database

    @staticmethod
    def is_there(folder: Path) -> bool:
        """Whether *folder* holds a database already, of whatever age and health; nothing is touched."""
        path = folder / "gesso.db"
        return path.exists() and path.stat().st_size > 0

    async def read(self, query: Move[T]) -> T:
        """Answer *query* now, in this thread and without a pause; for point reads.

        Raises:
            Unavailable: when the file cannot be read.
        """
        try:
            return query(self._reader)
        except FAULTS as fault:
            raise Unavailable from fault

    async def write(self, move: Move[T], *, wakes: bool = False, patient: bool = False) -> T:
        """Carry out *move* and return once it is synced to the disk; its exceptions are raised here.

        Args:
            wakes: wake every waiter after the commit.
            patient: it may wait two milliseconds for others, to share their commit.

        Raises:
            Unavailable: when the file cannot be written, after five seconds at the most. The move has not happened
                and will not; but of one that was being committed at that very moment nobody knows.
            StorageBroken: when a sync has failed.
        """
        self._require_room()
        loop = asyncio.get_running_loop()
        job = Job(move, loop.create_future(), wakes, patient)
        # Handed in once everything that is ready has run: what comes in one turn of the loop shares a commit, and the
        # writer does not fight this thread for the interpreter with every single move.
        if loop not in self._gathered:
            self._gathered[loop] = []
            loop.call_soon(self._hand_in, loop)
        self._gathered[loop].append(job)
        deadline = loop.call_later(DEADLINE_S, job.withdraw)
        try:
            answer: T = await job.done
        finally:
            deadline.cancel()
        return answer

    async def tidy(self) -> None:
        """Nothing: a file needs no care."""

    def close(self) -> None:
        """Carry out what was handed in, then close; twice is safe. What hangs is left behind."""
        if not self._closed:
            self._closed = True
            for loop in list(self._gathered):
                self._hand_in(loop)
            self._jobs.put(None)
            self._writer.join(DEADLINE_S)
            self._reader.close()
            self.wakeups.close()
            self.watchers.close()
            if not self._writer.is_alive():
                os.close(self._lock)

    def _require_room(self) -> None:
        if self._broken:
            raise StorageBroken
        if self._closed or self._handed_in - self._told > MOST_WAITING:
            raise Unavailable

    def _hand_in(self, loop: asyncio.AbstractEventLoop) -> None:
        if gathered := self._gathered.pop(loop, None):
            self._handed_in += len(gathered)
            self._jobs.put(gathered)

    def _write_forever(self) -> None:
        try:
            with contextlib.closing(connect(self._path)) as connection:
                while (batch := self._batch()) is not None:
                    self._commit(connection, batch)
                    self._told += len(batch)
                    tell(batch)
        except Exception as fault:
            log.exception("the writer died")
            self._break(fault)

    def _break(self, fault: Exception) -> None:
        self._broken = True
        self._on_fatal(fault)

    def _batch(self) -> list[Job] | None:
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

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[Job]) -> None:
        try:
            self._transact(connection, batch)
        except Exception as fault:  # noqa: BLE001 - it is told to whoever handed the move in
            if _is_of_the_disk(fault):
                # None of them can be carried out, and each by itself would wait as long again.
                log.error("a commit failed: %s", fault)
                if getattr(fault, "sqlite_errorname", "") in FATAL:
                    self._break(fault)
                for job in batch:
                    job.fault = _because_of(fault, StorageBroken() if self._broken else Unavailable())
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
        self.watchers.wake()

    def _transact(self, connection: sqlite3.Connection, batch: Sequence[Job]) -> None:
        if self._broken:
            raise StorageBroken
        # This may take for ever; whoever waits for us is told by a deadline of its own.
        with taken(self._lock):
            try:
                connection.execute("BEGIN IMMEDIATE")
                for job in batch:
                    if not job.withdrawn:
                        job.answer = job.move(connection)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")


def prepare(path: Path) -> None:
    """Make sure that the file at *path* can be used, and bring it to this version's tables.

    Raises:
        ConfigError, Unavailable: as `Database.open`.
    """
    require_local(path.parent)
    lock = open_lock(path)
    try:
        take(lock, LOCK_S)
        require_whole_log(path)
        with contextlib.closing(connect(path)) as connection:
            path.chmod(0o600)
            migrate(connection, path)
            require_whole(connection, path)
    finally:
        os.close(lock)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that syncs every commit; `now_us()` in its SQL is the database's clock, microseconds in UTC.

    Raises:
        ConfigError: when the file system does not carry WAL with full syncs.
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=LOCK_S, check_same_thread=False)
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


def _is_of_the_disk(fault: Exception) -> bool:
    """Whether it is a fault of the disk or the lock, and not of a move."""
    return isinstance(fault, (*FAULTS, OSError)) and not isinstance(fault, sqlite3.IntegrityError)


def _because_of(fault: Exception, told: Unavailable) -> Unavailable:
    """A fault of the disk or the lock by our name."""
    told.__cause__ = fault
    return told
