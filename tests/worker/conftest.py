"""What the tests of the worker share: a house with a real store, real blobs and an engine that obeys."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from house import House
from script import Script

from gesso.assembly import open_parts
from gesso.config import Settings
from gesso.store.wakeups import Waiter

Open = Callable[..., "House"]


@pytest.fixture
async def houses(scripted: Script, tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """Opens houses on one data folder, with settings of the test's choice; each as a process of its own would."""
    async with AsyncExitStack() as stack:

        async def open_house(**chosen: object) -> House:
            settings = Settings(
                data_dir=tmp_path / "data", models_dir=scripted.definitions, models=(scripted.model,), **chosen
            )
            parts = await stack.enter_async_context(open_parts(settings))
            waiter: Waiter = parts.database.wakeups.listen()
            house = House(parts, waiter, scripted)
            stack.push_async_callback(house.close)
            return house

        yield open_house


@pytest.fixture
async def house(houses: Callable[..., object]) -> House:
    return await houses()
