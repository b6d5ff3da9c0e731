"""Several processes of one engine: each has a lane, and their runs overlap."""

from pathlib import Path

from script import Script

from gesso.assembly import make_lanes, open_parts
from gesso.config import Settings


async def test_an_engine_has_as_many_lanes_as_it_may_have_processes(tmp_path: Path, scripted: Script) -> None:
    settings = Settings(data_dir=tmp_path / "house", engine_processes=2, models=("gesso/echo/image-to-image",))
    async with open_parts(settings) as parts:
        waiter = parts.database.wakeups.listen()
        lanes = make_lanes(parts, waiter)
        waiter.close()

    assert len(lanes) == 2
    assert lanes[0].host is not lanes[1].host
