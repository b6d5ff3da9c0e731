"""The database: what it takes to start, what a commit is, and who pays for whose fault."""

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from givens import Ask, rows
from script import eventually

from gesso.core.errors import ConfigError, Unavailable
from gesso.core.pictures import Picture
from gesso.store import database as database_module
from gesso.store.database import Database, connect
from gesso.store.queue import Queue

pytestmark = [pytest.mark.anyio, pytest.mark.only("sqlite")]
PUT = "INSERT INTO secrets VALUES (?, x'00')"


class Commits:
    """Every statement of every connection that is made while it listens."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def count(self) -> int:
        return self.statements.count("COMMIT")


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> Commits:
    """Asked for before the database, it hears what the writer does."""
    commits = Commits()

    def traced(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_trace_callback(commits.statements.append)
        return connection

    monkeypatch.setattr(database_module, "connect", traced)
    return commits


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that wait for SQLite's lock for 50 ms instead of 5 s."""

    def hasty(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA busy_timeout = 50")
        return connection

    monkeypatch.setattr(database_module, "connect", hasty)


@pytest.fixture
def foreign(database: Database, folder: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else with the file open, who knows nothing of our lock."""
    connection = sqlite3.connect(folder / "gesso.db", isolation_level=None)
    yield connection
    connection.close()


def put(name: str) -> Callable[[sqlite3.Connection], object]:
    return lambda rows: rows.execute(PUT, (name,))


async def test_I01_reader_and_writer_sync_every_commit(database: Database) -> None:
    def settings(rows: sqlite3.Connection) -> list[object]:
        return [rows.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]

    assert await database.read(settings) == await database.write(settings) == ["wal", 2]


def test_I01_a_file_that_cannot_be_made_durable_is_refused() -> None:
    with pytest.raises(ConfigError, match="durable"):
        connect(Path(":memory:"))


async def test_a_write_is_there_for_everybody_when_it_returns(database: Database, folder: Path) -> None:
    await database.write(put("a"))

    assert [name for name, _ in rows(folder, "secrets")] == ["a"]


async def test_writes_that_come_together_share_their_commits(commits: Commits, database: Database) -> None:
    before = commits.count()
    await asyncio.gather(*(database.write(put(str(number))) for number in range(300)))

    assert 1 <= commits.count() - before <= 10


async def test_a_patient_write_shares_the_commit_of_the_next(
    commits: Commits, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "PATIENCE_S", 60)
    before = commits.count()
    patient = asyncio.create_task(database.write(put("patient"), patient=True))
    await asyncio.sleep(0)  # it is gathered now, and handed in
    await eventually(lambda: not database._gathered and database._jobs.empty())
    await database.write(put("next"))
    await patient

    assert commits.count() - before == 1


async def test_a_patient_write_is_not_left_waiting(database: Database, folder: Path) -> None:
    await database.write(put("patient"), patient=True)

    assert [name for name, _ in rows(folder, "secrets")] == ["patient"]


async def test_a_write_that_cannot_be_carried_out_fails_alone(database: Database, folder: Path) -> None:
    names = ["a", "b", "b", "c"]
    told = await asyncio.gather(*(database.write(put(name)) for name in names), return_exceptions=True)

    assert [isinstance(each, sqlite3.IntegrityError) for each in told] == [False, False, True, False]
    assert sorted(name for name, _ in rows(folder, "secrets")) == ["a", "b", "c"]


async def test_a_move_that_raises_has_not_happened(database: Database, folder: Path) -> None:
    def half(rows: sqlite3.Connection) -> None:
        rows.execute(PUT, ("half",))
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        await database.write(half)
    assert rows(folder, "secrets") == []


async def test_a_caller_that_went_away_takes_nothing_from_the_others(database: Database, folder: Path) -> None:
    leaving = asyncio.create_task(database.write(put("a")))
    await asyncio.sleep(0)  # it has handed its move in
    leaving.cancel()
    await database.write(put("b"))

    assert sorted(name for name, _ in rows(folder, "secrets")) == ["a", "b"]


async def test_I20_all_who_wait_for_a_locked_file_are_told_together(
    impatient: None, database: Database, foreign: sqlite3.Connection
) -> None:
    foreign.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    told = await asyncio.gather(*(database.write(put(str(n))) for n in range(200)), return_exceptions=True)

    assert all(isinstance(each, Unavailable) for each in told)
    assert time.monotonic() - began < 2  # not 200 x 50 ms


async def test_I20_after_a_locked_file_all_is_well_again(
    impatient: None, database: Database, foreign: sqlite3.Connection, folder: Path
) -> None:
    foreign.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        await database.write(put("a"))
    foreign.execute("ROLLBACK")
    await database.write(put("b"))

    assert [name for name, _ in rows(folder, "secrets")] == ["b"]


async def test_a_commit_waits_for_its_turn_among_the_processes(database: Database, folder: Path) -> None:
    lock = os.open(folder / "gesso.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    writing = asyncio.create_task(database.write(put("a")))
    done, _ = await asyncio.wait([writing], timeout=0.05)
    os.close(lock)
    await writing

    assert not done


async def test_closing_carries_out_what_was_handed_in(database: Database, folder: Path) -> None:
    writing = [asyncio.create_task(database.write(put(str(number)))) for number in range(50)]
    await asyncio.sleep(0)  # they have handed their moves in
    database.close()
    await asyncio.gather(*writing)

    assert len(rows(folder, "secrets")) == 50


async def test_a_closed_database_is_unavailable_and_may_be_closed_again(database: Database) -> None:
    database.close()
    database.close()

    with pytest.raises(Unavailable):
        await database.write(put("a"))


async def test_a_wake_up_that_fails_harms_no_commit(database: Database, folder: Path) -> None:
    (folder / "waiters").rmdir()

    await asyncio.wait_for(database.write(put("a"), wakes=True), 5)
    await asyncio.wait_for(database.write(put("b"), wakes=True), 5)


async def test_I23_a_file_of_a_newer_version_is_refused_and_left_alone(database: Database, folder: Path) -> None:
    await database.write(put("a"))
    database.close()
    with sqlite3.connect(folder / "gesso.db") as foreign:
        foreign.execute("PRAGMA user_version = 99")

    with pytest.raises(ConfigError, match="newer version"):
        Database.open(folder)
    assert [name for name, _ in rows(folder, "secrets")] == ["a"]


def test_I23_a_migration_that_was_cut_short_is_made_again_from_the_start(folder: Path) -> None:
    folder.mkdir()
    cut = connect(folder / "gesso.db")
    cut.execute("BEGIN IMMEDIATE")
    cut.execute("CREATE TABLE requests (half)")
    cut.close()  # as a kill would: nothing was committed
    Database.open(folder).close()

    assert rows(folder) == []


async def test_opening_again_keeps_everything(database: Database, folder: Path) -> None:
    await database.write(put("a"))
    database.close()
    Database.open(folder).close()

    assert [name for name, _ in rows(folder, "secrets")] == ["a"]


@pytest.mark.parametrize("damage", [b"no database at all", b"SQLite format 3\0" + b"\xff" * 4080])
def test_I18_a_damaged_file_stops_the_start_and_is_left_alone(folder: Path, damage: bytes) -> None:
    folder.mkdir()
    (folder / "gesso.db").write_bytes(damage)

    with pytest.raises(ConfigError, match="cannot be used"):
        Database.open(folder)
    assert (folder / "gesso.db").read_bytes() == damage


def test_nobody_else_may_read_the_file(database: Database, folder: Path) -> None:
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.glob("gesso.*"))


IMPOSSIBLE = {
    "in progress without a lease": "state = 'in_progress', attempt = 1, lease_until = NULL",
    "in progress without an attempt": "state = 'in_progress', lease_until = 1",
    "in progress before its pictures are frozen": "state = 'in_progress', attempt = 1, lease_until = 1, ready = 0",
    "waiting with a lease": "lease_until = 1",
    "waiting with an outcome": "outcome = '{}'",
    "waiting with an end": "finished_at = 1",
    "completed without an outcome": "state = 'completed', finished_at = 1",
    "completed without an end": "state = 'completed', outcome = '{}'",
    "completed with a lease": "state = 'completed', outcome = '{}', finished_at = 1, lease_until = 1",
    "cancelled without an end": "state = 'cancelled'",
    "a state that is none": "state = 'failed', finished_at = 1",
    "half ready": "ready = 2",
    "half handed back": "handed_back = 2",
    "an id of another length": "id = x'00'",
}


@pytest.mark.parametrize("values", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
async def test_I04_no_row_can_be_what_no_request_can_be(
    database: Database, queue: Queue, ask: Ask, values: str
) -> None:
    await queue.add(ask())

    with pytest.raises(sqlite3.IntegrityError):
        await database.write(lambda rows: rows.execute(f"UPDATE requests SET {values}"))


FILE = ("'k'", "'output'", "'alice'", "x'00'", "'n'", "'t'", "1", "'s'", "NULL")
IMPOSSIBLE_FILES = {
    "an upload of a request": {1: "'upload'", 8: "1"},
    "an upload that never expires": {1: "'upload'", 3: "NULL"},
    "an output of no request": {3: "NULL"},
    "an input that expires": {1: "'input'", 8: "1"},
    "a kind that is none": {1: "'picture'"},
}


@pytest.mark.parametrize("values", IMPOSSIBLE_FILES.values(), ids=IMPOSSIBLE_FILES.keys())
async def test_I13_no_file_can_be_what_no_file_can_be(database: Database, values: dict[int, str]) -> None:
    impossible = ", ".join(values.get(column, value) for column, value in enumerate(FILE))

    with pytest.raises(sqlite3.IntegrityError):
        await database.write(lambda rows: rows.execute(f"INSERT INTO files VALUES ({impossible})"))
    await database.write(lambda rows: rows.execute(f"INSERT INTO files VALUES ({', '.join(FILE)})"))


async def test_a_count_of_those_who_wait_is_never_negative(database: Database) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(lambda rows: rows.execute("INSERT INTO waiting VALUES ('a/one', 1, 4, 0, -1)"))


async def test_texts_that_look_like_sql_are_only_texts(queue: Queue, ask: Ask) -> None:
    nasty = "'; DROP TABLE requests; --"
    request = ask(owner=nasty, model_id=nasty, input={nasty: nasty}, pictures=(Picture(nasty, 0, nasty, nasty),))
    await queue.add(request)

    assert await queue.get(request.id, nasty) == request
    assert await queue.next([nasty]) == request
