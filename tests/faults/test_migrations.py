"""kill -9 inside a migration, from whatever version: the next start makes it again, and nothing is lost."""

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest
from doses import dose
from farm import PLANTED
from test_storage import SCRIBBLER

from gesso.core.errors import GessoError
from gesso.store.database import Database, now_us
from gesso.store.migrating import _scripts

OLD = """INSERT INTO requests (id, owner, model_id, input, created_at)
    VALUES (randomblob(16), 'alice', 'a/one', '{}', 1)"""
NEWEST = len(_scripts())


def old_database(folder: Path, version: int) -> None:
    """One of an earlier version, with three requests that wait."""
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "gesso.db", isolation_level=None)) as database:
        database.create_function("now_us", 0, now_us)
        database.execute("PRAGMA journal_mode = WAL")
        for script in _scripts()[:version]:
            database.executescript(script)
        database.execute(f"PRAGMA user_version = {version}")
        for _ in range(3 if version else 0):
            database.execute(OLD)


def die_at(folder: Path, statement: int, planted: str = "") -> int:
    """Open the database, and be killed at that statement; the exit code."""
    names = "+".join(filter(None, [planted, "dies_in_migration"]))
    environment = os.environ | {"PYTHONPATH": str(PLANTED), "PLANTED": names, "DIES_AT": str(statement)}
    done = subprocess.run(
        [sys.executable, str(SCRIBBLER), str(folder), "0"], env=environment, capture_output=True, check=False
    )
    return done.returncode


def comes_up(folder: Path, version: int) -> bool:
    """Whether the next start works, and finds all that was there."""
    try:
        Database.open(folder).close()
    except GessoError:
        return False
    with closing(sqlite3.connect(folder / "gesso.db")) as database:
        count = database.execute("SELECT count(*) FROM requests").fetchone()[0]
        waiting = database.execute("SELECT coalesce(sum(count), 0) FROM waiting WHERE level = 12").fetchone()[0]
        found = database.execute("PRAGMA user_version").fetchone()[0]
    return (count, waiting, found) == (3 if version else 0, 3 if version else 0, NEWEST)


def deaths(folder: Path, count: int, planted: str = "") -> list[tuple[int, int]]:
    """The version and the statement of each death that the next start did not survive."""
    dice, bad, died = random.Random(dose("SEED")), [], 0
    for number in range(count):
        version, statement = dice.randrange(NEWEST), dice.randrange(2, 24)
        old_database(folder / str(number), version)
        died += die_at(folder / str(number), statement, planted) == -9
        if not comes_up(folder / str(number), version):
            bad.append((version, statement))
    assert died > count / 3
    return bad


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_I23_whoever_is_killed_in_a_migration_starts_again_and_finds_everything(tmp_path: Path) -> None:
    assert deaths(tmp_path, dose("MIGRATIONS")) == []


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I23_planted_a_migration_in_pieces_is_seen(tmp_path: Path) -> None:
    assert deaths(tmp_path, 6, "migrates_in_pieces") != []


def test_I23_every_version_ever_made_comes_up(tmp_path: Path) -> None:
    for version in range(NEWEST):
        old_database(tmp_path / str(version), version)
        assert comes_up(tmp_path / str(version), version), version


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I23_processes_that_start_at_once_on_nothing_or_on_an_old_database_all_come_up(tmp_path: Path) -> None:
    for version in (0, 3):
        folder = tmp_path / str(version)
        if version:
            old_database(folder, version)
        command = [sys.executable, str(SCRIBBLER), str(folder), "1"]
        starting = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
        told = [process.communicate(timeout=100)[0].split() for process in starting]

        assert [words[:2] for words in told] == [["begun", "kept"]] * 6


def test_every_step_has_its_number() -> None:
    names = sorted(
        each.name for each in resources.files("gesso.store.migrations").iterdir() if each.name.endswith(".sql")
    )

    assert [int(name[:4]) for name in names] == list(range(1, NEWEST + 1))
