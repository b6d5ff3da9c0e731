"""A worker: begun and ended as one, and clean whenever it is told to stop."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from house import House
from script import Script, eventually

from gesso.core.errors import EngineDied
from gesso.core.states import State
from gesso.engines.host import Host

pytestmark = pytest.mark.anyio
Houses = Callable[..., Awaitable[House]]
A_MINUTE = timedelta(minutes=1)


async def ends(running: asyncio.Task[None], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        await running


async def test_I22_a_worker_ends_what_runs_and_leaves_what_waits(house: House) -> None:
    worker = house.worker()
    running = asyncio.create_task(worker.run())
    request = await house.submit("gate:go")
    await house.begun("gate:go")
    waits = await house.submit()
    worker.stop()
    worker.stop()
    house.script.open("go")
    await ends(running)

    assert house.read(request).state is State.COMPLETED
    assert house.read(waits).state is State.IN_QUEUE


@pytest.mark.parametrize("prompt", ["hang", "gate:never"])
async def test_I22_what_does_not_end_within_the_grace_is_handed_back_uncounted(house: House, prompt: str) -> None:
    worker = house.worker(grace=timedelta(milliseconds=200))
    running = asyncio.create_task(worker.run())
    request = await house.submit(prompt)
    pid = await house.begun(prompt)
    worker.stop()
    await ends(running)
    again = await house.queue.claim([house.script.model], holder="x", lease=A_MINUTE)

    assert again is not None
    assert (again.id, again.attempt, again.losses) == (request.id, 2, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_I22_an_idle_worker_stops_at_once_and_its_engine_with_it(house: House) -> None:
    worker = house.worker()
    running = asyncio.create_task(worker.run())
    await house.succeeded(await house.submit())
    worker.stop()
    await ends(running, within_s=3)

    assert house.script.journal()[-1] == "close"


async def test_I22_a_worker_that_is_stopped_while_its_engine_loads_ends_at_once(house: House, scripted: Script) -> None:
    house.lane.seat.host = Host("scripted", {"load": "hang"})
    worker = house.worker()
    running = asyncio.create_task(worker.run())
    await eventually(scripted.journal)
    worker.stop()

    await ends(running, within_s=5)


async def test_a_worker_whose_engine_cannot_start_ends_with_its_error(house: House) -> None:
    house.lane.seat.host = Host("scripted", {"load": "crash"})

    with pytest.raises(EngineDied):
        await house.worker().run()


async def test_a_part_that_dies_ends_the_worker_after_what_runs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = asyncio.Event()

    async def sweep() -> None:
        await broken.wait()
        raise ZeroDivisionError

    monkeypatch.setattr(house.upkeep, "sweep", sweep)
    running = asyncio.create_task(house.worker().run())
    request = await house.submit("gate:go")
    await house.begun("gate:go")
    broken.set()
    house.script.open("go")

    with pytest.raises(ZeroDivisionError):
        await ends(running)
    assert house.read(request).state is State.COMPLETED
