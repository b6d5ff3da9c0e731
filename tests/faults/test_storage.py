"""A disk that fails, fills up or is read-only: what cannot be kept is refused, and what was acknowledged is there."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Farms
from disks import NO_ROOT, may_mount, small_disk
from doses import dose
from farm import Farm, soon
from gate import strace
from server import family
from test_kills import picture

from gesso.files.blobs import FolderBlobs
from gesso.store.database import Database

SCRIBBLER = Path(__file__).with_name("scribbler.py")
NO_STRACE = "strace is not there: apt-get install strace"
with_strace = pytest.mark.skipif(shutil.which("strace") is None, reason=NO_STRACE)
WORDS = 40
FIRST = {"openat": 1200, "pwrite64": 17}  # Python opens many files as it starts, and SQLite lays out its shared memory
# what fails, and how: syncs with EIO end the process, the rest is refused and over
FAULTS = [
    ("fdatasync", "EIO"), ("fsync", "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64", "EDQUOT"), ("pwrite64", "EIO"),
    ("write", "ENOSPC"), ("write", "EDQUOT"), ("openat", "EROFS"), ("fdatasync", "ENOSPC"),
]  # fmt: skip


@dataclass
class Told:
    """What a scribbler said, and what is there after it."""

    words: list[list[str]]
    rows: set[str]
    folder: Path
    is_sound: bool

    def said(self, word: str) -> list[list[str]]:
        return [each[1:] for each in self.words if each[0] == word]

    def is_kept(self, key: str, sha256: str) -> bool:
        path = self.folder / "blobs" / key[:2] / key
        return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def prepare(folder: Path) -> None:
    """Tables and folders, so that the first calls that are counted are those of the first row."""
    folder.mkdir(mode=0o700)
    FolderBlobs(folder / "blobs")
    Database.open(folder).close()


def scribble(folder: Path, call: str, error: str, at: str, planted: str = "") -> Told:
    """Let a scribbler run while *call* fails with *error*, *at* its n-th time or times."""
    prepare(folder)
    traced = strace(Path(os.devnull), "-e", f"inject={call}:error={error}:when={at}")
    python_path = {"PYTHONPATH": str(SCRIBBLER.parent / "planted"), "PLANTED": planted} if planted else {}
    done = subprocess.run(
        [*traced, sys.executable, str(SCRIBBLER), str(folder), str(WORDS)], capture_output=True, text=True, timeout=60,
        check=False, env=dict(os.environ) | python_path,
    )  # fmt: skip
    words = [line.split() for line in done.stdout.splitlines()]
    with closing(sqlite3.connect(folder / "gesso.db")) as database:
        rows = {row[0] for row in database.execute("SELECT name FROM secrets")}
        return Told(words, rows, folder, database.execute("PRAGMA integrity_check").fetchone()[0] == "ok")


def judge(told: Told, call: str, error: str) -> None:
    kept = told.said("kept")
    assert [each for each in kept if " ".join(each) not in told.rows] == [], "acknowledged, and no row"
    assert [each for each in kept if not told.is_kept(*each[1:])] == [], "acknowledged, and no blob"
    assert told.is_sound
    if told.said("broken"):
        first = int(told.said("broken")[0][0])
        assert [each for each in kept if int(each[0]) > first] == [], "work was taken after a sync had failed"
        assert told.said("fatal") != [["0"]]
    if "sync" in call:
        assert not told.said("refused") or error == "ENOSPC"


@with_strace
@pytest.mark.timeout(60)
def test_I17_after_a_sync_that_failed_nothing_more_is_taken(tmp_path: Path) -> None:
    told = scribble(tmp_path / "data", "fdatasync", "EIO", "12+")

    judge(told, "fdatasync", "EIO")
    assert told.said("kept")
    assert len(told.said("kept")) + len(told.said("broken")) == WORDS
    assert told.said("fatal") == [["1"]]


@with_strace
@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("call", "error"), FAULTS)
def test_I17_whichever_call_fails_nothing_acknowledged_is_missing(tmp_path: Path, call: str, error: str) -> None:
    seen = 0
    for number in range(max(1, dose("SYSCALLS") // len(FAULTS))):
        first = FIRST.get(call, 4) + number * 3
        told = scribble(tmp_path / str(number), call, error, f"{first}..{first + 6}")
        judge(told, call, error)
        seen += len(told.said("refused")) + len(told.said("broken"))
        shutil.rmtree(tmp_path / str(number), ignore_errors=True)

    assert seen or call == "openat"


@with_strace
@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("defect", ["failed_sync_is_survived", "faults_are_acknowledged"])
def test_I17_planted_a_sync_that_failed_and_is_forgotten_is_seen(tmp_path: Path, defect: str) -> None:
    told = scribble(tmp_path / "data", "fdatasync", "EIO", "12..15", defect)

    assert told.said("fatal") != [["1"]] or any(" ".join(each) not in told.rows for each in told.said("kept"))


@with_strace
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I17_an_api_whose_disk_fails_refuses_ends_and_comes_back_with_all_that_it_took(farm: Farm) -> None:
    caller = farm.caller
    api = farm.api(before=strace(farm.folder / "trace", "-e", "inject=fdatasync:error=EIO:when=25+"))
    answers = [caller.submit(f"remember:{number}", within_s=30) for number in range(3)]
    while answers[-1].status == 200:
        answers.append(caller.submit(f"remember:{len(answers)}", within_s=30))
    code = api.ends()
    accepted = [answer.request_id for answer in answers if answer.status == 200]
    farm.api()

    assert (answers[-1].status, answers[-1].told["code"]) == (503, 503001)
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert code not in (0, 78)
    assert [caller.status(request) for request in accepted] == ["in_queue"] * len(accepted)
    assert accepted


@with_strace
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I17_a_worker_whose_disk_fails_ends_and_another_does_its_work(farm: Farm) -> None:
    caller = farm.caller
    farm.api()
    requests = [caller.submit(f"remember:{number}").request_id for number in range(8)]
    broken = farm.worker(before=strace(farm.folder / "trace", "-e", "inject=fdatasync:error=EIO:when=12+"))
    code = broken.ends(60)
    farm.worker()

    assert code not in (0, 78)
    assert [caller.ended(request, 60)["status"] for request in requests] == ["succeeded"] * 8


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(not may_mount(), reason=NO_ROOT)
def test_I17_a_full_disk_is_told_and_harms_nothing_that_was_taken(farms: Farms, tmp_path: Path) -> None:
    with small_disk(tmp_path / "farm" / "data", 3):
        farm = farms(tmp_path / "farm")
        caller = farm.caller
        ballast = farm.data / "ballast"
        farm.api()
        answers = [caller.submit("remember:first", image=picture())]
        ballast.write_bytes(bytes(os.statvfs(farm.data).f_bavail * 4096 - 200_000))
        while answers[-1].status == 200:
            answers.append(caller.submit(f"remember:{len(answers)}", image=picture()))
        refused = answers.pop()
        told = [caller.status(answer.request_id) for answer in answers]
        while_full = caller.submit("remember:while", image=picture())
        ballast.unlink()
        farm.worker()
        after = caller.submit("remember:after", image=picture())
        ends = [caller.ended(answer.request_id)["status"] for answer in (*answers, after)]
        farm.kill_all()

        assert (refused.status, while_full.status, after.status) == (503, 503, 200)
        assert set(told) == {"in_queue"}
        assert set(ends) == {"succeeded"}
        assert len(farm.rows()) == len(ends)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I17_what_a_file_may_not_outgrow_is_refused_and_not_the_servers_death(farm: Farm) -> None:
    caller = farm.caller
    farm.api(before=["bash", "-c", 'ulimit -f 1200; exec "$@"', "bash"])  # 1.2 MB
    answers = [caller.submit("remember:0")]
    while answers[-1].status == 200 and len(answers) < 2000:
        answers.append(caller.submit(f"remember:{'x' * 1500}{len(answers)}"))
    farm.kill_all()
    farm.api()

    assert answers[-1].status == 503
    assert all(caller.status(answer.request_id) == "in_queue" for answer in answers[:-1])


def test_I17_a_process_that_has_seen_a_fault_is_among_those_that_are_watched(farm: Farm) -> None:
    """`up` starts another worker in the place of one that ended, for whatever reason but its settings."""
    up = farm.up()
    first = soon(lambda: next(iter(family(up.pid)), 0))

    os.kill(first, 9)

    assert soon(lambda: next((pid for pid in family(up.pid) if pid != first), 0), 20)
