"""Fetches, judges and freezes a request's pictures, right after its submit and whatever the length of the queue."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

from gesso.core.errors import RunFailed, Unavailable
from gesso.core.model import Model
from gesso.core.pictures import Facts, Picture, PictureFault, largest_bytes
from gesso.core.request import Failed, Request
from gesso.files.fetcher import Fetcher
from gesso.files.shelf import Shelf
from gesso.store.queue import Queue
from gesso.worker.waiting import wait_for_wake

T = TypeVar("T")
AT_ONCE, OF_ONE_OWNER = 64, 8
LEASE = timedelta(seconds=60)
log = logging.getLogger(__name__)


class Intake:
    """Takes in the requests whose pictures must be fetched.

    Args:
        holder: the name under which this process is known among the waiters.
    """

    def __init__(
        self, queue: Queue, models: Mapping[str, Model], fetcher: Fetcher, shelf: Shelf, *, holder: str
    ) -> None:
        self._holder = holder
        self.woken = asyncio.Event()
        self._queue = queue
        self._models = models
        self._fetcher = fetcher
        self._shelf = shelf
        self._busy: dict[asyncio.Task[None], str] = {}

    async def work(self) -> None:
        """Take in requests until cancelled; what is under way then is dropped, for others to begin anew."""
        try:
            while True:
                self.woken.clear()
                room = AT_ONCE - len(self._busy)
                # A few at a time: whose pictures hang must not take the room of all others.
                taken = await self._taken(min(room, OF_ONE_OWNER)) if room else []
                for request in taken:
                    task = asyncio.create_task(self._take_in(request))
                    self._busy[task] = request.owner
                    task.add_done_callback(self._done)
                if not taken:
                    await wait_for_wake(self.woken)
        finally:
            for task in self._busy:
                task.cancel()
            await asyncio.gather(*self._busy, return_exceptions=True)

    async def _taken(self, room: int) -> list[Request]:
        owners = Counter(self._busy.values())
        busy = [owner for owner, count in owners.items() if count >= OF_ONE_OWNER]
        try:
            return await self._queue.take_in(holder=self._holder, limit=room, lease=LEASE, busy=busy)
        except Unavailable as fault:
            log.warning("nothing can be taken in: %s", fault)
            return []

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._busy[task]
        self.woken.set()

    async def _take_in(self, request: Request) -> None:
        """Freeze every picture of *request*, or refuse it with the first fault in their order; then keep nothing."""
        try:
            wanted = [picture for picture in request.pictures if not picture.blob]
            told = await asyncio.gather(*(self._fetch(request, each) for each in wanted), return_exceptions=True)
            judged = [_or_raise(each) for each in told]
            kept = await asyncio.gather(*(self._shelf.keep(data, facts) for data, facts in judged))
            files = dict(zip(wanted, kept, strict=True))
            frozen = [each.frozen(files[each]) if each in files else each for each in request.pictures]
            await self._queue.freeze(request, frozen, kept)
        except RunFailed as fault:
            await self._queue.refuse(request, Failed.because(fault))
        except Exception:
            log.exception("intake of request %s broke; it is tried again", request.id)

    async def _fetch(self, request: Request, picture: Picture) -> tuple[bytes, Facts]:
        validations = self._models[request.model_id].validations(picture)
        try:
            data = await self._fetcher.fetch(picture.url or "", largest_bytes(validations))
            return data, await self._shelf.judge(data, validations)
        except PictureFault as fault:
            raise fault.ends(*picture.loc) from fault


def _or_raise(told: T | BaseException) -> T:
    if isinstance(told, BaseException):
        raise told
    return told
