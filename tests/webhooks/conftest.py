"""What the tests of webhooks share: an authority, a receiver, and a world with an API, a store and a sender."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trustme
from receiver import Receiver, listen
from world import World, world_of


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def receiver(authority: trustme.CA) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await listen(receiver, authority)
    yield receiver
    server.close()


@pytest.fixture
def bystander(receiver: Receiver) -> Iterator[Callable[[], bool]]:
    """Whether anybody has knocked at another address on the same port."""
    with socket.create_server(("127.0.0.2", receiver.port)) as listener:
        listener.setblocking(False)

        def knocked() -> bool:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                return False
            return True

        yield knocked


@pytest.fixture
async def world(
    receiver: Receiver, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    for name in [name for name in os.environ if name.startswith("GESSO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    async with world_of(tmp_path / "house", receiver, authority) as world:
        yield world
