"""A stand-in server, and an environment that names no server and no token."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from standin import Standin, listening


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("GESSO_", "RUNCOMFY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def server() -> Iterator[Standin]:
    with listening() as standin:
        yield standin
