"""Keeps the house: ends the leases of the dead, gives up what cannot be run, forgets what is old."""

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice

from gesso.core.errors import Unavailable
from gesso.files.blobs import FolderBlobs
from gesso.store.files import Files
from gesso.store.queue import Queue

SWEEP_S = 1.0
FORGET_EVERY = 60  # sweeps
COLLECT_EVERY = 3600
CHUNK = 500
ORPHAN_AGE = timedelta(hours=1)
log = logging.getLogger(__name__)


class Upkeep:
    """What nobody else does, again and again; each of its steps may run in several processes at once.

    Args:
        retention: how long an ended request is kept, with its files.
    """

    def __init__(self, queue: Queue, files: Files, blobs: FolderBlobs, *, retention: timedelta) -> None:
        self._queue = queue
        self._files = files
        self._blobs = blobs
        self._retention = retention

    async def work(self) -> None:
        """Sweep until cancelled."""
        sweeps = 0
        while True:
            try:
                await self.sweep()
                if sweeps % FORGET_EVERY == 0:
                    await self.forget()
                if sweeps % COLLECT_EVERY == 0:
                    await self.collect()
            except Unavailable as fault:
                log.warning("upkeep waits: %s", fault)
            sweeps += 1
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """End leases of dead processes, and give up the requests that lost all their holders."""
        ended = await self._queue.end_leases_of_the_dead()
        if ended:
            log.warning("%d leases of dead workers ended", ended)
        if await self._queue.has_expired_leases():
            await self._queue.give_up()

    async def forget(self) -> None:
        """Remove requests past their retention and uploads past their time, with their blobs, and old keys."""
        while (keys := await self._files.forget_requests(retention=self._retention)) is not None:
            await self._delete(keys)
        await self._delete(await self._files.forget_uploads())
        await self._queue.forget_keys()

    async def collect(self) -> None:
        """Remove blobs that no row knows, left by a crash between the two; young ones may still get their row."""
        old = self._blobs.keys_older_than(ORPHAN_AGE)
        while keys := await asyncio.to_thread(lambda: list(islice(old, CHUNK))):
            await self._delete(set(keys) - await self._files.are_known(keys))

    async def _delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            await asyncio.to_thread(self._blobs.delete, key)
