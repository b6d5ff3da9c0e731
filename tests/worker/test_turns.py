"""Engines that take turns: never more of them loaded than there are places, and none waits for ever."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from house import House
from script import Script, eventually

from gesso.assembly import open_parts
from gesso.config import Settings

pytestmark = pytest.mark.anyio
ONE, TWO, THREE = NAMES = ("acme/one/x", "acme/two/x", "acme/three/x")
NO_TURN, LONG_TURN = timedelta(0), timedelta(minutes=1)
Open = Callable[..., Awaitable[House]]


@pytest.fixture
async def streets(scripted: Script, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens a house with three models, each with an engine of its own or all with the same, and one place for engines
    unless the test says otherwise.
    """
    async with AsyncExitStack() as stack:

        async def open_street(*, is_shared: bool = False, **chosen: object) -> House:
            for name in NAMES:
                folder = tmp_path / "models" / name
                folder.mkdir(parents=True)
                for file in (scripted.definitions / scripted.model).iterdir():
                    (folder / file.name).write_text(file.read_text())
                with (folder / "model.toml").open("a") as model:
                    model.write(f'\n[engine_options]\nabilities = {{ weights = "{is_shared or name}" }}\n')
            given = {"data_dir": tmp_path / "data", "models_dir": tmp_path / "models", "models": NAMES}
            parts = await stack.enter_async_context(open_parts(Settings(**{**given, "engine_places": 1, **chosen})))
            house = House(parts, parts.database.wakeups.listen(), scripted)
            stack.push_async_callback(house.close)
            return house

        yield open_street


def loaded(house: House) -> int:
    """How many engines are there."""
    return sum(lane.host.pid is not None for lane in house.lanes)


def most_loaded(script: Script) -> int:
    """The most engines that were loaded at a time, by their own journal."""
    there: set[int] = set()
    most = 0
    for pid, line in script.lines():
        there = there | {pid} if line == "load" else there - {pid} if line == "close" else there
        most = max(most, len(there))
    return most


async def test_no_more_engines_are_loaded_than_there_are_places(streets: Open) -> None:
    house = await streets(engine_turn=NO_TURN)
    requests = [await house.submit(f"n{number}", model=NAMES[number % 3]) for number in range(9)]
    house.start("lanes")
    for request in requests:
        await house.succeeded(request)

    assert most_loaded(house.script) == 1
    assert loaded(house) == 1


async def test_without_a_bound_all_engines_stay_loaded(streets: Open) -> None:
    house = await streets(engine_places=0)
    house.start("lanes")
    for name in NAMES:
        await house.succeeded(await house.submit(model=name))

    assert loaded(house) == 3


async def test_an_engine_that_nothing_waits_for_is_not_loaded_and_one_that_has_run_stays(streets: Open) -> None:
    house = await streets(engine_places=2)
    house.start("lanes")
    for _ in range(2):
        await house.succeeded(await house.submit(model=ONE))

    assert loaded(house) == 1
    assert house.script.journal().count("load") == 1


async def test_an_engine_keeps_its_place_while_it_has_work_and_its_turn_lasts(streets: Open) -> None:
    house = await streets(engine_turn=LONG_TURN)
    first = await house.submit("gate:go", model=ONE)
    house.start("lanes")
    await house.begun("gate:go")
    other = await house.submit("other", model=TWO)
    mine = [await house.submit(f"mine{number}", model=ONE) for number in range(3)]
    house.script.open("go")
    for request in (first, *mine, other):
        await house.succeeded(request)

    begun = [line for line in house.script.journal() if line.startswith("begin")]
    assert begun == ["begin gate:go", "begin mine0", "begin mine1", "begin mine2", "begin other"]


async def test_an_engine_whose_turn_is_over_gives_way_although_it_has_work(streets: Open) -> None:
    house = await streets(engine_turn=NO_TURN)
    first = await house.submit("gate:go", model=ONE)
    house.start("lanes")
    await house.begun("gate:go")
    others = [await house.submit("two", model=TWO), await house.submit("three", model=THREE)]
    mine = [await house.submit(f"mine{number}", model=ONE) for number in range(2)]
    await eventually(lambda: len(house.lane.seat.line) == 2)
    house.script.open("go")
    for request in (first, *mine, *others):
        await house.succeeded(request)

    begun = [line for line in house.script.journal() if line.startswith("begin")]
    assert begun.index("begin mine0") > max(begun.index("begin two"), begun.index("begin three"))


async def test_a_request_that_is_cancelled_in_line_keeps_nobody_from_the_place(streets: Open) -> None:
    house = await streets(engine_turn=NO_TURN)
    first = await house.submit("gate:go", model=ONE)
    house.start("lanes")
    await house.begun("gate:go")
    gone = await house.submit("gone", model=TWO)
    await eventually(lambda: house.lane.seat.line)
    await house.queue.cancel(gone.id, gone.owner)
    stays = await house.submit("stays", model=THREE)
    house.script.open("go")
    await house.succeeded(first)
    await house.succeeded(stays)

    assert "begin gone" not in house.script.journal()


async def test_I24_models_and_owners_take_turns_at_the_engine_that_they_share(streets: Open) -> None:
    house = await streets(is_shared=True)
    first = await house.submit("gate:go", model=ONE, owner="flood")
    house.start("lane")
    await house.begun("gate:go")
    flood = [await house.submit("flood", model=name, owner="flood") for name in (ONE, TWO) for _ in range(4)]
    guests = [await house.submit(f"guest{number}", model=THREE, owner="guest") for number in range(3)]
    house.script.open("go")
    await eventually(lambda: len([line for line in house.script.journal() if line.startswith("end")]) == 12)

    begun = [line.split()[1] for line in house.script.journal() if line.startswith("begin")]
    assert len([first, *flood, *guests]) == len(house.lanes) * 12 == len(begun)
    assert begun[2:8:2] == ["guest0", "guest1", "guest2"] or begun[1:7:2] == ["guest0", "guest1", "guest2"]
