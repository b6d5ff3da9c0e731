"""What a move costs, counted in steps of SQLite's machine: as much in front of a long queue as in front of a short one.

One owner's flood is the hardest case: all of it stands in the same branch of every index.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gesso.core.pictures import Picture
from gesso.core.request import Request
from gesso.store import moves, usage
from gesso.store.connection import Connection
from gesso.store.database import connect, prepare
from gesso.store.rows import to_row

MODEL, OWNER = "m/m", "flood"
WANTED = (Picture("image_urls", 0, "https://images.example/1.png"),)
CLAIM = (MODEL, 3, MODEL, "")
SHORT, LONG = 200, 4000
Ask = Callable[["Flood"], tuple[str, tuple[Any, ...]]]


def fresh(*pictures: Picture, owner: str = OWNER) -> tuple[Any, ...]:
    request = Request.new(owner=owner, model_id=MODEL, input={}, at=datetime.now(UTC), pictures=pictures)
    return tuple(to_row(request))


class Flood:
    """A database in which so many of one owner's requests wait to run, and as many for their pictures."""

    def __init__(self, folder: Path, count: int) -> None:
        prepare(folder / "gesso.db")
        self.rows: Connection = connect(folder / "gesso.db")
        self.rows.execute("BEGIN")
        for pictures in ((), WANTED):
            for _ in range(count):
                self.rows.execute(moves.ADD, fresh(*pictures))
        self.first, self.last = (self._one(f"ready = 1 ORDER BY seq {order}") for order in ("", "DESC"))
        self.late, self.latest = (self._one(f"ready = 0 ORDER BY seq {order}") for order in ("", "DESC"))

    def _one(self, which: str) -> Any:
        return self.rows.execute(f"SELECT id, seq FROM requests WHERE {which} LIMIT 1").fetchone()

    def steps(self, statement: str, values: tuple[Any, ...]) -> int:
        """How many steps the statement takes; it is undone."""
        count = 0

        def step() -> None:
            nonlocal count
            count += 1

        self.rows.execute("SAVEPOINT before")
        self.rows.set_progress_handler(step, 1)
        try:
            self.rows.execute(statement, values).fetchall()
        finally:
            self.rows.set_progress_handler(None, 0)
            self.rows.execute("ROLLBACK TO before")
        return count


@pytest.fixture(scope="module")
def floods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Flood, Flood]]:
    made = tuple(Flood(tmp_path_factory.mktemp(f"flood{count}"), count) for count in (SHORT, LONG))
    yield made
    for each in made:
        each.rows.close()


ASKED: dict[str, Ask] = {
    "submit": lambda _: (moves.ADD, fresh()),
    "submit with pictures to fetch": lambda _: (moves.ADD, fresh(*WANTED)),
    "submit of another owner": lambda _: (moves.ADD, fresh(owner="guest")),
    "what a claim would take": lambda _: (moves.next_row(1), CLAIM),
    "claim": lambda _: (moves.claim_row(1), ("holder", 30, *CLAIM)),
    "cancel of the first": lambda flood: (moves.CANCEL, (flood.first[0], OWNER)),
    "cancel of the last": lambda flood: (moves.CANCEL, (flood.last[0], OWNER)),
    "pictures come": lambda flood: (moves.FREEZE, ("[]", flood.late[0])),
    "whether they come late": lambda flood: (moves.IS_LATE, (flood.late[1],)),
    "they come late": lambda flood: (moves.COME_LATE, (flood.latest[1],)),
    "they come late among many": lambda flood: (moves.SQUEEZE_IN, (flood.late[1],)),
    "whether there is anything to fetch": lambda _: (moves.any_fetchable(0), ()),
    "whether others have anything to fetch": lambda _: (moves.any_fetchable(1), (OWNER,)),
    "what is to be fetched": lambda _: (moves.take_in(0), ("holder", 60, 8)),
    "what of others is to be fetched": lambda _: (moves.take_in(1), (OWNER, "holder", 60, 8)),
    "who holds anything": lambda _: (moves.HOLDERS, ()),
    "leases of the dead": lambda _: (moves.END_LEASES, ("dead",)),
    "intake of the dead": lambda _: (moves.END_INTAKE, ("dead",)),
    "whether leases have ended": lambda _: (moves.EXPIRED, ()),
    "giving up": lambda _: (moves.GIVE_UP, ("{}", 3)),
    "whether any is overdue": lambda _: (moves.OVERDUE, (900_000_000,)),
    "cancelling the overdue": lambda _: (moves.EXPIRE, ("{}",)),
    "raising one": lambda _: (moves.RAISE, (900_000_000,)),
    "how long the queue is": lambda _: (moves.LENGTH, (MODEL,)),
    "what an owner has taken up": lambda _: (usage.TAKEN, (OWNER,)),
}


@pytest.mark.parametrize("name", ASKED)
def test_no_move_takes_more_steps_in_front_of_a_longer_queue(floods: tuple[Flood, Flood], name: str) -> None:
    short, long = (each.steps(*ASKED[name](each)) for each in floods)

    assert long <= 1.1 * short + 20


def test_a_position_is_a_sum_of_blocks(floods: tuple[Flood, Flood]) -> None:
    steps = [flood.steps(moves.PLACE, (which[0],)) for flood in floods for which in (flood.last, flood.latest)]

    assert max(steps) < LONG / 2


def test_one_that_comes_late_moves_so_many_at_the_most(floods: tuple[Flood, Flood]) -> None:
    assert floods[1].steps(moves.CROWD, (floods[1].first[1],)) < 20 * moves.MOST_MOVED
    assert floods[1].rows.execute(moves.CROWD, (floods[1].first[1],)).fetchone()[0] == moves.MOST_MOVED + 1
