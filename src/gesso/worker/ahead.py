"""The next request of an engine's models, prepared before it is claimed, so that its owner can still cancel it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from gesso.core.errors import Unavailable
from gesso.core.inputs import Inputs
from gesso.core.request import Request
from gesso.store.queue import Queue
from gesso.worker.runner import Prepared, Runner
from gesso.worker.waiting import wait_for_wake

MOST_KEPT = 2  # one whose claim is on its way, and the one after it
HandOver = Callable[[Inputs], Awaitable[None]]
log = logging.getLogger(__name__)


class Ahead:
    """What is prepared for the lanes of one engine, which share it: no two of them prepare the same request.

    One request at a time. Should two engines end together, one of them waits for its request to be prepared; after that
    they are out of step, and neither waits again as long as requests can be prepared as fast as they are run.

    Args:
        models: those whose requests are looked for.
        hand_over: sends what was prepared on to the engine's process, where there is but one.

    Attributes:
        models: those, first the one that has waited longest for its turn.
        after: the owner who was served last.
    """

    def __init__(self, queue: Queue, runner: Runner, models: Sequence[str], hand_over: HandOver | None = None) -> None:
        self.models, self.after = tuple(models), ""
        self.woken = asyncio.Event()
        self._queue = queue
        self._runner = runner
        self._hand_over = hand_over
        self._looking: asyncio.Task[None] | None = None
        self._is_wanted = False
        self._prepared: dict[str, asyncio.Task[Prepared]] = {}

    @property
    def has_some(self) -> bool:
        """Whether a request is known that can be run next."""
        return bool(self._prepared)

    def look(self) -> None:
        """Prepare what `claim` would take next, or what will come; an engine is busy from now on."""
        self._is_wanted = True
        self.woken.set()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())

    def served(self, request: Request) -> None:
        """Models and owners take turns: that of *request* had theirs."""
        self.models = (*(each for each in self.models if each != request.model_id), request.model_id)
        self.after = request.owner

    async def take(self, request: Request) -> Prepared:
        """What was prepared for *request*; prepared now if nothing was.

        Raises:
            Unavailable, ResourceNotFound: when a blob cannot be read.
        """
        prepared = self._prepared.pop(request.id, None)
        return await (prepared or self._runner.prepare(request))

    def close(self) -> None:
        """Prepare no more, and forget what is prepared; `look` begins again."""
        if self._looking is not None:
            self._looking.cancel()
        self._forget(keep=0)

    async def _look(self) -> None:
        try:
            while self._is_wanted:
                self._is_wanted = False
                await self._prepare(await self._next())
        finally:
            self._looking = None

    async def _prepare(self, request: Request) -> None:
        preparing = self._prepared[request.id] = asyncio.create_task(self._runner.prepare(request))
        preparing.add_done_callback(_quietly)
        self._forget(keep=MOST_KEPT)
        await asyncio.wait([preparing])
        if self._hand_over and not preparing.cancelled() and not preparing.exception():
            await self._hand_over(preparing.result().inputs)

    async def _next(self) -> Request:
        """The next request that is not prepared yet; waited for."""
        while True:
            self.woken.clear()
            try:
                request = await self._queue.next(self.models, self.after)
            except Unavailable as fault:
                log.warning("nothing can be prepared: %s", fault)
                request = None
            if request is not None and request.id not in self._prepared:
                return request
            await wait_for_wake(self.woken)

    def _forget(self, keep: int) -> None:
        """Drop all but the youngest: their requests were cancelled, or others have taken them."""
        for name in list(self._prepared)[: len(self._prepared) - keep]:
            self._prepared.pop(name).cancel()


def _quietly(preparing: asyncio.Task[Prepared]) -> None:
    """What was prepared in vain may fail in vain."""
    if not preparing.cancelled():
        preparing.exception()
