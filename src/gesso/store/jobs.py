"""Moves on their way to the writer and back. It knows threads and event loops, and no database."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gesso.core.errors import Unavailable

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Job:
    """One move, handed in by an event loop and carried out by the writer.

    Attributes:
        done: hears the answer or the fault, in the event loop that handed it in.
        wakes: wake every waiter after its commit.
        patient: it may wait a little for others.
        withdrawn: its caller was told that it takes too long; it is not made any more.
    """

    move: Callable[[Any], Any]
    done: asyncio.Future[Any]
    wakes: bool
    patient: bool
    withdrawn: bool = False
    answer: Any = None
    fault: BaseException | None = None

    def withdraw(self) -> None:
        """Tell the caller that it takes too long. Where the move is being made already, nobody knows."""
        if not self.done.done():
            self.withdrawn = True
            self.done.set_exception(Unavailable())


def tell(batch: Sequence[Job]) -> None:
    """Give each its answer, with one wake-up of each event loop."""
    for loop in {job.done.get_loop() for job in batch}:
        mine = [job for job in batch if job.done.get_loop() is loop]
        try:
            loop.call_soon_threadsafe(_resolve, mine)
        except RuntimeError:
            log.debug("an event loop closed before its answer came")


def _resolve(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if job.done.done():  # its caller went away, or was told that it takes too long
            continue
        if job.fault is not None:
            job.done.set_exception(job.fault)
        else:
            job.done.set_result(job.answer)
