"""What the trips share: a server of real processes, spoken to over HTTP and killed without mercy."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from script import Script
from server import Server

Start = Callable[[], Server]


@pytest.fixture
def start(scripted: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts servers on one data folder, one after another; what still runs in the end is killed."""
    for name in [name for name in os.environ if name.startswith("GESSO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GESSO_MODELS_DIR", str(scripted.definitions))
    monkeypatch.setenv("GESSO_MODELS", f"{scripted.model},gesso/echo/image-to-image")
    monkeypatch.chdir(tmp_path)
    started: list[Server] = []

    def start() -> Server:
        started.append(Server(tmp_path / "data", started[-1].token if started else None))
        return started[-1]

    yield start
    for server in started:
        server.kill_all()


@pytest.fixture
def server(start: Start) -> Server:
    return start()
