"""Upkeep: what nobody else does is done, and nothing is removed that somebody may still ask for."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from house import OWNER, House
from script import at_once, eventually

from gesso.core.errors import ResourceNotFound
from gesso.core.request import Request
from gesso.core.states import State
from gesso.files.blobs import new_key

pytestmark = pytest.mark.anyio
Houses = Callable[..., Awaitable[House]]
A_MINUTE = timedelta(minutes=1)


async def claimed(house: House, holder: str = "nobody") -> Request:
    request = await house.submit()
    claimed = await house.queue.claim([house.script.model], holder=holder, lease=A_MINUTE)
    assert claimed is not None
    assert claimed.id == request.id
    return claimed


async def test_I09_a_request_whose_worker_died_can_be_claimed_after_one_sweep(house: House) -> None:
    request = await claimed(house)
    await house.upkeep.sweep()
    again = await house.queue.claim([house.script.model], holder="x", lease=A_MINUTE)

    assert again is not None
    assert (again.id, again.attempt) == (request.id, 2)


async def test_I07_a_request_whose_worker_lives_is_left_to_it(house: House) -> None:
    request = await claimed(house, house.waiter.name)
    await house.upkeep.sweep()

    await house.queue.renew(request, A_MINUTE)


async def test_I10_a_request_that_lost_all_its_workers_is_given_up(houses: Houses) -> None:
    house = await houses(attempts=1)
    request = await claimed(house)
    await house.upkeep.sweep()

    assert house.read(request).outcome is not None


@pytest.mark.parametrize("count", [1, 450])
async def test_I25_all_that_is_past_its_time_goes_however_much_it_is(houses: Houses, count: int) -> None:
    house = await houses(retention=timedelta(0))
    requests = await asyncio.gather(*(house.submit() for _ in range(count)))
    await asyncio.gather(*(house.queue.cancel(each.id, OWNER) for each in requests))
    waits = await house.submit()
    await house.upkeep.forget()

    left = await house.parts.database.read(lambda rows: rows.execute("SELECT count(*) FROM requests").fetchone()[0])
    assert left == 1
    assert house.read(waits).state is State.IN_QUEUE


async def test_I25_the_blobs_of_a_forgotten_request_go_with_it(houses: Houses) -> None:
    house = await houses(retention=timedelta(0))
    house.start("lane")
    request = await house.submit()
    (file,) = (await house.succeeded(request)).files
    await house.upkeep.forget()

    with pytest.raises(ResourceNotFound):
        await house.parts.shelf.read(file.key, file.sha256)
    with pytest.raises(ResourceNotFound):
        house.read(request)


async def test_I13_old_orphans_go_and_young_ones_and_known_ones_stay(house: House) -> None:
    house.start("lane")
    (known,) = (await house.succeeded(await house.submit())).files
    old, young = new_key(), new_key()
    for key in (old, young):
        await house.parts.blobs.put(key, b"x")
    for key in (old, known.key):
        age(house, key, timedelta(hours=2))
    await house.upkeep.collect()

    assert [await is_there(house, key) for key in (old, young, known.key)] == [False, True, True]


async def test_I20_upkeep_goes_on_after_the_database_was_away(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gesso.worker.upkeep.SWEEP_S", 0.01)
    await claimed(house)
    await house.parts.database.read(lambda rows: rows.execute("ALTER TABLE requests RENAME TO away"))
    house.start("upkeep")
    await eventually(lambda: "upkeep waits" in caplog.text)
    await house.parts.database.read(lambda rows: rows.execute("ALTER TABLE away RENAME TO requests"))
    await eventually(lambda: at_once(house.queue.has_expired_leases()))

    assert await house.queue.claim([house.script.model], holder="x", lease=A_MINUTE)


def age(house: House, key: str, by: timedelta) -> None:
    path = house.parts.settings.data_dir / "blobs" / key[:2] / key
    then = time.time() - by.total_seconds()
    os.utime(path, (then, then))


async def is_there(house: House, key: str) -> bool:
    try:
        await house.parts.shelf.read(key, None)
    except ResourceNotFound:
        return False
    return True
