"""Tells how far runs are: steps come by the hundred, the database hears of each request twice a second at most."""

import asyncio
import io
import logging
import time
from dataclasses import dataclass

from PIL.Image import Image

from gesso.core.errors import Unavailable
from gesso.core.request import Request
from gesso.store.progress import Preview, Progress, Step

PAUSE_S, PREVIEW_PAUSE_S = 0.5, 1.1
LARGEST_PX, LARGEST_BYTES = 256, 64 * 1024
QUALITIES = (80, 50, 20, 1)
FORGOTTEN_S = 300.0
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    """What is known of one attempt; times are of a clock that only grows."""

    request_id: str
    attempt: int
    began_at: float
    began_step: int
    step: int
    steps: int
    at: float
    is_news: bool = True
    preview: Image | None = None
    shown_at: float = 0.0

    def is_due(self, now: float) -> bool:
        """Whether there is a preview, and it is time to show it."""
        return self.preview is not None and now - self.shown_at >= PREVIEW_PAUSE_S

    def told(self, now: float) -> Step:
        """How far it is, and how long it will go on at the pace that it had."""
        fraction = min(1.0, max(0.0, self.step / self.steps)) if self.steps > 0 else 0.0
        done, left_s = self.step - self.began_step, None
        if done > 0:
            pace_s = (self.at - self.began_at) / done
            left_s = max(0.0, pace_s * (self.steps - self.step) - (now - self.at))
        return Step(fraction, self.step, self.steps, left_s)


class Telling:
    """Gathers the steps of a worker's lanes and writes them down."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._runs: dict[str, _Run] = {}
        self._news = asyncio.Event()

    def on_step(self, request: Request, step: int, of: int, preview: Image | None) -> None:
        """For lanes: *step* of *of* is done. It only takes note."""
        now = time.monotonic()
        run = self._runs.get(request.id)
        if run is None or run.attempt != request.attempt:
            run = self._runs[request.id] = _Run(request.id, request.attempt, now, step, step, of, now)
        if step < run.step or of != run.steps:  # another pass: it has a pace of its own
            run.began_at, run.began_step = now, step
        run.step, run.steps, run.at, run.is_news = step, of, now, True
        run.preview = preview or run.preview
        self._news.set()

    async def work(self) -> None:
        """Write until cancelled. A run that is over by then is not written down at all."""
        while True:
            await self._news.wait()
            await asyncio.sleep(PAUSE_S)
            self._news.clear()
            try:
                await self._write()
            except Unavailable as fault:
                log.warning("how far runs are cannot be told: %s", fault)

    async def _write(self) -> None:
        now = time.monotonic()
        self._runs = {name: run for name, run in self._runs.items() if now - run.at < FORGOTTEN_S}
        news = [run for run in self._runs.values() if run.is_news or run.is_due(now)]
        told = [(run.request_id, run.attempt, run.told(now), await self._shown(run, now)) for run in news]
        if any(run.preview for run in self._runs.values()):
            self._news.set()  # its time comes
        if told:
            await self._progress.tell(told)

    async def _shown(self, run: _Run, now: float) -> Preview | None:
        """The run's newest preview, if it is time for one."""
        run.is_news = False
        if not run.is_due(now):
            return None
        image, run.preview, run.shown_at = run.preview, None, now
        return await asyncio.to_thread(encode, image) if image else None


def encode(image: Image) -> Preview | None:
    """*image* as a small JPEG; None where it cannot be made small enough."""
    small = image.convert("RGB")
    small.thumbnail((LARGEST_PX, LARGEST_PX))
    for quality in QUALITIES:
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality)
        if file.tell() <= LARGEST_BYTES:
            return Preview(file.getvalue(), small.width, small.height)
    return None
