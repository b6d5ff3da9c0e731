"""Keeps the house: ends the leases of the dead, gives up what cannot be run, forgets what is old."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from gesso.core.errors import Unavailable
from gesso.core.ports import Blobs
from gesso.store.files import Files
from gesso.store.queue import Queue

SWEEP_S, FORGET_S, COLLECT_S = 1.0, 60.0, 3600.0
CHUNK = 500
ORPHAN_AGE = timedelta(hours=1)
log = logging.getLogger(__name__)


class Upkeep:
    """What nobody else does, again and again; each of its steps may run in several processes at once.

    Args:
        retention: how long an ended request is kept, with its files.
    """

    def __init__(self, queue: Queue, files: Files, blobs: Blobs, *, retention: timedelta) -> None:
        self._queue = queue
        self._files = files
        self._blobs = blobs
        self._retention = retention

    async def work(self) -> None:
        """Do each of them at its own pace until cancelled: a slow blob store does not hold up the leases."""
        steps = ((self.sweep, SWEEP_S), (self.forget, FORGET_S), (self.collect, COLLECT_S))
        tasks = [asyncio.create_task(_again(step, pause_s)) for step, pause_s in steps]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def sweep(self) -> None:
        """End leases of dead processes, give up what lost all its holders, cancel what was not started in time."""
        ended = await self._queue.end_leases_of_the_dead()
        if ended:
            log.warning("%d leases of dead workers ended", ended)
        if await self._queue.has_expired_leases():
            await self._queue.give_up()
        await self._queue.expire()

    async def forget(self) -> None:
        """Remove requests past their retention and uploads past their time, with their blobs, and old keys."""
        while (keys := await self._files.forget_requests(retention=self._retention)) is not None:
            await self._delete(keys)
        await self._delete(await self._files.forget_uploads())
        await self._queue.forget_keys()
        await self._queue.tidy()

    async def collect(self) -> None:
        """Remove blobs that no row knows, left by a crash between the two; young ones may still get their row."""
        async for keys in self._blobs.keys_older_than(ORPHAN_AGE):
            for start in range(0, len(keys), CHUNK):
                await self._delete(await self._files.condemn_unknown(keys[start : start + CHUNK]))

    async def _delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), CHUNK):
            await self._blobs.delete(*keys[start : start + CHUNK])


async def _again(step: Callable[[], Awaitable[None]], pause_s: float) -> None:
    while True:
        try:
            await step()
        except Unavailable as fault:
            log.warning("upkeep waits: %s", fault)
            await asyncio.sleep(min(pause_s, FORGET_S))
        else:
            await asyncio.sleep(pause_s)
