"""What the tests of the store share: a database of their own, of each kind, and a clock that they may own."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from givens import Ask, Clock, url_of
from pg import Server

from gesso.core.request import Request
from gesso.store import database as database_module
from gesso.store.connection import Database, Waiter
from gesso.store.opening import open_database
from gesso.store.queue import Queue

KINDS = ("sqlite", "postgres")
OWNED_CLOCK = """CREATE TABLE test_clock (us BIGINT); INSERT INTO test_clock VALUES (0);
    CREATE OR REPLACE FUNCTION now_us() RETURNS BIGINT STABLE LANGUAGE sql AS 'SELECT us FROM test_clock'"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that has to do with a database runs on each kind, unless it is marked as one of one kind."""
    if "database_kind" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        metafunc.parametrize("database_kind", only.args if only else KINDS, indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """Which kind of database: sqlite or postgres."""
    return str(request.param)


@pytest.fixture
def folder(database_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Where a SQLite file is to be; on PostgreSQL it says which database has been made."""
    house = tmp_path / "house"
    if database_kind == "sqlite":
        yield house
        return
    server: Server = request.getfixturevalue("pg_server")
    house.mkdir()
    url = server.make_database()
    (house / "database-url").write_text(url)
    yield house
    server.drop_database(url)


@pytest.fixture
def clock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """It is the database's clock."""
    clock = Clock()
    if url := url_of(folder):
        with psycopg.connect(url, autocommit=True) as foreign:
            foreign.execute(OWNED_CLOCK)
            clock.on_change = lambda us: foreign.execute("UPDATE test_clock SET us = %s", (us,)) and None
            clock.on_change(clock.now_us)
            yield clock
    else:
        monkeypatch.setattr(database_module, "now_us", lambda: clock.now_us)
        yield clock


@pytest.fixture
def database(folder: Path) -> Iterator[Database]:
    database = open_database(url_of(folder), folder)
    yield database
    database.close()


@pytest.fixture
def another(database: Database, folder: Path) -> Iterator[Database]:
    """The same database, opened a second time, as another process would."""
    another = open_database(url_of(folder), folder)
    yield another
    another.close()


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


@pytest.fixture
async def waiter(database: Database) -> AsyncIterator[Waiter]:
    """A living process among the waiters."""
    waiter = database.wakeups.listen()
    yield waiter
    waiter.close()


@pytest.fixture
def ask() -> Ask:
    """Makes fresh requests."""

    def ask(**given: object) -> Request:
        values = {
            "owner": "alice",
            "model_id": "a/one",
            "input": {"prompt": "x"},
            "at": datetime(2026, 1, 1, tzinfo=UTC),
        }
        return Request.new(**values | given)

    return ask
