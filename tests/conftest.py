"""What every room's tests may use."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pg
import pytest
import swift
from canary import ear, no_log_holds_a_secret  # noqa: F401 - fixtures of every test
from s3 import ENVIRONMENT, Door, Server, serving
from script import FOLDER, Script

IN_MEMORY = Path("/dev/shm")
ROOM = 2 * 2**30


def pytest_configure() -> None:
    """Temporary folders lie in memory where there is room: nothing here needs the disk, and a sync of one takes ms."""
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))
    # By another name: the servers that the tests start know every setting that begins with GESSO_.
    if os.environ.pop("GESSO_NO_SKIPS", ""):
        os.environ["NO_SKIPS"] = "1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """The scripted engine, installed for this test and the processes that it starts."""
    folder = tmp_path / "script"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(FOLDER))
    paths = [str(FOLDER), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("SCRIPTED_FOLDER", str(folder))
    return Script(folder)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """A real S3 server, shared by all tests of a process."""
    pytest.importorskip("moto")
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def swift_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an S3 server that checks signatures and checksums, where its packages are installed."""
    if not swift.is_installed():
        pytest.skip("Swift is not installed: apt-get install swift-proxy swift-account swift-container swift-object")
    with swift.serving(tmp_path_factory.mktemp("swift")) as url:
        yield url


@pytest.fixture
def swift_door(swift_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """The way to it, which the environment names as the endpoint."""
    door = Door(urlsplit(swift_server).port or 0)
    for name, value in {**swift.ENVIRONMENT, "AWS_ENDPOINT_URL": door.url}.items():
        monkeypatch.setenv(name, value)
    yield door
    door.close()


@pytest.fixture
def s3_door(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """The way to it, which the environment names as the endpoint."""
    door = Door(s3_server.port)
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": door.url}.items():
        monkeypatch.setenv(name, value)
    yield door
    door.close()


@pytest.fixture(scope="session")
def pg_server() -> Iterator[pg.Server]:
    """A real PostgreSQL server, shared by all tests of a process; each has a database of its own."""
    with pg.serving(parent=pg.MEMORY) as server:
        yield server
