"""The queue on PostgreSQL in any order of events; and what its locks are for, with one of them spoilt."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest
from doses import dose
from pg import Server
from simulation import World

from gesso.store.postgres.connecting import connect
from gesso.store.postgres.hands import PgConnection, Session

T = TypeVar("T")
FEW = 12
SHARDS = 4
PART = 40
"""Of the schedules that SQLite is given: a statement costs a trip to the server here."""
TABLES = ("requests", "waiting", "files", "usage", "once", "deliveries", "progress")
OWNED_CLOCK = """CREATE TABLE test_clock (us BIGINT); INSERT INTO test_clock VALUES (0);
    CREATE OR REPLACE FUNCTION now_us() RETURNS BIGINT STABLE LANGUAGE sql AS 'SELECT us FROM test_clock'"""


class PostgresGround:
    """The real tables on a real server; each write is one transaction."""

    refusals = (psycopg.IntegrityError,)

    def __init__(self, connection: PgConnection) -> None:
        self._connection = connection
        connection.execute(b"SET synchronous_commit = off")  # nothing crashes here
        connection.execute(OWNED_CLOCK.encode())

    def read(self, query: Callable[[Any], T]) -> T:
        return query(Session(self._connection))

    def write(self, move: Callable[[Any], T]) -> T:
        with self._connection.transaction():
            return move(Session(self._connection))

    def set_clock(self, now_us: int) -> None:
        self._connection.execute(b"UPDATE test_clock SET us = $1", [now_us])

    def clear(self) -> None:
        self.write(lambda rows: [rows.execute(f"DELETE FROM {table}") for table in TABLES])
        self._connection.execute(b"ALTER TABLE requests ALTER COLUMN seq RESTART")


@pytest.fixture
def ground(pg_server: Server) -> Iterator[PostgresGround]:
    url = pg_server.make_database()
    with connect(url) as connection:
        yield PostgresGround(connection)
    pg_server.drop_database(url)


def play(ground: PostgresGround, seeds: range) -> None:
    for seed in seeds:
        try:
            World(ground, seed).play()
        except (AssertionError, *ground.refusals) as broken:
            broken.add_note(f"on PostgreSQL, seed {seed}: replay it with GESSO_FAULTS_SEED={seed}")
            raise


def test_I04_I16_the_queue_keeps_its_promises_on_postgresql_in_any_order_of_events(ground: PostgresGround) -> None:
    play(ground, range(dose("SEED"), dose("SEED") + FEW))


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_I04_I16_the_queue_keeps_its_promises_on_postgresql_in_many_orders_of_events(
    ground: PostgresGround, shard: int
) -> None:
    share = dose("SCHEDULES") // PART // SHARDS
    first = dose("SEED") + FEW + shard * share
    play(ground, range(first, first + share))
