"""What the fault tests share: deployments that are killed in the end, whatever became of the test."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import doses  # noqa: F401 - takes our words out of the environment before any server is started
import pytest

sys.path.append(str(Path(__file__).parents[1] / "trip"))

from farm import Farm

Farms = Callable[..., Farm]


@pytest.fixture
def farms(tmp_path: Path) -> Iterator[Farms]:
    """Makes deployments, each in a folder of its own; settings by their names."""
    made: list[Farm] = []

    def make(folder: Path | None = None, **settings: str) -> Farm:
        made.append(Farm(folder or tmp_path / f"farm-{len(made)}", **settings))
        return made[-1]

    yield make
    for farm in made:
        farm.kill_all()


@pytest.fixture
def farm(farms: Farms) -> Farm:
    return farms()
