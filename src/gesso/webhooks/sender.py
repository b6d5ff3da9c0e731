"""Sends what lies in the outbox. Any number of processes may: what was begun is due again when its sender dies.

A receiver that hangs delays nobody else: only a few attempts at once go to one host or are one owner's, and owners and
hosts take turns.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus

from gesso.core.errors import ResourceNotFound, Unavailable
from gesso.core.ports import Clock
from gesso.core.request import Request
from gesso.core.states import State
from gesso.store.outbox import PAGE, Delivery, Front, Outbox
from gesso.store.queue import Queue
from gesso.webhooks import signature
from gesso.webhooks.posting import NotAnswered

# Ten attempts in a good three days, as https://www.standardwebhooks.com proposes.
PAUSES = tuple(timedelta(**pause) for pause in (
    {"seconds": 5}, {"minutes": 5}, {"minutes": 30}, {"hours": 2}, {"hours": 5}, {"hours": 10}, {"hours": 14},
    {"hours": 20}, {"hours": 24},
))  # fmt: skip
JITTER = 0.2  # of a pause, on top of it: receivers that come back are not asked by everybody at once
LEASE = timedelta(seconds=60)  # a good deal longer than an attempt
POLL_S = 0.5
IN_ALL, PER_OWNER, PER_HOST = 64, 16, 4
log = logging.getLogger(__name__)

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[int]]
"""URL, headers and body to the status that was answered; raises NotAnswered."""
Render = Callable[[Request], bytes]
"""The body of /result for a request, in its submitter's language."""


class Sender:
    """Claims deliveries, sends them, and notes what became of them.

    Args:
        root: the database's own secret, from which those of the owners are derived.
        lease: how long others leave a delivery alone that was begun here.
    """

    def __init__(
        self, outbox: Outbox, queue: Queue, render: Render, post: Post, *, root: bytes, now: Clock,
        lease: timedelta = LEASE,
    ) -> None:  # fmt: skip
        self._outbox = outbox
        self._queue = queue
        self._render = render
        self._post = post
        self._root = root
        self._now = now
        self._lease = lease
        self._after = ""
        self._busy: dict[asyncio.Task[None], Delivery] = {}
        self._woken = asyncio.Event()

    async def work(self) -> None:
        """Send until cancelled; what is under way then is dropped, and due again when its lease ends."""
        try:
            while True:
                self._woken.clear()
                if not await self._begin():
                    await self._wait()
        finally:
            for task in self._busy:
                task.cancel()
            await asyncio.gather(*self._busy, return_exceptions=True)

    async def _begin(self) -> bool:
        """Begin what is due and has room; whether there was any."""
        try:
            taken = await self._outbox.claim(await self._choose(), lease=self._lease)
        except Unavailable as fault:
            log.warning("no webhook can be sent: %s", fault)
            await asyncio.sleep(fault.retry_after_s or 1)
            return False
        for delivery in taken:
            task = asyncio.create_task(self._deliver(delivery))
            self._busy[task] = delivery
            task.add_done_callback(self._done)
        return bool(taken)

    async def _choose(self) -> list[int]:
        """What to begin now: one of each lane, going on with the lane where the last choice left off."""
        room = Room(self._busy.values())
        if room.is_full:
            return []
        fronts = await self._outbox.fronts(self._after)
        self._after = fronts[-1].lane if len(fronts) == PAGE else ""
        chosen: list[int] = []
        for front in fronts:
            if room.is_full:
                self._after = front.lane
                break
            if front.seq is not None and room.take(front):
                chosen.append(front.seq)
        return chosen

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._busy[task]
        self._woken.set()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._woken.wait()

    async def _deliver(self, delivery: Delivery) -> None:
        """One attempt, and what becomes of it."""
        try:
            await self._settle(delivery, *await self._attempt(delivery))
        except ResourceNotFound:
            log.debug("delivery %s has gone with its request", delivery.id)
        except Unavailable as fault:
            log.warning("delivery %s waits: %s", delivery.id, fault)
        except Exception:
            log.exception("delivery %s broke", delivery.id)
            with contextlib.suppress(Unavailable):
                await self._fail(delivery, None, "broken")

    async def _attempt(self, delivery: Delivery) -> tuple[int | None, str]:
        """The status that was answered, or what kept it from coming."""
        body = delivery.body or await self._outbox.keep_body(delivery, await self._body(delivery))
        generations = await self._outbox.generations(delivery.owner)
        secrets = [signature.derive(self._root, delivery.owner, each) for each in generations]
        headers = signature.headers(delivery.id, int(self._now().timestamp()), body, secrets)
        try:
            return await self._post(delivery.url, headers, body), ""
        except NotAnswered as fault:
            return None, str(fault)

    async def _body(self, delivery: Delivery) -> bytes:
        request = await self._queue.get(delivery.request_id, delivery.owner)
        return self._render(as_it_was(request) if delivery.event == "in_progress" else request)

    async def _settle(self, delivery: Delivery, status: int | None, error: str) -> None:
        if status is None:
            await self._fail(delivery, None, error)
        elif HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            await self._outbox.deliver(delivery, status)
        elif status == HTTPStatus.GONE:
            await self._outbox.stop(delivery, status)
        else:
            await self._fail(delivery, status, "status")

    async def _fail(self, delivery: Delivery, status: int | None, error: str) -> None:
        pause = pause_after(delivery.failures)
        # The host and no more of the URL: its path and query hold secrets.
        log.info("delivery %s to %s failed: %s; next in %s", delivery.id, delivery.host, status or error, pause)
        await self._outbox.fail(delivery, status, error, pause=pause)


class Room:
    """How many more attempts may begin: in all, to one host, and of one owner.

    Args:
        busy: what is under way.
    """

    def __init__(self, busy: Collection[Delivery]) -> None:
        self._in_all = len(busy)
        self._hosts = Counter(each.host for each in busy)
        self._owners = Counter(each.owner for each in busy)

    @property
    def is_full(self) -> bool:
        """Whether nothing may begin, wherever it goes."""
        return self._in_all >= IN_ALL

    def take(self, front: Front) -> bool:
        """Take a place for *front*; False where there is none for its host or owner."""
        if self._hosts[front.host] >= PER_HOST or self._owners[front.owner] >= PER_OWNER:
            return False
        self._in_all += 1
        self._hosts[front.host] += 1
        self._owners[front.owner] += 1
        return True


def pause_after(failures: int) -> timedelta | None:
    """How long to wait after one failure more than so many; None when that was the last attempt."""
    if failures >= len(PAUSES):
        return None
    return PAUSES[failures] * random.uniform(1, 1 + JITTER)  # noqa: S311 - nobody gains by guessing it


def as_it_was(request: Request) -> Request:
    """The request while it ran: the sender may come to it after its end."""
    return replace(request, state=State.IN_PROGRESS, finished_at=None, outcome=None)
