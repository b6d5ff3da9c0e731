"""The database on a PostgreSQL server: a few connections, one transaction a move. It knows no table.

PostgreSQL shares its syncs between connections by itself, so that moves need not be gathered. Every call has an end: on
a network that has gone silent no error ever comes.
"""

import asyncio
import logging
import time
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from gesso.core.errors import Unavailable
from gesso.store.connection import Move
from gesso.store.postgres import schema
from gesso.store.postgres.connecting import connect
from gesso.store.postgres.hands import DEADLINE_S, Ears, Hand, Notice, Task, Tasks
from gesso.store.postgres.wakeups import Wakeups

T = TypeVar("T")
WORK, NEWS = "gesso_work", "gesso_news"
MOST_WAITING = 20_000
FOLD = "SELECT fold_counters(?)"
MOST_FOLDED = 2000
log = logging.getLogger(__name__)


class PostgresDatabase:
    """One database of a PostgreSQL server; any number of processes on any number of machines may have it open.

    Attributes:
        reads_at_once: whether `read` answers without a pause.
        wakeups: those who wait for work; woken by the writes that say so.
        watchers: those who watch requests; woken by every commit.

    Args:
        connections: how many there are at most; each is opened when it is first needed.

    Use `PostgresDatabase.open`, and `close` when done. Call `read` and `write` in any event loop.
    """

    reads_at_once = False

    def __init__(self, url: str, *, connections: int = 8) -> None:
        self._url = url
        self._most = connections
        self._tasks: Tasks = SimpleQueue()
        self._hands: list[Hand] = []
        self.wakeups = Wakeups(url, WORK, self._send)
        self.watchers = Wakeups(url, NEWS, self._send)
        self._is_away = self._closed = False

    @classmethod
    def open(cls, url: str, *, connections: int = 8, accept_data_loss: bool = False) -> "PostgresDatabase":
        """The database at *url*. An empty one is given its tables; an older one is not touched.

        Args:
            accept_data_loss: take a server, too, that forgets commits when its power fails.

        Raises:
            ConfigError: when the URL is none, the server does not keep what it commits, or the tables are not ours or
                of another version.
            Unavailable: when the server cannot be reached: it may be tried again.
        """
        schema.prepare(url, accept_data_loss=accept_data_loss)
        return cls(url, connections=connections)

    async def read(self, query: Move[T]) -> T:
        """What *query* answers; each of its statements sees what is committed when it begins.

        Raises:
            Unavailable: when the server does not answer, after three seconds at the most.
        """
        return await self._ask(query, writes=False)

    async def write(self, move: Move[T], *, wakes: bool = False, patient: bool = False) -> T:  # noqa: ARG002 - the face
        """Carry out *move* and return once it is committed; its exceptions are raised here.

        Args:
            wakes: wake every waiter after the commit.
            patient: of no meaning here.

        Raises:
            Unavailable: when the server does not answer, after three seconds at the most. The move may have happened:
                the answer to a commit can be lost.
        """
        return await self._ask(move, writes=True, wakes=wakes)

    async def tidy(self) -> None:
        """Put counters together; to be called now and then."""
        while await self.write(lambda rows: rows.execute(FOLD, (MOST_FOLDED,)).fetchone()[0]):
            pass

    def close(self) -> None:
        """Carry out what was handed in, then close; twice is safe. What hangs is ended."""
        if not self._closed:
            self._closed = True
            for _ in self._hands:
                self._tasks.put(None)
            ends = time.monotonic() + DEADLINE_S
            for hand in self._hands:
                hand.join(max(0.0, ends - time.monotonic()))
                hand.break_off(float("inf"))

    async def _ask(self, move: Move[T], *, writes: bool, wakes: bool = False) -> T:
        if self._closed or self._tasks.qsize() > MOST_WAITING:
            raise Unavailable
        loop = asyncio.get_running_loop()
        ends = time.monotonic() + DEADLINE_S
        task = Task(move, loop.create_future(), wakes=wakes, patient=False, writes=writes, ends=ends)
        self._hand_in(task)
        deadline = loop.call_later(DEADLINE_S, self._withdraw, task)
        try:
            answer: T = await task.done
        finally:
            deadline.cancel()
        return answer

    def _hand_in(self, task: Task | Notice) -> None:
        self._tasks.put(task)
        self._break_off()
        idle = sum(hand.is_idle for hand in self._hands)
        if len(self._hands) < self._most and self._tasks.qsize() > idle:
            ears = Ears(self._committed, self._sending, self._hear)
            self._hands.append(Hand(self._tasks, partial(connect, self._url), ears))

    def _withdraw(self, task: Task) -> None:
        if not task.done.done():
            task.withdraw()
            self._hear(TimeoutError(f"no answer within {DEADLINE_S} s"))
        self._break_off()

    def _break_off(self) -> None:
        now = time.monotonic()
        for hand in self._hands:
            hand.break_off(now)

    def _committed(self, task: Task) -> None:
        if task.wakes:
            self.wakeups.wake()
        self.watchers.wake()

    def _send(self, channel: str) -> None:
        self._tasks.put(Notice(channel))

    def _sending(self, notice: Notice) -> None:
        (self.wakeups if notice.channel == WORK else self.watchers).sending()

    def _hear(self, fault: Exception | None) -> None:
        """Log what ails the server once, not once a call."""
        if fault is not None and not self._is_away:
            self._is_away = True
            log.error("the database does not answer: %s", fault)
        elif fault is None and self._is_away:
            self._is_away = False
            log.warning("the database answers again")
