"""Those who wait for news of a request: one look at the database serves all of a process, at each commit of anybody's.

Nothing is looked at while nobody waits. A wake-up only shortens the wait: every half second there is a look anyway.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from starlette.types import Receive

from gesso.core.errors import GessoError, TooManyStreams
from gesso.core.states import FINAL
from gesso.store.connection import Wakeups
from gesso.store.progress import Mark, Progress
from gesso.store.workers import Pace

POLL_S, LINGER_S = 0.5, 5.0
REST = 3  # so many times as long as a look took, before the next one: what it costs stays bounded
AGAIN_S = 5
log = logging.getLogger(__name__)


class Watched:
    """One who waits.

    Attributes:
        mark: of the request, as last seen; None when it is gone.
        is_seen: whether there was a look already.
    """

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.mark: Mark | None = None
        self.is_seen = False
        self.news = asyncio.Event()


class Watch:
    """Looks after the requests that somebody of this process waits for.

    Args:
        watchers: where commits are told.
    """

    def __init__(self, progress: Progress, watchers: Wakeups) -> None:
        self._progress = progress
        self._watchers = watchers
        self._waiting: dict[str, set[Watched]] = {}
        self._woken = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self.is_stopping = False

    def stop(self) -> None:
        """Send everybody who waits home, now and from now on: the server stops."""
        self.is_stopping = True
        self._woken.set()
        for watched in [each for group in self._waiting.values() for each in group]:
            watched.news.set()

    @contextmanager
    def on(self, request_id: str) -> Iterator[Watched]:
        """Wait for news of a request; the first comes as soon as it was looked at."""
        watched = Watched(request_id)
        self._waiting.setdefault(request_id, set()).add(watched)
        if self.is_stopping:
            watched.news.set()
        elif self._looking is None:
            self._looking = asyncio.create_task(self._look_on())
            self._looking.add_done_callback(_told)
        self._woken.set()
        try:
            yield watched
        finally:
            self._waiting[request_id].discard(watched)
            if not self._waiting[request_id]:
                del self._waiting[request_id]

    async def _look_on(self) -> None:
        """Look for as long as anybody waits, and a while longer: the next one often comes soon."""
        waiter = self._watchers.listen()
        waiter.on_wake = self._woken.set
        try:
            idle_since = time.monotonic()
            while not self.is_stopping and (self._waiting or time.monotonic() - idle_since < LINGER_S):
                if self._waiting:
                    idle_since = time.monotonic()
                await self._look()
                await wait_for(self._woken, POLL_S if self._waiting else LINGER_S)
        finally:
            self._looking = None
            waiter.close()

    async def _look(self) -> None:
        began = time.monotonic()
        self._woken.clear()
        try:
            marks = await self._progress.marks(list(self._waiting)) if self._waiting else {}
        except GessoError as fault:
            log.warning("those who wait are not told: %s", fault)
            await asyncio.sleep(POLL_S)
            return
        for request_id, group in self._waiting.items():
            mark = marks.get(request_id)
            for watched in group:
                if mark != watched.mark or not watched.is_seen:
                    watched.mark, watched.is_seen = mark, True
                    watched.news.set()
        await asyncio.sleep(REST * (time.monotonic() - began))


@dataclass(frozen=True, slots=True)
class Live:
    """What those have who want to know how a request goes on."""

    lines: "Lines"
    pace: Pace


class Lines:
    """How many connections are held open for those who wait: a sum for all, a part of it for one owner."""

    def __init__(self, watch: Watch, *, most: int, most_per_owner: int) -> None:
        self.watch = watch
        self._most = most
        self._most_per_owner = most_per_owner
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, owner: str) -> Iterator[None]:
        """Hold one.

        Raises:
            TooManyStreams: when there are too many.
        """
        if self._held[owner] >= self._most_per_owner or self._held.total() >= self._most:
            limit = self._most_per_owner if self._held[owner] >= self._most_per_owner else self._most
            raise TooManyStreams(seconds=AGAIN_S, limit=limit)
        self._held[owner] += 1
        try:
            yield
        finally:
            self._held[owner] -= 1
            self._held += Counter()  # forget owners that hold none

    async def wait(self, request_id: str, owner: str, seconds: float, receive: Receive) -> None:
        """Return when the request has ended, *seconds* are over, or nobody waits any more: the client has gone, or the
        server stops. Where too many wait already, at once."""
        with suppress(TooManyStreams), self.hold(owner), self.watch.on(request_id) as watched:
            ended = asyncio.create_task(self._ended(watched))
            gone = asyncio.create_task(leaves(receive))
            try:
                await asyncio.wait((ended, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (ended, gone):
                    task.cancel()
                await asyncio.gather(ended, gone, return_exceptions=True)

    async def _ended(self, watched: Watched) -> None:
        while not self.watch.is_stopping:
            await watched.news.wait()
            watched.news.clear()
            if watched.mark is None or watched.mark.state in FINAL:
                return


async def leaves(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Return when *event* is set, or *seconds* are over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _told(looking: asyncio.Task[None]) -> None:
    if not looking.cancelled() and (fault := looking.exception()):
        log.error("looking for news broke; it begins anew", exc_info=fault)
