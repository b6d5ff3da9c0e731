"""Says every few seconds that this worker lives, and takes it back when it ends."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Mapping

from gesso.core.errors import Unavailable
from gesso.meter import Meter
from gesso.store.workers import BEAT_S, Workers

log = logging.getLogger(__name__)


class Heart:
    """The heartbeat of one worker process.

    Args:
        name: of the process among the waiters.
        lanes: how many it has for each model.
        meter: what the lanes count.
    """

    def __init__(self, workers: Workers, name: str, lanes: Mapping[str, int], meter: Meter) -> None:
        self._meter = meter
        self._workers = workers
        self._name = name
        self._lanes = dict(lanes)

    async def work(self) -> None:
        """Beat until cancelled."""
        place = f"{socket.gethostname()}, process {os.getpid()}"
        try:
            while True:
                try:
                    await self._workers.beat(self._name, place, self._lanes, self._meter.text())
                except Unavailable as fault:
                    log.warning("the worker cannot say that it lives: %s", fault)
                await asyncio.sleep(BEAT_S)
        finally:
            with contextlib.suppress(Unavailable):
                await self._workers.leave(self._name)
