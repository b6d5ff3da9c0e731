"""Power cuts: what was acknowledged is there when it comes back, rows and pictures, on one disk and on two."""

import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import Farms
from disks import NO_ROOT, Disk, may_mount
from doses import dose
from farm import PLANTED, soon, stop
from test_kills import Load, is_whole
from test_storage import SCRIBBLER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0), pytest.mark.skipif(not may_mount(), reason=NO_ROOT)]


@dataclass
class Losses:
    """What was acknowledged in all lives, and what of it was not there afterwards."""

    acknowledged: int = 0
    rows: list[str] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


@pytest.fixture
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Disk]]:
    made: list[Disk] = []
    yield made
    for disk in made:
        disk.close()


def lay_out(disks: list[Disk], folder: Path, count: int) -> Path:
    """A data folder on a disk of its own; of two, the other has the pictures."""
    disks.append(Disk(folder, "data", 192))
    data = disks[0].root / "house"
    if count == 2:
        (data / "blobs").mkdir(parents=True)
        disks.append(Disk(folder, "blobs", 192))
        subprocess.run(["mount", "--bind", str(disks[1].root), str(data / "blobs")], check=True)
    return data


def cut(disks: list[Disk], data: Path, process: subprocess.Popen[bytes]) -> bytes:
    """Take the power away from all disks at once, and bring it back; what the process had said."""
    stop(process.pid)  # nothing is acknowledged after this line
    for disk in disks:
        disk.cut()
    process.kill()
    said = process.communicate()[0]
    if len(disks) == 2:
        subprocess.run(["umount", str(data / "blobs")], check=True)
    for disk in disks:
        disk.restore()
    if len(disks) == 2:
        subprocess.run(["mount", "--bind", str(disks[1].root), str(data / "blobs")], check=True)
    return said


def play(disks: list[Disk], data: Path, cuts: int, planted: str = "") -> Losses:
    dice, losses = random.Random(dose("SEED")), Losses()
    environment = {"PYTHONPATH": str(PLANTED), "PLANTED": planted} if planted else {}
    try:
        for _ in range(cuts):
            process = subprocess.Popen(
                [sys.executable, str(SCRIBBLER), str(data), "1000000"], stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, env=environment,
            )  # fmt: skip
            assert process.stdout is not None
            begun = process.stdout.readline()
            time.sleep(dice.uniform(0.05, 0.4))
            said = cut(disks, data, process)
            assert begun or planted
            look(data, [line.split()[1:] for line in said.decode().splitlines() if line.startswith("kept")], losses)
    finally:
        if len(disks) == 2:
            subprocess.run(["umount", str(data / "blobs")], check=False)
    return losses


def look(data: Path, kept: list[list[str]], losses: Losses) -> None:
    losses.acknowledged += len(kept)
    try:
        with closing(sqlite3.connect(data / "gesso.db")) as database:
            rows = {row[0] for row in database.execute("SELECT name FROM secrets")}
            losses.damaged += [row[0] for row in database.execute("PRAGMA integrity_check") if row[0] != "ok"]
    except sqlite3.DatabaseError as fault:
        rows = set()
        losses.damaged.append(str(fault))
    for number, key, sha256 in kept:
        path = data / "blobs" / key[:2] / key
        losses.rows += [key] * (f"{number} {key} {sha256}" not in rows)
        losses.blobs += [key] * (not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256)


@pytest.mark.parametrize("count", [1, 2])
def test_I01_I12_no_power_cut_takes_what_was_acknowledged(disks: list[Disk], tmp_path: Path, count: int) -> None:
    losses = play(disks, lay_out(disks, tmp_path, count), max(1, dose("CUTS") // 2))
    print(losses.acknowledged, "acknowledged")

    assert losses.acknowledged > dose("CUTS")
    assert (losses.rows, losses.blobs, losses.damaged) == ([], [], [])


@pytest.mark.parametrize("defect", ["commits_without_sync", "files_without_sync"])
def test_I01_planted_a_sync_that_is_left_out_loses_something(disks: list[Disk], tmp_path: Path, defect: str) -> None:
    """Otherwise the cuts cut nothing. (A folder's sync is missed by no cut on ext4, which commits the name of a new
    file with its bytes; the gate of test_syncs.py sees it.)
    """
    losses = play(disks, lay_out(disks, tmp_path, 1), 12, defect)

    assert losses.rows or losses.blobs


def test_I01_no_power_cut_takes_what_an_api_has_answered(disks: list[Disk], farms: Farms, tmp_path: Path) -> None:
    farm = farms(tmp_path / "farm")
    farm.data = lay_out(disks, tmp_path, 1)
    farm.token  # noqa: B018 - it is made
    acknowledged: set[str] = set()
    for number in range(max(2, dose("CUTS") // 12)):
        api = farm.api()
        load = Load(farm, f"load{number}")
        load.start()
        soon(lambda: len(load.acknowledged) > 2)  # noqa: B023 - it is asked here and now
        stop(api.pid)
        load.over.set()
        disks[0].cut()
        api.popen.send_signal(signal.SIGKILL)
        api.popen.wait()
        load.join(30)
        disks[0].restore()
        acknowledged |= {request.replace("-", "") for request in load.acknowledged.values()}
        rows = {row["key"] for row in farm.rows()}
        assert acknowledged <= rows
    assert acknowledged
    assert [file["key"] for file in farm.rows("SELECT * FROM files") if not is_whole(farm, file)] == []
    farm.worker()
    assert {farm.caller and row["state"] for row in farm.rows()} <= {"in_queue", "in_progress", "completed"}
    farm.kill_all()
