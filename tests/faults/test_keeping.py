"""What is kept and for how long: nothing goes that is referred to or young, and nothing stays past its time."""

import os
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doses import dose
from planted.defects import plant

from gesso.core.errors import ResourceNotFound
from gesso.core.pictures import Kept
from gesso.core.request import Request, Succeeded
from gesso.files.blobs import FolderBlobs, new_key
from gesso.store import database as database_module
from gesso.store.database import Database
from gesso.store.files import Files
from gesso.store.queue import Queue
from gesso.worker.upkeep import ORPHAN_AGE, Upkeep

pytestmark = pytest.mark.anyio
RETENTION = timedelta(days=7)
LEASE = timedelta(seconds=30)


class House:
    """Requests that ended at all times of two weeks, each with its picture, and blobs that nobody refers to."""

    def __init__(self, folder: Path, now_us: list[int]) -> None:
        self.now_us, self.dice = now_us, random.Random(dose("SEED"))
        self.folder = folder / "blobs"
        self.database = Database.open(folder)
        self.blobs = FolderBlobs(self.folder)
        self.queue, self.files = Queue(self.database), Files(self.database)
        self.ages: dict[str, timedelta] = {}
        self.pictures: dict[str, str] = {}
        self.orphans: dict[str, timedelta] = {}

    async def fill(self) -> None:
        for age in sorted((RETENTION * self.dice.random() * 2 for _ in range(24)), reverse=True):
            self.now_us[0] = time.time_ns() // 1000 - age // timedelta(microseconds=1)
            request = Request.new(owner="alice", model_id="a/one", input={}, at=datetime.fromtimestamp(0, UTC))
            await self.queue.add(request)
            claimed = await self.queue.claim(["a/one"], holder="x", lease=LEASE)
            assert claimed is not None
            key = await self.keep(age)
            kept = Kept(key, "output", f"{request.id}-1.png", "image/png", 5, "ab" * 32)
            await self.queue.finish(claimed, Succeeded((kept,)), [kept])
            self.ages[request.id], self.pictures[request.id] = age, key
        self.now_us[0] = time.time_ns() // 1000
        for age in (ORPHAN_AGE / 2, ORPHAN_AGE * 2, RETENTION):
            self.orphans[await self.keep(age)] = age

    async def keep(self, age: timedelta) -> str:
        key = new_key()
        await self.blobs.put(key, b"bytes")
        written = time.time() - age.total_seconds()
        os.utime(self.path(key), (written, written))
        return key

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    async def is_known(self, request_id: str) -> bool:
        try:
            await self.queue.get(request_id, "alice")
        except ResourceNotFound:
            return False
        return True

    async def faults(self) -> list[str]:
        """What is wrong after upkeep, by invariant."""
        found = []
        for request_id, age in self.ages.items():
            known, there = await self.is_known(request_id), self.path(self.pictures[request_id]).exists()
            if age < RETENTION:
                found += [f"I25 forgotten after {age}"] * (not known) + ["I13 removed while referred to"] * (not there)
            else:
                found += [f"I25 known after {age}"] * known + ["I25 the picture outlives its request"] * there
        for key, age in self.orphans.items():
            found += ["I13 an orphan stays"] * (self.path(key).exists() and age > ORPHAN_AGE)
            found += ["I13 a young blob is removed"] * (not self.path(key).exists() and age < ORPHAN_AGE)
        return found


async def after_upkeep(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    now_us = [time.time_ns() // 1000]
    monkeypatch.setattr(database_module, "now_us", lambda: now_us[0])
    house = House(folder, now_us)
    try:
        await house.fill()
        upkeep = Upkeep(house.queue, house.files, house.blobs, retention=RETENTION)
        await upkeep.forget()
        await upkeep.collect()
        return await house.faults()
    finally:
        house.database.close()


async def test_I13_I25_what_is_referred_to_or_young_stays_and_the_rest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await after_upkeep(tmp_path, monkeypatch) == []


@pytest.mark.parametrize(
    ("defect", "seen"),
    [("collector_knows_no_rows", "I13"), ("forgets_too_early", "I25"), ("forgets_the_row_only", "I25")],
)
async def test_I13_I25_planted_whoever_removes_too_much_or_too_little_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: str, seen: str
) -> None:
    plant(defect, monkeypatch.setattr)

    assert [each for each in await after_upkeep(tmp_path, monkeypatch) if each.startswith(seen)]
