"""How far runs are, as the worker writes it down; and that it lives."""

import asyncio
import io
import os
from collections.abc import Callable
from datetime import timedelta

import pytest
from house import House
from PIL import Image
from script import Script, eventually

from gesso.assembly import make_lanes
from gesso.core.request import Request, Succeeded
from gesso.meter import Meter
from gesso.store.progress import Preview, Progress, Step
from gesso.store.workers import Workers
from gesso.worker import telling as telling_module
from gesso.worker.heart import Heart
from gesso.worker.telling import LARGEST_BYTES, Telling, encode

Told = tuple[str, int, Step, Preview | None]


class Book(Progress):
    """The real rows, and a note of each writing."""

    def __init__(self, house: House) -> None:
        super().__init__(house.parts.database)
        self.written: list[list[Told]] = []

    async def tell(self, told: list[Told]) -> None:  # type: ignore[override]
        await super().tell(told)
        self.written.append(list(told))

    def all(self) -> list[Told]:
        return [each for some in self.written for each in some]


async def running(house: House) -> Request:
    request = await house.submit()
    claimed = await house.queue.claim([house.script.model], holder="h", lease=timedelta(minutes=1))
    assert claimed is not None
    assert claimed.id == request.id
    return claimed


def noise(width: int, height: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), os.urandom(3 * width * height))


async def test_many_steps_are_written_as_one_and_the_last_of_them(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling_module, "PAUSE_S", 0.05)
    book, request = Book(house), await running(house)
    telling = Telling(book)
    working = asyncio.create_task(telling.work())
    for step in range(1, 101):
        telling.on_step(request, step, 200, None)
    await eventually(lambda: book.written)
    working.cancel()

    ((told,),) = book.written
    assert (told[0], told[1], told[2].fraction, told[2].step, told[2].steps) == (request.id, 1, 0.5, 100, 200)
    step = await book.step(request.id, 1)
    assert step is not None
    assert step.step == 100


async def test_what_is_left_follows_from_the_pace_of_this_run(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(telling_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(telling_module, "PAUSE_S", 0)
    book, request = Book(house), await running(house)
    telling = Telling(book)
    for step in (1, 2, 3):  # two seconds a step
        telling.on_step(request, step, 10, None)
        now[0] += 2
    await telling._write()

    # Seven steps of two seconds, of which two seconds have passed.
    assert [told[2].left_s for told in book.all()] == [12.0]


async def test_the_first_step_says_nothing_of_the_pace(house: House) -> None:
    book, request = Book(house), await running(house)
    telling = Telling(book)
    telling.on_step(request, 1, 10, None)
    await telling._write()

    assert book.all()[0][2].left_s is None


async def test_previews_are_shown_once_a_second_at_most_and_the_newest_is(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(telling_module.time, "monotonic", lambda: now[0])
    book, request = Book(house), await running(house)
    telling = Telling(book)
    for shade in range(0, 220, 20):  # ten a second
        telling.on_step(request, 1, 2, Image.new("RGB", (64, 64), (shade, 0, 0)))
        await telling._write()
        now[0] += 0.1
    now[0] += 1.0
    await telling._write()  # without another step: the last one is still to be shown

    shown = [told[3] for told in book.all() if told[3]]
    reds = [Image.open(io.BytesIO(each.jpeg)).convert("RGB").getpixel((32, 32))[0] for each in shown]  # type: ignore[index]
    assert len(shown) == 2
    assert abs(reds[0] - 0) < 10
    assert abs(reds[1] - 200) < 10


@pytest.mark.parametrize(
    ("width", "height", "shown"), [(2048, 1024, (256, 128)), (100, 3000, (9, 256)), (64, 48, (64, 48))]
)
def test_a_preview_is_small(width: int, height: int, shown: tuple[int, int]) -> None:
    preview = encode(noise(width, height))

    assert preview is not None
    assert (preview.width, preview.height) == shown
    assert Image.open(io.BytesIO(preview.jpeg)).size == shown
    assert len(preview.jpeg) <= LARGEST_BYTES


async def test_a_run_that_was_over_before_its_turn_leaves_nothing(house: House) -> None:
    book, request = Book(house), await running(house)
    telling = Telling(book)
    telling.on_step(request, 1, 2, None)
    await house.queue.finish(request, Succeeded(()))
    await telling._write()

    assert await book.step(request.id, 1) is None


async def test_a_run_tells_its_steps_and_previews_while_it_runs(
    houses: Callable[..., object], scripted: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling_module, "PAUSE_S", 0.02)
    house: House = await houses()  # type: ignore[misc]
    telling = Telling(Progress(house.parts.database))
    (house.lane,) = make_lanes(house.parts, house.waiter, telling.on_step)
    house.start("lane")
    working = asyncio.create_task(telling.work())
    request = await house.submit("preview:RGB gate:on")
    progress = Progress(house.parts.database)

    async def shown() -> Preview | None:
        return await progress.preview(request.id, 1, after=0)

    async with asyncio.timeout(10):
        while not (preview := await shown()):  # noqa: ASYNC110 - what changes is a row
            await asyncio.sleep(0.01)
    step = await progress.step(request.id, 1)
    scripted.open("on")
    await house.succeeded(request)
    working.cancel()

    assert (preview.width, preview.height) == (40, 30)
    assert step is not None
    assert (step.fraction, step.step, step.steps) == (0.5, 1, 2)
    assert await progress.step(request.id, 1) is None


async def test_a_worker_says_that_it_lives_from_its_start_to_its_end(house: House) -> None:
    workers = Workers(house.parts.database)
    heart = asyncio.create_task(Heart(workers, "w", {"a/one": 2}, Meter()).work())
    async with asyncio.timeout(5):
        while not await workers.anyone():  # noqa: ASYNC110 - what changes is a row
            await asyncio.sleep(0.005)

    assert await workers.lanes() == {"a/one": 2}
    heart.cancel()
    await asyncio.gather(heart, return_exceptions=True)
    assert not await workers.anyone()
