"""Processes that are killed between a blob and its row, or a row and its blob: what is left, and who removes it.

Each process is a real one, which kills itself with SIGKILL at the step that is named, on a folder and on a bucket.
"""

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from s3 import Server

from gesso.assembly import Parts, open_parts
from gesso.config import Settings
from gesso.core.errors import ResourceNotFound
from gesso.worker import upkeep as upkeep_module
from gesso.worker.upkeep import Upkeep

pytestmark = pytest.mark.anyio
A_MINUTE = timedelta(minutes=1)
# Whoever comes to `step` dies there; what was done before is told on stdout, when it is durable.
PROGRAM = """
import asyncio, functools, json, os, signal, sys
from datetime import UTC, datetime, timedelta
from PIL import Image
from gesso.assembly import open_parts
from gesso.config import read_settings
from gesso.core.request import Request, Succeeded
from gesso.worker.upkeep import Upkeep
from gesso.worker import upkeep

ECHO, step, rounds = "gesso/echo/image-to-image", sys.argv[1], int(sys.argv[2])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dying(owner, name, *, before=False, when=1):
    real, calls = getattr(owner, name), []
    @functools.wraps(real)
    async def wrapped(*args, **kwargs):
        calls.append(name)
        if before and len(calls) == when:
            die()
        answer = await real(*args, **kwargs)
        if len(calls) == when:
            die()
        return answer
    setattr(owner, name, wrapped)

async def make(parts):
    request = Request.new(owner="alice", model_id=ECHO, input={}, at=datetime.now(UTC))
    await parts.queue.add(request)
    claimed = await parts.queue.claim([ECHO], holder="x", lease=timedelta(minutes=1))
    kept = await parts.shelf.keep_png("a.png", Image.new("RGB", (8, 8)))
    await parts.queue.finish(claimed, Succeeded((kept,)), [kept])
    print(json.dumps({"request": request.id, "key": kept.key, "sha256": kept.sha256}), flush=True)

async def main():
    upkeep.ORPHAN_AGE = timedelta(minutes=-1)
    async with open_parts(read_settings()) as parts:
        for _ in range(rounds):
            await make(parts)
        keeper = Upkeep(parts.queue, parts.files, parts.blobs, retention=timedelta(0))
        if step == "stored, not finished":
            dying(parts.blobs, "put")
            await make(parts)
        if step == "forgotten, not removed":
            dying(parts.blobs, "delete", before=True)
            await keeper.forget()
        if step == "some removed":
            upkeep.CHUNK = 1
            dying(parts.blobs, "delete", when=2)
            await keeper.forget()
        if step == "condemned, not removed":
            await parts.blobs.put(parts.blobs.new_key("png"), b"orphan")
            dying(parts.blobs, "delete", before=True)
            await keeper.collect()

asyncio.run(main())
"""

MAIN = "asyncio.run(main())"
ON_AND_ON = PROGRAM.replace(
    MAIN,
    """
async def on_and_on():
    upkeep.ORPHAN_AGE = timedelta(minutes=10)
    async with open_parts(read_settings()) as parts:
        keeper = Upkeep(parts.queue, parts.files, parts.blobs, retention=timedelta(milliseconds=200))
        while True:
            await asyncio.gather(*(make(parts) for _ in range(4)), keeper.forget(), keeper.collect())

asyncio.run(on_and_on())
""",
)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith("GESSO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    blobs = ""
    if request.param == "bucket":
        request.getfixturevalue("s3_door")
        server: Server = request.getfixturevalue("s3_server")
        blobs = f"s3://{server.new_bucket()}/p"
    return Settings(data_dir=tmp_path / "data", blobs=blobs)


def killed(settings: Settings, step: str, rounds: int = 3) -> list[dict[str, str]]:
    """What a process had finished before it died at *step*."""
    environment = os.environ | {"GESSO_DATA_DIR": str(settings.data_dir), "GESSO_BLOBS": settings.blobs}
    command = [sys.executable, "-c", PROGRAM, step, str(rounds)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == -signal.SIGKILL, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


def interrupted(settings: Settings, *, after: int) -> None:
    """Let a process make, forget and collect, and kill it as soon as it has finished so many requests."""
    environment = os.environ | {"GESSO_DATA_DIR": str(settings.data_dir), "GESSO_BLOBS": settings.blobs}
    command = [sys.executable, "-c", ON_AND_ON, "none", "1"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(after):
            assert process.stdout.readline()
        process.kill()


async def keys(parts: Parts) -> set[str]:
    return {key async for keys in parts.blobs.keys_older_than(-A_MINUTE) for key in keys}


async def collected(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The keys that are left once orphans of any age are collected."""
    monkeypatch.setattr(upkeep_module, "ORPHAN_AGE", -A_MINUTE)
    await Upkeep(parts.queue, parts.files, parts.blobs, retention=timedelta(days=7)).collect()
    return await keys(parts)


async def test_I13_a_worker_killed_between_storing_a_picture_and_finishing_leaves_one_orphan_and_it_is_collected(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = killed(settings, "stored, not finished")
    async with open_parts(settings) as parts:
        before, after = await keys(parts), await collected(parts, monkeypatch)
        read = [await parts.blobs.read(each["key"], each["sha256"]) for each in finished]

    known = {each["key"] for each in finished}
    assert len(known) == len(read) == 3
    assert (len(before - known), after) == (1, known)


@pytest.mark.parametrize("step", ["forgotten, not removed", "some removed"])
async def test_I25_an_upkeep_killed_between_rows_and_blobs_leaves_no_request_and_its_blobs_are_collected(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    finished = killed(settings, step)
    async with open_parts(settings) as parts:
        before, after = await keys(parts), await collected(parts, monkeypatch)
        for each in finished:
            with pytest.raises(ResourceNotFound):
                await parts.queue.get(each["request"], "alice")
            with pytest.raises(ResourceNotFound):
                await parts.files.get(each["key"])

    assert len(before) == {"forgotten, not removed": 3, "some removed": 1}[step]
    assert after == set()


async def test_I13_a_collector_killed_before_it_removes_is_followed_by_one_that_does(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = killed(settings, "condemned, not removed")
    async with open_parts(settings) as parts:
        before, after = await keys(parts), await collected(parts, monkeypatch)

    assert len(before - after) == 1
    assert after == {each["key"] for each in finished}


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(20))
async def test_I13_whenever_it_is_killed_what_has_a_row_has_its_bytes_and_the_rest_goes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, round_: int
) -> None:
    interrupted(settings, after=3 + round_)
    async with open_parts(settings) as parts:
        rows = await parts.database.read(lambda rows: rows.execute("SELECT key, sha256 FROM files").fetchall())
        for key, sha256 in rows:
            assert await parts.blobs.read(key, sha256)
        left = await collected(parts, monkeypatch)

    assert left == {key for key, _ in rows}
