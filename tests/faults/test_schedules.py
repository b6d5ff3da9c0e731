"""The queue in any order of events holds; the queue with one of its statements spoilt is seen not to."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from doses import dose
from simulation import Broken, Ground, World

from gesso.store import moves as moves_module
from gesso.store import once as once_module
from gesso.store import queue as queue_module
from gesso.store.database import connect
from gesso.store.migrating import migrate

T = TypeVar("T")
FEW = 80
SHARDS = 20
ENOUGH = 400
TABLES = ("requests", "waiting", "files", "usage", "once", "deliveries", "progress", "sqlite_sequence")


class SqliteGround:
    """The real tables in a real file; each write is one transaction, as the writer's."""

    refusals = (sqlite3.IntegrityError,)

    def __init__(self, path: Path) -> None:
        self.now_us = 0
        self.rows = connect(path)
        migrate(self.rows, path)
        self.rows.create_function("now_us", 0, lambda: self.now_us)
        self.rows.execute("PRAGMA synchronous = OFF")  # no power is cut here

    def read(self, query: Callable[[Any], T]) -> T:
        return query(self.rows)

    def write(self, move: Callable[[Any], T]) -> T:
        self.rows.execute("BEGIN IMMEDIATE")
        try:
            answer = move(self.rows)
            self.rows.execute("COMMIT")
        finally:
            if self.rows.in_transaction:
                self.rows.execute("ROLLBACK")
        return answer

    def set_clock(self, now_us: int) -> None:
        self.now_us = now_us

    def clear(self) -> None:
        self.write(lambda rows: [rows.execute(f"DELETE FROM {table}") for table in TABLES])


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[SqliteGround]:
    ground = SqliteGround(tmp_path / "gesso.db")
    yield ground
    ground.rows.close()


def play(ground: Ground, seeds: range) -> None:
    for seed in seeds:
        try:
            World(ground, seed).play()
        except (AssertionError, *ground.refusals) as broken:
            broken.add_note(f"seed {seed}: replay it with GESSO_FAULTS_SEED={seed} GESSO_FAULTS_SCHEDULES={FEW}")
            raise


def test_I04_I16_the_queue_keeps_its_promises_in_any_order_of_events(ground: Ground) -> None:
    play(ground, range(dose("SEED"), dose("SEED") + FEW))


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_I04_I16_the_queue_keeps_its_promises_in_very_many_orders_of_events(ground: Ground, shard: int) -> None:
    share = dose("SCHEDULES") // SHARDS
    first = dose("SEED") + FEW + shard * share
    play(ground, range(first, first + share))


# name -> the invariant that it breaks, the statement, and what of it becomes what
DEFECTS = {
    "a finish forgets the state": ("I04", "FINISH", "state IN ('in_progress')", "attempt > 0"),
    "a cancel undoes an end": ("I04", "CANCEL", "state IN ('in_queue')", "state <> 'in_progress'"),
    "giving up ends what has ended": (
        "I04", "GIVE_UP", "state = 'in_progress' AND state IN ('in_progress') AND (", "attempt > 0 AND (1 OR "
    ),
    "a key makes a new request each time": ("I05", "KEEP", "WHERE once.created_at", "WHERE 1 OR once.created_at"),
    "a key holds for half a minute": ("I05", "KEEP", "- 86400000000", "- 30000000"),
    "handed back, it waits in the queue again": (
        "I06", "LET_GO", "lease_until = now_us(), handed_back",
        "state = 'in_queue', lease_until = NULL, handed_back"
    ),
    "a live lease is claimed": ("I07", "candidate", "(lease_until <= now_us()", "(1"),
    "a claim holds for no time": ("I07", "claim_row", "lease_until = now_us() + ?", "lease_until = now_us() + 0 * ?"),
    "a finish forgets the attempt": ("I08", "FINISH", "attempt = ? AND", "? > 0 AND"),
    "a renewal forgets the attempt": ("I08", "RENEW", "attempt = ? AND", "? > 0 AND"),
    "a renewal revives an ended lease": ("I08", "RENEW", "AND NOT (lease_until", "AND NOT (0 AND lease_until"),
    "letting go forgets the attempt": ("I08", "LET_GO", "attempt = ? AND", "? > 0 AND"),
    "letting go lowers the attempt": ("I08", "LET_GO", "SET ", "SET attempt = max(attempt - 1, 1), "),
    "a claim keeps the number": ("I08", "claim_row", "attempt = attempt + 1", "attempt = max(attempt, 1)"),
    "an ended lease is never claimed": ("I09", "candidate", "lease_until <= now_us()", "0"),
    "an intake that died is never followed": ("I09", "TAKE_IN", "intake_until IS NULL OR", "intake_until IS NULL AND"),
    "nobody is given up": ("I09", "GIVE_UP", "losses + 1 >= ?", "losses >= 9 + ?"),
    "tries have no end": ("I10", "candidate", "AND losses + 1 - handed_back < ?", "AND ? > 0"),
    "a claim counts no loss": ("I10", "claim_row", "losses = losses + (", "losses = losses + 0 * ("),
    "handing back counts as a loss": ("I10", "LET_GO", "handed_back = ?", "handed_back = 0 * ?"),
    "a cancel reaches what runs": ("I11", "CANCEL", "state IN ('in_queue')", "finished_at IS NULL"),
    "a claim takes what was cancelled": (
        "I11", "candidate", "FROM requests WHERE state = 'in_queue'",
        "FROM requests WHERE state IN ('in_queue', 'cancelled')"
    ),
    "an intake undoes a cancel": ("I11", "REFUSE", "state IN ('in_queue')", "state <> 'in_progress'"),
    "a deadline ends what runs": (
        "I11", "EXPIRE", "state = 'in_queue' AND state IN ('in_queue')", "finished_at IS NULL"
    ),
    "started after its deadline": ("I11", "candidate", "(start_by IS NULL OR start_by > now_us())", "1"),
    "claimed before its pictures are frozen": ("I15", "candidate", "AND ready = 1", ""),
    "a second intake wins": ("I15", "FREEZE", "AND ready = 0", ""),
    "the newest goes first": ("I16", "candidate", "ORDER BY priority, turn, seq", "ORDER BY priority, turn DESC, seq"),
    "turns are not dealt": ("I24", "ADD", "max(turn) + 1", "max(turn) - 1"),
    "a lease of tomorrow holds": ("I19", "LEASE_ENDED", "lease_until > now_us()", "0 AND lease_until > now_us()"),
}  # fmt: skip


def plant(monkeypatch: pytest.MonkeyPatch, name: str, good: str, bad: str) -> None:
    """Spoil one statement; functions among them answer with it spoilt, a part of statements wherever it stands."""
    homes = [module for module in (moves_module, queue_module, once_module) if hasattr(module, name)]
    sound = getattr(homes[0], name)
    assert good in (sound if isinstance(sound, str) else sound(2))
    if name == "LEASE_ENDED":
        for other in [
            each for each in vars(moves_module) if each.isupper() or each in ("candidate", "next_row", "claim_row")
        ]:
            if other != name and sound in _text_of(getattr(moves_module, other)):
                plant(monkeypatch, other, good, bad)
        return
    spoilt = sound.replace(good, bad) if isinstance(sound, str) else lambda *given: sound(*given).replace(good, bad)
    for module in homes:
        monkeypatch.setattr(module, name, spoilt)


def _text_of(statement: Any) -> str:
    return statement(2) if callable(statement) else str(statement)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_caught(ground: Ground, monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    _, *spoilt = DEFECTS[defect]
    plant(monkeypatch, *spoilt)

    with pytest.raises((Broken, *ground.refusals)):
        play(ground, range(ENOUGH))


def test_I14_planted_an_end_without_its_event_is_caught(ground: SqliteGround) -> None:
    ground.rows.execute("DROP TRIGGER deliveries_end")

    with pytest.raises(Broken, match="I14"):
        play(ground, range(20))
