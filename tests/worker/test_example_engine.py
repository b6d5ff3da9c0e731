"""The example of a third-party engine: built, installed and used as its author's users do."""

import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from house import House
from PIL import Image
from test_lane import with_picture

from gesso.assembly import open_parts
from gesso.config import Settings

pytestmark = pytest.mark.anyio
EXAMPLE = Path(__file__).parents[2] / "examples" / "gesso-duotone"
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example's wheel, unpacked where this process and those it starts look for modules."""
    target = tmp_path / "site"
    where = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([*PIP, "install", *where, str(EXAMPLE)], check=True)
    monkeypatch.syspath_prepend(str(target))
    paths = [str(target), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return target


class Duotone:
    """What a house asks of a script: which model its requests are for."""

    model = "example/duotone/image-to-image"


@pytest.fixture
async def house(installed: Path, tmp_path: Path) -> AsyncIterator[House]:
    settings = Settings(
        data_dir=tmp_path / "data", models_dir=EXAMPLE / "definitions", models=(Duotone.model,), lease="30s"
    )
    async with open_parts(settings) as parts:
        house = House(parts, parts.database.wakeups.listen(), Duotone())  # type: ignore[arg-type]
        yield house
        await house.close()


async def test_a_request_runs_through_the_installed_example(house: House) -> None:
    request, _ = await with_picture(house, "navy and gold")
    house.start("lane")
    outcome = await house.succeeded(request)
    (file,) = outcome.files

    data = await house.parts.shelf.read(file.key, file.sha256)
    with Image.open(io.BytesIO(data)) as image:  # an even picture: as far from navy to gold as it is light
        assert (image.size, image.getpixel((0, 0))) == ((512, 512), (96, 80, 79))
    assert (outcome.notes["engine"], outcome.notes["inks"]) == ("duotone", ["navy", "gold"])


@pytest.mark.slow
def test_the_examples_own_tests_pass(installed: Path) -> None:
    alone = ["-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts="]
    run = [sys.executable, "-m", "pytest", "-q", *alone, str(EXAMPLE)]
    told = subprocess.run(run, capture_output=True, text=True, check=False)

    assert told.returncode == 0, told.stdout
    assert "skipped" not in told.stdout


def test_the_example_stays_as_short_as_it_says() -> None:
    assert len((EXAMPLE / "gesso_duotone.py").read_text().splitlines()) <= 60
