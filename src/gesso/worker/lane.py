"""One engine and the requests of its models. It owes the queue three things: to renew while it works, to report exactly
one outcome, and to hand back what it cannot finish.

The engine never waits while work does: the next request is prepared, unclaimed, while it runs, and its output is
encoded and stored after the next run has begun.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from PIL.Image import Image

from gesso.core.errors import (
    BlobDamaged,
    EngineDied,
    GessoError,
    InternalError,
    LeaseLost,
    RunFailed,
    Stopped,
    StorageBroken,
    Unavailable,
)
from gesso.core.inputs import Inputs
from gesso.core.ports import Host, Made, Making
from gesso.core.request import Failed, Request
from gesso.meter import Meter
from gesso.store.queue import Queue
from gesso.worker.ahead import Ahead
from gesso.worker.runner import Prepared, Runner
from gesso.worker.story import with_timing
from gesso.worker.turns import Seat
from gesso.worker.waiting import wait_for_wake

T = TypeVar("T")
MOST_KEEPING = 4
OnStep = Callable[[Request, int, int, Image | None], None]
"""Hears of each step of a request's run, of how many there are, and sees the preview where there is one."""
log = logging.getLogger(__name__)


def log_step(request: Request, step: int, of: int, preview: Image | None) -> None:  # noqa: ARG001 - not to be logged
    """Only say so."""
    log.debug("request %s: step %d of %d", request.id, step, of)


class Lane:
    """Runs the requests of models that share one engine, one after another.

    Args:
        seat: the engine, which other lanes' engines may have to give way to.
        ahead: which models these are, and what is prepared of their requests.
        holder: the name under which this process is known among the waiters.
        lease: how long a claim holds without being renewed.
        on_step: hears of every step of every run, in the event loop; what it raises ends the request.

    Attributes:
        meter: counts what becomes of runs.
    """

    def __init__(
        self, queue: Queue, runner: Runner, seat: Seat, ahead: Ahead,
        *, holder: str, lease: timedelta, on_step: OnStep = log_step,
    ) -> None:  # fmt: skip
        self.meter = Meter()
        self.seat = seat
        self.woken = seat.woken
        self._queue = queue
        self._runner = runner
        self._holder = holder
        self._lease = lease
        self._on_step = on_step
        self._stopping = asyncio.Event()
        self._keeping: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MOST_KEEPING)
        self._ahead = ahead
        self._ran_last = ""
        self._owing = 0

    @property
    def models(self) -> tuple[str, ...]:
        """Those whose requests run here."""
        return self._ahead.models

    @property
    def host(self) -> Host:
        """The engine's process."""
        return self.seat.host

    async def work(self) -> None:
        """Claim and run until `stop`; then see what is running and being kept through to its end."""
        try:
            while not self._stopping.is_set():
                self.woken.clear()  # before the look, so that who comes after it is not missed
                request = await self._claim() if await self._may_run() else None
                if request is not None:
                    await self._run(request)
                else:
                    await wait_for_wake(self.woken)
        except asyncio.CancelledError:
            for task in self._keeping:  # their time is over: the database may be away for longer than we may stay
                task.cancel()
            raise
        finally:
            self._ahead.close()
            if self._keeping:
                await asyncio.wait(self._keeping)

    def stop(self) -> None:
        """Claim no more."""
        self._stopping.set()
        self.woken.set()

    def wake(self) -> None:
        """Look at the queue again."""
        self.woken.set()
        self._ahead.woken.set()

    async def _may_run(self) -> bool:
        """Whether the engine is there. One that takes turns is loaded only when something waits for it."""
        if self.seat.takes_turns and not await self._has_work():
            await self.seat.stand_by()
            return False
        return await self.seat.is_ready(self._stopping)

    async def _has_work(self) -> bool:
        try:
            return await self._queue.next(self.models) is not None
        except Unavailable as fault:
            log.warning("nothing can be looked for: %s", fault)
            return False

    async def _claim(self) -> Request | None:
        if self._owing:  # it would take its own request from itself, whose lease has ended meanwhile
            return None
        try:
            request = await self._queue.claim(
                self.models, holder=self._holder, lease=self._lease, after=self._ahead.after
            )
        except Unavailable as fault:
            log.warning("nothing can be claimed: %s", fault)
            return None
        if request is not None:
            self.meter.claimed(request)
            self._ahead.served(request)
        return request

    async def _run(self, request: Request) -> None:
        """Run *request* to its outcome, or let go of it."""
        renewing = asyncio.create_task(self._renew(request))
        try:
            prepared = await _insist(lambda: self._ahead.take(request))
            self._ahead.look()
            making = await self._ran(request, prepared.inputs)
            await self._room.acquire()
        except asyncio.CancelledError:
            await self._let_go(request, renewing, self._queue.release)
            raise
        except (EngineDied, Stopped) as fault:
            await self._lose(request, renewing, fault)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it ends this request only
            await self._end(request, renewing, fault)
        else:
            task = asyncio.create_task(self._keep(request, renewing, prepared, making))
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)

    async def _ran(self, request: Request, inputs: Inputs) -> Making:
        self._ran_last, began = request.id, time.monotonic()
        known = replace(inputs, remembered=request.remembered)
        on_step = partial(self._on_step, request)
        with self.meter.running(request, self):
            making = await self.host.engage(known, on_step, lambda text: self._remember(request, text))
        return replace(making, notes=with_timing(making.notes, "run", time.monotonic() - began))

    async def _remember(self, request: Request, text: str) -> None:
        try:
            await _insist(lambda: self._queue.remember(request, text))
        except LeaseLost:
            await self.host.stop_run()

    async def _keep(self, request: Request, renewing: asyncio.Task[None], prepared: Prepared, making: Making) -> None:
        """Keep what was made of what was *prepared*, which is held until then: to give it back takes milliseconds."""
        try:
            made = Made(await making.pictures, making.notes)
            outcome, kept = await _insist(lambda: self._runner.keep(request, prepared.told(made)))
            renewing.cancel()
            more_waits = self._ahead.has_some
            await self._settle(lambda: self._queue.finish(request, outcome, kept, patient=more_waits))
            self.meter.ended(request, "succeeded")
        except LeaseLost:
            log.warning("request %s was taken over; its output is thrown away", request.id)
        except EngineDied as fault:
            await self._lose(request, renewing, fault)
        except (StorageBroken, asyncio.CancelledError) as fault:  # another process will do better
            await self._let_go(request, renewing, self._queue.release)
            if isinstance(fault, asyncio.CancelledError):
                raise
        except Exception as fault:  # noqa: BLE001 - as in _run
            await self._end(request, renewing, fault)
        finally:
            self._room.release()

    async def _lose(self, request: Request, renewing: asyncio.Task[None], fault: Exception) -> None:
        """Let go of *request*, whose engine died. If another ran already, that does not count against this one."""
        log.warning("request %s lost its engine: %s", request.id, fault)
        is_its_own = self._ran_last == request.id
        await self._let_go(request, renewing, self._queue.lose if is_its_own else self._queue.release)
        with contextlib.suppress(Unavailable):  # else the next sweep does it
            await self._queue.give_up()

    async def _end(self, request: Request, renewing: asyncio.Task[None], fault: Exception) -> None:
        """End *request* as failed, in the words of *fault*."""
        told = _told(request, fault)
        renewing.cancel()
        with contextlib.suppress(LeaseLost):
            await self._settle(lambda: self._queue.finish(request, Failed.because(told)))
            self.meter.ended(request, "failed")

    async def _settle(self, finish: Callable[[], Awaitable[None]]) -> None:
        """Write an outcome, however long that takes; nothing is claimed while one is owed."""
        try:
            return await finish()
        except (BlobDamaged, StorageBroken):
            raise
        except Unavailable:
            self._owing += 1
        try:
            await _insist(finish)
        finally:
            self._owing -= 1

    async def _let_go(
        self, request: Request, renewing: asyncio.Task[None], how: Callable[[Request], Awaitable[None]]
    ) -> None:
        renewing.cancel()
        try:
            await how(request)
            self.meter.ended(request, "lost" if how == self._queue.lose else "released")
        except LeaseLost:
            pass
        except Unavailable as fault:
            log.warning("request %s cannot be let go of; its lease runs out: %s", request.id, fault)

    async def _renew(self, request: Request) -> None:
        """Renew every third of the lease; once it is lost, stop the run."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                await self._queue.renew(request, self._lease)
            except LeaseLost:
                log.warning("request %s: the lease is lost", request.id)
                if self._ran_last == request.id:  # while its output is kept, the engine may run another
                    await self.host.stop_run()
                return
            except Unavailable as fault:
                log.warning("request %s: its lease cannot be renewed: %s", request.id, fault)


def _told(request: Request, fault: Exception) -> GessoError:
    """*fault* as the public is told; what we did not foresee is our fault, and its trace is logged."""
    if isinstance(fault, RunFailed):
        return fault
    log.error("request %s broke", request.id, exc_info=fault)
    return InternalError()


async def _insist(move: Callable[[], Awaitable[T]]) -> T:
    """Make *move*, again and again while database or blobs are away: what was run is not run twice for that."""
    while True:
        try:
            return await move()
        except (BlobDamaged, StorageBroken):
            raise  # time does not mend them
        except Unavailable as fault:
            log.warning("a request has to wait: %s", fault)
            await asyncio.sleep(fault.retry_after_s or 1)
