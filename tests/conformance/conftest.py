"""What the tests of the store share: a database in a folder of its own, and a clock that they may own."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from givens import Ask, Clock

from gesso.core.request import Request
from gesso.store import database as database_module
from gesso.store import tokens as tokens_module
from gesso.store.database import Database
from gesso.store.queue import Queue
from gesso.store.wakeups import Waiter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Asked for before the database, it is the database's clock."""
    clock = Clock()
    monkeypatch.setattr(database_module, "now_us", lambda: clock.now_us)
    monkeypatch.setattr(tokens_module, "now_us", lambda: clock.now_us)
    return clock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "house"


@pytest.fixture
def database(folder: Path) -> Iterator[Database]:
    database = Database.open(folder)
    yield database
    database.close()


@pytest.fixture
def another(database: Database, folder: Path) -> Iterator[Database]:
    """The same database, opened a second time, as another process would."""
    another = Database.open(folder)
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
