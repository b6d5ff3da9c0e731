"""A house for tests: the real parts, and what a test does with them."""

import asyncio
from datetime import timedelta

from PIL import Image
from script import Script, at_once, eventually

from gesso.assembly import Parts, make_lanes, now
from gesso.core.pictures import Picture
from gesso.core.request import Failed, Request, Succeeded
from gesso.core.states import FINAL
from gesso.files.blobs import new_key
from gesso.files.images import encode_png
from gesso.store.wakeups import Waiter
from gesso.worker.intake import Intake
from gesso.worker.lane import Lane
from gesso.worker.upkeep import Upkeep
from gesso.worker.worker import Worker

OWNER = "alice"


class House:
    """One process's view of a data folder: its queue, its lane or its several lanes, its intake."""

    def __init__(self, parts: Parts, waiter: Waiter, script: Script) -> None:
        self.parts, self.waiter, self.script = parts, waiter, script
        self.queue = parts.queue
        self.lanes = make_lanes(parts, waiter)
        self.lane = self.lanes[0]
        self.intake = Intake(parts.queue, parts.catalog, parts.fetcher, parts.shelf, holder=waiter.name)
        self.upkeep = Upkeep(parts.queue, parts.files, parts.blobs, retention=parts.settings.retention)
        waiter.on_wake = self._wake
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, *parts: str) -> None:
        """Let parts of it work: "lane", "lanes", "intake", "upkeep"."""
        for number, lane in enumerate(self.lanes if "lanes" in parts else ()):
            self.tasks[f"lane {number}"] = asyncio.create_task(lane.work())
        for name in set(parts) - {"lanes"}:
            work: Lane | Intake | Upkeep = getattr(self, name)
            self.tasks[name] = asyncio.create_task(work.work())

    def worker(self, grace: timedelta = timedelta(seconds=10)) -> Worker:
        """All of it as a worker, not yet running."""
        worker = Worker([self.lane], self.intake, self.upkeep, grace=grace)
        self.waiter.on_wake = worker.wake
        return worker

    async def submit(
        self, prompt: str = "", *urls: str, size: str = "512*512 (1:1)", model: str | None = None, owner: str = OWNER
    ) -> Request:
        """A request for the scripted engine."""
        input = {"prompt": prompt, "image_size": size, "image_urls": list(urls)}
        pictures = tuple(Picture("image_urls", index, url) for index, url in enumerate(urls))
        name = model or self.script.model
        request = Request.new(owner=owner, model_id=name, input=input, at=now(), pictures=pictures)
        await self.queue.add(request)
        return request

    def read(self, request: Request) -> Request:
        return at_once(self.queue.get(request.id, OWNER))

    async def ended(self, request: Request, within_s: float = 10) -> Request:
        """The request, once it has ended."""
        await eventually(lambda: self.read(request).state in FINAL, within_s)
        return self.read(request)

    async def succeeded(self, request: Request) -> Succeeded:
        outcome = (await self.ended(request)).outcome
        assert isinstance(outcome, Succeeded)
        return outcome

    async def failed(self, request: Request) -> Failed:
        outcome = (await self.ended(request)).outcome
        assert isinstance(outcome, Failed)
        return outcome

    async def begun(self, prompt: str) -> int:
        """The engine's process, once it runs *prompt*."""
        return await eventually(lambda: self.script.begun(prompt))

    async def blob(self) -> str:
        """The key of a picture of 400 x 400 px that lies among the blobs."""
        key = new_key()
        await self.parts.blobs.put(key, png())
        return key

    async def kill(self) -> None:
        """Die as a killed process does: nothing is handed back, and the pipe has no reader any more."""
        self.queue = None  # type: ignore[assignment]
        self.waiter.close()
        await self._end_tasks()

    async def close(self) -> None:
        await self._end_tasks()
        await asyncio.gather(self.lane.host.close(), *(each.host.close() for each in self.lanes))
        if self.queue is not None:
            self.waiter.close()

    async def _end_tasks(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    def _wake(self) -> None:
        for lane in {self.lane, *self.lanes}:
            lane.wake()
        self.intake.woken.set()


def png(width: int = 400, height: int = 400) -> bytes:
    return encode_png(Image.new("RGB", (width, height), (10, 120, 200)))
