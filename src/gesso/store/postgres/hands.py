"""One connection to PostgreSQL, and the thread that works with it. It knows transactions and their faults, no table.

A thread, because moves are plain functions; its connection is its own, so that nothing is shared but the list of tasks.
What hangs is ended from outside, by its socket: on a silent network nothing else does.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from gesso.core.errors import Unavailable
from gesso.store.jobs import Job, tell
from gesso.store.postgres.dialect import Row, to_postgres

PgConnection = psycopg.Connection[Row]
AGAIN = (errors.SerializationFailure, errors.DeadlockDetected)
"""The move was rolled back because of somebody else's; made again, it succeeds."""
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""The server or the way to it, not the move."""
DEADLINE_S = 2.5
"""How long a caller waits for its answer, all in all."""


@dataclass(slots=True)
class Task(Job):
    """A job with its kind and its end.

    Attributes:
        writes: it is made in one transaction; else each of its statements stands for itself.
        ends: when its caller stops waiting, by the monotonic clock.
    """

    writes: bool = True
    ends: float = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """Waiters to be woken; nobody waits for it."""

    channel: str


Tasks = SimpleQueue[Task | Notice | None]


class Session:
    """What a move is given: a connection that reads SQLite's SQL."""

    def __init__(self, connection: PgConnection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[Row]:
        """Carry out one statement."""
        return self._connection.execute(to_postgres(sql).encode(), values)


@dataclass(frozen=True, slots=True)
class Ears:
    """What hears of a hand's work.

    Attributes:
        on_commit: of each task that was committed, before its caller does.
        on_notice: of each notice that is about to be sent.
        on_fault: of each fault of the server or the way to it; None after each answer.
    """

    on_commit: Callable[[Task], None]
    on_notice: Callable[[Notice], None]
    on_fault: Callable[[Exception | None], None]


class Hand:
    """Takes tasks until it is given None.

    Args:
        connect: opens a connection, within the deadline.
        ears: hear what becomes of things, in the hand's own thread.
    """

    def __init__(self, tasks: Tasks, connect: Callable[[], PgConnection], ears: Ears) -> None:
        self.is_idle = True
        self._tasks = tasks
        self._connect = connect
        self._ears = ears
        self._connection: PgConnection | None = None
        self._lock = threading.Lock()  # of the connection's opening and closing
        self._ends: float | None = None
        self._is_committing = False
        self._thread = threading.Thread(target=self._work, name="postgres", daemon=True)
        self._thread.start()

    def break_off(self, now: float) -> None:
        """From another thread: if what it does should have ended before *now*, end it."""
        if self._ends is not None and now >= self._ends:
            with self._lock:
                if self._connection is not None:
                    _shut(self._connection)

    def join(self, within_s: float) -> None:
        """Wait until it has ended."""
        self._thread.join(within_s)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            self.is_idle = False
            if isinstance(task, Notice):
                self._notify(task)
            else:
                self._carry_out(task)
            self._ends = None
            self.is_idle = True
        self._drop()

    def _notify(self, notice: Notice) -> None:
        self._ends = time.monotonic() + DEADLINE_S
        self._ears.on_notice(notice)
        try:
            self._open().execute(f"NOTIFY {notice.channel}".encode())
        except AWAY:
            self._drop()  # whoever waits polls as well

    def _carry_out(self, task: Task) -> None:
        self._ends = task.ends
        try:
            if not task.withdrawn:
                task.answer = self._made(task)
                self._ears.on_fault(None)
                if task.writes:
                    self._ears.on_commit(task)
        except Exception as fault:  # noqa: BLE001 - it is told to whoever handed the task in
            task.fault = fault
        tell([task])

    def _made(self, task: Task) -> Any:
        """What the task answers; tried again where it surely has not happened."""
        while True:
            was_open, self._is_committing = self._connection is not None, False
            try:
                return self._transacted(task) if task.writes else task.move(Session(self._open()))
            except AGAIN as fault:
                if task.withdrawn:
                    raise Unavailable from fault
            except AWAY as fault:
                self._drop()
                # A connection that had lain there may only have outlived its server. A commit may have happened.
                if not was_open or self._is_committing or task.withdrawn:
                    self._ears.on_fault(fault)
                    raise Unavailable from fault

    def _transacted(self, task: Task) -> Any:
        connection = self._open()
        try:
            connection.execute(b"BEGIN")
            answer = task.move(Session(connection))
            if task.withdrawn:
                raise Unavailable
            self._is_committing = True
            if (told := connection.execute(b"COMMIT").statusmessage) != "COMMIT":
                raise errors.InFailedSqlTransaction(f"a commit was answered with {told}")
        except Exception:
            _roll_back(connection)
            raise
        return answer

    def _open(self) -> PgConnection:
        if self._connection is None:
            connection = self._connect()
            with self._lock:
                self._connection = connection
        return self._connection

    def _drop(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _roll_back(connection: PgConnection) -> None:
    if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        with contextlib.suppress(psycopg.Error):
            connection.execute(b"ROLLBACK")


def _shut(connection: PgConnection) -> None:
    """Whoever waits at the socket sees its end."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.pgconn.socket)) as ours:
        ours.shutdown(socket.SHUT_RDWR)
