"""The queue against random events: it does what `core.states` says and what the invariants promise, in any order.

Then against itself with a defect planted in its SQL: whoever sees nothing there proves nothing.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from givens import REFUSED, Clock, url_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gesso.core.errors import IllegalMove, LeaseLost
from gesso.core.pictures import Picture
from gesso.core.request import Failed, Request, Succeeded
from gesso.core.states import Event, State, after
from gesso.store import moves as moves_module
from gesso.store import queue as queue_module
from gesso.store.opening import open_database
from gesso.store.queue import Queue

T = TypeVar("T")
MODELS = ["a/one", "a/two"]
ATTEMPTS = 2  # so that requests without any left are no rarity
MOST = 6
LEASE_S = 30
FEW = range(60)
WANTED = (Picture("image_urls", 0, "https://images.example/1.png"),)
FROZEN = (Picture("image_urls", 0, "https://images.example/1.png", "a" * 32),)
HISTORY = re.compile("q(x|f|p+(c|f)?)?")
EMPTY = ("requests", "waiting", "files")
SPEECHES = ["finish", "fail", "renew", "release", "lose"]
SECONDS = [1, LEASE_S / 2, LEASE_S, LEASE_S, -1]
CHANCES = range(1000)
CHANCE = st.sampled_from(CHANCES)
WEIGHTS = {
    "add": 6, "claim": 10, "a_holder_speaks": 10, "time_passes": 6, "cancel": 1, "give_up": 2, "take_in": 2,
    "freeze": 2, "refuse": 1,
}  # fmt: skip
ARGUMENTS: dict[str, dict[str, Sequence[Any]]] = {
    "add": {"model": MODELS, "ready": [True, True, False]},
    "claim": {"models": [MODELS, MODELS[:1], MODELS[1:]], "lease_s": [LEASE_S, 1]},
    "a_holder_speaks": {"chance": CHANCES, "how": SPEECHES},
    "time_passes": {"seconds": SECONDS},
    "cancel": {"chance": CHANCES},
    "take_in": {"limit": [1, 2, 3]},
    "freeze": {"chance": CHANCES},
    "refuse": {"chance": CHANCES},
}


PATIENT = "-c%20statement_timeout%3D0%20-c%20lock_timeout%3D0%20-c%20idle_in_transaction_session_timeout%3D0"


@dataclass
class Known:
    """What the test knows of a request."""

    id: str
    model: str
    ready: bool
    state: State = State.IN_QUEUE
    attempt: int = 0
    losses: int = 0
    handed_back: bool = False
    lease_until: int | None = None
    taken_until: int = 0
    history: str = "q"
    claims: list[Request] = field(default_factory=list)

    def moves(self, event: Event, letter: str) -> bool:
        """Make the move, if the table of states has it."""
        try:
            self.state = after(self.state, event)
        except IllegalMove:
            return False
        self.history += letter
        self.lease_until = None
        return True


class Bench:
    """One real database and queue for all examples, and an event loop to drive them."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.is_quick = not url_of(folder)
        self.clock = clock
        self.loop = asyncio.new_event_loop()
        url = url_of(folder)
        self.database = open_database(f"{url}?options={PATIENT}" if url else "", folder)
        self.queue = Queue(self.database, attempts=ATTEMPTS)

    def do(self, move: Awaitable[T]) -> T:
        return self.loop.run_until_complete(move)

    def clear(self) -> None:
        self.do(self.database.write(lambda rows: [rows.execute(f"DELETE FROM {table}") for table in EMPTY]))

    def close(self) -> None:
        self.database.close()
        self.loop.close()


class QueueMachine(RuleBasedStateMachine):
    """Random events. Each rule says beforehand what the queue must answer."""

    bench: Bench

    def __init__(self) -> None:
        super().__init__()
        self.bench.clear()
        self.queue, self.clock = self.bench.queue, self.bench.clock
        self.known: list[Known] = []

    @property
    def now(self) -> int:
        return self.clock.now_us

    @precondition(lambda self: len(self.known) < MOST)
    @rule(model=st.sampled_from(MODELS), ready=st.sampled_from([True, True, False]))
    def add(self, model: str, ready: bool) -> None:
        pictures = FROZEN if ready else WANTED
        at = datetime.fromtimestamp(self.now / 1e6, UTC)
        request = Request.new(owner="alice", model_id=model, input={}, at=at, pictures=pictures)
        self.bench.do(self.queue.add(request))
        self.known.append(Known(request.id, model, ready))

    @rule(models=st.sampled_from([MODELS, MODELS[:1], MODELS[1:]]), lease_s=st.sampled_from([LEASE_S, 1]))
    def claim(self, models: list[str], lease_s: int) -> None:
        expected = self._next(models)
        told = self.bench.do(self.queue.next(models))
        assert (told.id if told else None) in [each.id if each else None for each in expected]

        claimed = self.bench.do(self.queue.claim(models, holder="x", lease=timedelta(seconds=lease_s)))

        assert (claimed.id if claimed else None) == (told.id if told else None)
        if claimed is None:
            return
        one = self._of(claimed.id)
        one.losses += one.state is State.IN_PROGRESS and not one.handed_back
        assert one.moves(Event.CLAIM, "p")
        one.attempt, one.handed_back = one.attempt + 1, False
        one.lease_until = self.now + lease_s * 1_000_000
        assert claimed.attempt not in [earlier.attempt for earlier in one.claims]  # I8: no number is given out twice
        one.claims.append(claimed)

    @rule(chance=CHANCE, how=st.sampled_from(SPEECHES))
    def a_holder_speaks(self, chance: int, how: str) -> None:
        """Any that ever claimed, stale ones too; mostly of requests that still run."""
        claims = [(one, claim) for one in self.known for claim in one.claims]
        running = [(one, claim) for one, claim in claims if one.state is State.IN_PROGRESS]
        heard = running if running and chance % 4 else claims
        if not heard:
            return
        one, claim = heard[chance // 4 % len(heard)]
        holds = one.state is State.IN_PROGRESS and one.attempt == claim.attempt
        if how == "renew":
            holds = holds and not self._ended(one)
        moves: dict[str, Callable[[], Awaitable[None]]] = {
            "finish": lambda: self.queue.finish(claim, Succeeded(())),
            "fail": lambda: self.queue.finish(claim, Failed(502001, "EngineFailed")),
            "renew": lambda: self.queue.renew(claim, timedelta(seconds=LEASE_S)),
            "release": lambda: self.queue.release(claim),
            "lose": lambda: self.queue.lose(claim),
        }
        if not holds:
            with pytest.raises(LeaseLost):
                self.bench.do(moves[how]())
            return
        self.bench.do(moves[how]())
        match how:
            case "finish" | "fail":
                assert one.moves(Event.FINISH, "c" if how == "finish" else "f")
            case "renew":
                one.lease_until = self.now + LEASE_S * 1_000_000
            case _:
                one.lease_until, one.handed_back = self.now, how == "release"

    @rule(chance=CHANCE)
    def cancel(self, chance: int) -> None:
        if self.known:
            one = self.known[chance % len(self.known)]
            one.moves(Event.CANCEL, "x")
            assert self.bench.do(self.queue.cancel(one.id, "alice")) is one.state

    @rule()
    def give_up(self) -> None:
        lost = [one for one in self.known if self._is_lost(one)]
        for one in lost:
            one.losses += 1
            assert one.moves(Event.GIVE_UP, "f")
        assert self.bench.do(self.queue.give_up()) == len(lost)

    @rule(limit=st.integers(1, 3))
    def take_in(self, limit: int) -> None:
        wanted = [one for one in self.known if self._waits_for_pictures(one) and one.taken_until <= self.now]
        taken = self.bench.do(self.queue.take_in(holder="x", limit=limit, lease=timedelta(seconds=5)))
        assert [each.id for each in taken] == [one.id for one in wanted[:limit]]
        for one in wanted[:limit]:
            one.taken_until = self.now + 5_000_000

    @rule(chance=CHANCE)
    def freeze(self, chance: int) -> None:
        """Any request's intake, late and doubled ones too."""
        if self.known:
            one = self.known[chance % len(self.known)]
            waits = self._waits_for_pictures(one)
            one.ready = one.ready or waits
            assert self.bench.do(self.queue.freeze(self._read(one), FROZEN, [])) is waits

    @rule(chance=CHANCE)
    def refuse(self, chance: int) -> None:
        if self.known:
            one = self.known[chance % len(self.known)]
            waits = self._waits_for_pictures(one) and one.moves(Event.REFUSE, "f")
            assert self.bench.do(self.queue.refuse(self._read(one), Failed(422001, "InputRejected"))) is waits

    @rule(seconds=st.sampled_from(SECONDS))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_by(timedelta(seconds=seconds))

    @invariant()
    def the_table_says_what_is_known(self) -> None:
        query = "SELECT * FROM requests ORDER BY seq"
        rows = self.bench.do(self.bench.database.read(lambda rows: rows.execute(query).fetchall()))
        found = [(row["state"], row["attempt"], row["losses"], row["lease_until"], row["ready"]) for row in rows]
        assert found == [(one.state, one.attempt, one.losses, one.lease_until, one.ready) for one in self.known]
        assert self.bench.do(self.queue.has_expired_leases()) is any(map(self._ended, self.known))

    @invariant()
    def every_history_can_be(self) -> None:
        assert all(HISTORY.fullmatch(one.history) for one in self.known)
        assert all(one.losses <= ATTEMPTS for one in self.known)

    @invariant()
    def every_position_is_a_plain_count(self) -> None:
        """Of those submitted before. Who still awaits pictures has no sure place yet: it may be counted early."""
        for one in self.known:
            place = self.bench.do(self.queue.place(one.id, "alice"))
            if place.state is State.IN_QUEUE:
                waiting = [each for each in self.known if each.state is State.IN_QUEUE and each.model == one.model]
                count = waiting.index(one)
                assert place.position <= count + sum(not each.ready for each in waiting[count + 1 :])
                assert place.position >= count or not one.ready

    def _next(self, models: list[str]) -> list[Known | None]:
        """Whom a claim may take: the lease that ended first (any of those that ended together), else the oldest of the
        first model.
        """
        ended = [one for one in self.known if one.model in models and self._ended(one) and not self._is_lost(one)]
        if ended:
            first = min(one.lease_until or 0 for one in ended)
            return [one for one in ended if one.lease_until == first]
        waiting = [one for one in self.known if one.model in models and one.state is State.IN_QUEUE and one.ready]
        return [min(waiting, key=lambda one: models.index(one.model), default=None)]

    def _ended(self, one: Known) -> bool:
        return one.state is State.IN_PROGRESS and (one.lease_until or 0) <= self.now

    def _is_lost(self, one: Known) -> bool:
        return self._ended(one) and not one.handed_back and one.losses + 1 >= ATTEMPTS

    def _waits_for_pictures(self, one: Known) -> bool:
        return one.state is State.IN_QUEUE and not one.ready

    def _of(self, request_id: str) -> Known:
        return next(one for one in self.known if one.id == request_id)

    def _read(self, one: Known) -> Request:
        return self.bench.do(self.queue.get(one.id, "alice"))


@pytest.fixture
def bench(folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    # How long a call may take is judged elsewhere: here a machine that stands still for a while says nothing.
    monkeypatch.setattr("gesso.store.postgres.database.DEADLINE_S", 60.0)
    bench = Bench(folder, clock)
    yield bench
    bench.close()


def machine(bench: Bench) -> type[QueueMachine]:
    return type("Machine", (QueueMachine,), {"bench": bench})


def play(bench: Bench, *, examples: int, steps: int) -> None:
    """Orders of events of Hypothesis's choice; one that fails is shrunk and shown."""
    settings_ = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine(bench), settings=settings_)


def walks(bench: Bench, seeds: Sequence[int]) -> None:
    """Orders of events by the dice. They shrink nothing, but come deeper in the same time."""
    for seed in seeds:
        walk(bench, seed)


def walk(bench: Bench, seed: int) -> None:
    dice, one = random.Random(seed), machine(bench)()
    for name in dice.choices(list(WEIGHTS), list(WEIGHTS.values()), k=60):
        if name == "add" and len(one.known) >= MOST:
            continue
        getattr(one, name)(**{argument: dice.choice(values) for argument, values in ARGUMENTS.get(name, {}).items()})
        one.the_table_says_what_is_known()
        one.every_history_can_be()
        one.every_position_is_a_plain_count()


def test_the_queue_keeps_its_promises_in_any_order_of_events(bench: Bench) -> None:
    play(bench, examples=200 if bench.is_quick else 20, steps=30)


def test_the_queue_keeps_its_promises_in_long_orders_of_events(bench: Bench) -> None:
    walks(bench, FEW if bench.is_quick else FEW[:10])


@pytest.mark.slow
def test_the_queue_keeps_its_promises_in_very_many_orders_of_events(bench: Bench) -> None:
    play(bench, examples=1000 if bench.is_quick else 200, steps=50)


@pytest.mark.slow
def test_the_queue_keeps_its_promises_in_very_many_long_orders_of_events(bench: Bench) -> None:
    walks(bench, range(60, 2000 if bench.is_quick else 300))


# name -> the statement, and what of it becomes what
DEFECTS = {
    "finish ignores the attempt": ("FINISH", "attempt = ? AND", "? > 0 AND"),
    "finish ignores the state": ("FINISH", "state IN ('in_progress')", "attempt > 0"),
    "renew ignores the attempt": ("RENEW", "attempt = ? AND", "? > 0 AND"),
    "renew revives an ended lease": ("RENEW", "AND NOT (lease_until", "AND NOT (0 AND lease_until"),
    "letting go ignores the attempt": ("LET_GO", "attempt = ? AND", "? > 0 AND"),
    "handing back counts": ("LET_GO", "handed_back = ?", "handed_back = 0 * ?"),
    "losing counts nothing": ("LET_GO", "handed_back = ?", "handed_back = max(1, ?)"),
    "handing back lowers the attempt": ("LET_GO", "SET ", "SET attempt = max(attempt - 1, 1), "),
    "cancel ignores the state": ("CANCEL", "state IN ('in_queue')", "finished_at IS NULL"),
    "cancel undoes an end": ("CANCEL", "state IN ('in_queue')", "state <> 'in_progress'"),
    "giving up one loss too late": ("GIVE_UP", "losses + 1 >= ?", "losses >= ?"),
    "giving up one loss too early": ("GIVE_UP", "losses + 1 >= ?", "losses + 2 >= ?"),
    "giving up what was handed back": ("GIVE_UP", "handed_back = 0", "1"),
    "giving up what runs": ("GIVE_UP", "(lease_until <= now_us()", "(1"),
    "a second intake wins": ("FREEZE", "AND ready = 0", ""),
    "intake undoes a cancel": ("FREEZE", "AND state = 'in_queue'", ""),
    "a late refusal wins": ("REFUSE", "AND ready = 0", ""),
    "two intakes take one": ("TAKE_IN", "AND (intake_until IS NULL OR", "AND (1 OR"),
    "the newest is claimed first": ("candidate", "ORDER BY priority, turn, seq", "ORDER BY priority, turn DESC, seq"),
    "a live lease is claimed": ("candidate", "(lease_until <= now_us()", "(1"),
    "an ended lease is never claimed": ("candidate", "lease_until <= now_us()", "0"),
    "claimed before its pictures are frozen": ("candidate", "AND ready = 1", ""),
    "claimed without an attempt left": ("candidate", "AND losses + 1 - handed_back < ?", "AND ? > 0"),
    "claimed one time too few": ("candidate", "losses + 1 - handed_back < ?", "losses + 2 - handed_back < ?"),
    "another model is claimed": ("candidate", "AND model_id = ? AND ready", "AND (model_id = ? OR 1) AND ready"),
    "a claim counts no loss": ("claim_row", "losses = losses + (", "losses = losses + 0 * ("),
    "a claim counts a first start": ("claim_row", "(state = 'in_progress' AND handed_back = 0)", "(handed_back = 0)"),
    "a claim keeps the number": ("claim_row", "attempt = attempt + 1", "attempt = max(attempt, 1)"),
    "a position counts all models": ("PLACE", "state = 'in_queue' AND model_id = mine.model_id", "state = 'in_queue'"),
    "a position counts those who run": ("PLACE", "WHERE state = 'in_queue' AND", "WHERE"),
}  # fmt: skip


def plant(monkeypatch: pytest.MonkeyPatch, name: str, good: str, bad: str) -> None:
    """Change one statement of the queue; the functions among them answer with it changed."""
    sound = getattr(moves_module, name)
    assert good in (sound if isinstance(sound, str) else sound(2))
    planted = sound.replace(good, bad) if isinstance(sound, str) else lambda *given: sound(*given).replace(good, bad)
    for module in (moves_module, queue_module):
        monkeypatch.setattr(module, name, planted, raising=False)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_caught(bench: Bench, monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    plant(monkeypatch, *DEFECTS[defect])

    with pytest.raises((AssertionError, LeaseLost, *REFUSED, pytest.fail.Exception)):
        walks(bench, FEW)
