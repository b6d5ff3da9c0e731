"""A copy of a live house, taken as docs/operations.md says, is whole: and the other order is not."""

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pg import Server, programs
from PIL import Image
from script import eventually

from gesso.assembly import Parts, open_parts
from gesso.config import Settings
from gesso.core.errors import ResourceNotFound
from gesso.core.request import Request, Succeeded
from gesso.worker import upkeep as upkeep_module
from gesso.worker.upkeep import Upkeep

pytestmark = pytest.mark.anyio
ECHO = "gesso/echo/image-to-image"
A_MINUTE = timedelta(minutes=1)


class Sqlite:
    """A house whose database is a file."""

    def settings(self, folder: Path) -> Settings:
        return Settings(data_dir=folder)

    def copy(self, old: Path, new: Path) -> None:
        """What `sqlite3 gesso.db ".backup copy.db"` does."""
        new.mkdir(exist_ok=True)
        with closing(sqlite3.connect(old / "gesso.db")) as live, closing(sqlite3.connect(new / "gesso.db")) as copy:
            live.backup(copy)


class Postgres:
    """A house whose database lies on a server; each folder has one of its own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._urls: dict[Path, str] = {}

    def settings(self, folder: Path) -> Settings:
        if folder not in self._urls:
            self._urls[folder] = self._server.make_database()
        return Settings(data_dir=folder, database=self._urls[folder])

    def copy(self, old: Path, new: Path) -> None:
        new.mkdir(exist_ok=True)
        self._urls[new] = self._server.make_database(empty=True)
        dump = new / "gesso.dump"
        for command in (
            ["pg_dump", "--format=custom", f"--file={dump}", self._urls[old]],
            ["pg_restore", "--exit-on-error", f"--dbname={self._urls[new]}", str(dump)],
        ):
            subprocess.run([str(programs() / command[0]), *command[1:]], check=True, timeout=60)


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> Sqlite | Postgres:
    return Sqlite() if request.param == "sqlite" else Postgres(request.getfixturevalue("pg_server"))


@asynccontextmanager
async def busy(settings: Settings) -> AsyncIterator[list[str]]:
    """A house in which request after request ends; yields their ids as they end."""
    async with open_parts(settings) as parts:
        ended: list[str] = []
        working = asyncio.create_task(_work(parts, ended))
        yield ended
        working.cancel()
        await asyncio.wait([working])


async def _work(parts: Parts, ended: list[str]) -> None:
    while True:
        request = Request.new(owner="alice", model_id=ECHO, input={}, at=datetime.now(UTC))
        await parts.queue.add(request)
        claimed = await parts.queue.claim([ECHO], holder="x", lease=A_MINUTE)
        assert claimed is not None
        kept = await parts.shelf.keep_png("a.png", Image.new("RGB", (8, 8)))
        await parts.queue.finish(claimed, Succeeded((kept,)), [kept])
        ended.append(request.id)


def copy_blobs(old: Path, new: Path) -> None:
    shutil.copytree(old / "blobs", new / "blobs")


async def more(ended: list[str]) -> None:
    """Wait until some more have ended."""
    wanted = len(ended) + 5
    await eventually(lambda: len(ended) >= wanted)


async def dead_rows(parts: Parts) -> int:
    """How many files have a row, and no bytes."""
    rows = await parts.database.read(lambda rows: rows.execute("SELECT key, sha256 FROM files").fetchall())
    dead = 0
    for key, sha256 in rows:
        try:
            await parts.blobs.read(key, sha256)
        except ResourceNotFound:
            dead += 1
    return dead


async def test_a_backup_of_the_database_and_then_of_the_pictures_is_whole_and_leaves_no_orphans(
    kind: Sqlite | Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    async with busy(kind.settings(old)) as ended:
        await more(ended)
        known = list(ended)
        await asyncio.to_thread(kind.copy, old, new)
        await more(ended)
        await asyncio.to_thread(copy_blobs, old, new)
    monkeypatch.setattr(upkeep_module, "ORPHAN_AGE", -A_MINUTE)
    async with open_parts(kind.settings(new)) as parts:
        before = await dead_rows(parts)
        outcomes = [(await parts.queue.get(each, "alice")).outcome for each in known]
        copied = len(list((new / "blobs").glob("*/*")))
        await Upkeep(parts.queue, parts.files, parts.blobs, retention=timedelta(days=7)).collect()
        rows = await parts.database.read(
            lambda rows: rows.execute("SELECT key FROM files WHERE sha256 <> ''").fetchall()
        )
        left = {path.name for path in (new / "blobs").glob("*/*")}
        again = Request.new(owner="alice", model_id=ECHO, input={}, at=datetime.now(UTC))
        await parts.queue.add(again)
        place = (await parts.queue.place(again.id, "alice")).position

    assert before == 0
    assert all(isinstance(each, Succeeded) for each in outcomes)
    assert copied > len(rows) >= 5
    assert left == {key for (key,) in rows}
    assert place in (0, 1), "one more may have waited when the copy was taken"


async def test_the_other_order_brings_back_rows_without_pictures(kind: Sqlite | Postgres, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    async with busy(kind.settings(old)) as ended:
        await more(ended)
        new.mkdir()
        await asyncio.to_thread(copy_blobs, old, new)
        await more(ended)
        await asyncio.to_thread(kind.copy, old, new)
    async with open_parts(kind.settings(new)) as parts:
        assert await dead_rows(parts) >= 5
