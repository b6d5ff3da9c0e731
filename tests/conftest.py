"""What every room's tests may use."""

import os
import shutil
from pathlib import Path

import pytest
from script import FOLDER, Script

IN_MEMORY = Path("/dev/shm")
ROOM = 2 * 2**30


def pytest_configure() -> None:
    """Temporary folders lie in memory where there is room: nothing here needs the disk, and a sync of one takes ms."""
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


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
