"""A server process for each test file; no environment and no file has a say in its settings."""

import os
from collections.abc import Iterator

import pytest
from live import Live, running


@pytest.fixture(scope="module", autouse=True)
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting comes from outside."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("GESSO_")]:
            patch.delenv(name)
        patch.chdir(tmp_path_factory.mktemp("nowhere"))
        yield


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, nowhere: None) -> Iterator[Live]:
    """An API in a process of its own."""
    with running("serve", tmp_path_factory.mktemp("live")) as live:
        yield live
