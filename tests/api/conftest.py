"""An API for each test file, or one of its own for a test that breaks it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from served import Serve, Served, serve


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory, nowhere: None) -> AsyncIterator[Served]:
    """The API that the tests of a file share: they look, or leave requests that nobody else minds."""
    async with serve(tmp_path_factory.mktemp("shared") / "house") as served:
        yield served


@pytest.fixture
async def fresh(tmp_path: Path, nowhere: None) -> AsyncIterator[Served]:
    """An API of the test's own."""
    async with serve(tmp_path / "house") as served:
        yield served


@pytest.fixture
def serve_with(tmp_path: Path, nowhere: None) -> Serve:
    """Serves with other settings."""
    return lambda **settings: serve(tmp_path / "house", **settings)


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """No environment and no file has a say in the settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("GESSO_")]:
            patch.delenv(name)
        patch.chdir(tmp_path_factory.mktemp("nowhere"))
        yield
