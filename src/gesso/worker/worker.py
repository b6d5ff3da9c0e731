"""A worker: lanes, intake and upkeep of one process, begun and ended together."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from gesso.worker.intake import Intake
from gesso.worker.lane import Lane
from gesso.worker.upkeep import Upkeep

Work = Callable[[], Coroutine[Any, Any, None]]
log = logging.getLogger(__name__)


class Worker:
    """Runs until it is stopped, or until one of its parts dies, which it does not survive.

    Args:
        grace: how long a run may take to end after `stop`; then its request is handed back.
        beside: what goes on from the start, while engines load too, until all else has ended.
    """

    def __init__(
        self, lanes: Sequence[Lane], intake: Intake, upkeep: Upkeep, *, grace: timedelta, beside: Sequence[Work] = ()
    ) -> None:
        self._lanes = lanes
        self._intake = intake
        self._upkeep = upkeep
        self._grace = grace
        self._stopped = asyncio.Event()
        self._beside = beside

    def wake(self) -> None:
        """Something may be there to do."""
        self._intake.woken.set()
        for lane in self._lanes:
            lane.wake()

    def stop(self) -> None:
        """Claim no more and end what runs within the grace; twice is harmless."""
        self._stopped.set()

    async def run(self) -> None:
        """Work until `stop`.

        Raises:
            Exception: that of a part that died, once the others are ended.
        """
        beside = [asyncio.create_task(work()) for work in self._beside]
        try:
            if await self._begun():
                await self._work(beside)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await asyncio.gather(*(lane.host.close() for lane in self._lanes))

    async def _begun(self) -> bool:
        """Start the engines; False when `stop` came first, because loading may take minutes."""
        starting = asyncio.gather(*(lane.seat.begin() for lane in self._lanes))
        stopped = asyncio.create_task(self._stopped.wait())
        first: list[asyncio.Future[Any]] = [starting, stopped]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if starting.done():
            starting.result()
            return True
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return False

    async def _work(self, beside: Sequence[asyncio.Task[Any]]) -> None:
        lanes = [asyncio.create_task(lane.work()) for lane in self._lanes]
        others = [*(asyncio.create_task(part) for part in self._others()), *beside]
        await asyncio.wait([*lanes, *others], return_when=asyncio.FIRST_COMPLETED)
        for lane in self._lanes:
            lane.stop()
        await asyncio.wait(lanes, timeout=self._grace.total_seconds())
        for task in (*lanes, *others):
            task.cancel()
        told = await asyncio.gather(*lanes, *others, return_exceptions=True)
        for fault in told:
            if isinstance(fault, Exception):
                raise fault

    def _others(self) -> list[Coroutine[Any, Any, Any]]:
        return [self._intake.work(), self._upkeep.work(), self._stopped.wait()]
