"""The queue under every order of events that a seed reaches: API, intakes, workers and upkeep on one virtual clock.

Each party is the house's own code, which pauses before every read and every write; the dice say whose turn it is. So
what several processes may do between two statements of one is played too. After every turn the table is held against
the invariants, whoever wrote. It runs on whatever `Ground` it is given: SQLite here, PostgreSQL beside it.
"""

import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from gesso.core.errors import IdempotencyConflict, LeaseLost
from gesso.core.pictures import Kept, Picture
from gesso.core.request import Failed, Options, Priority, Request, Succeeded
from gesso.core.states import LONGEST_LEASE, State
from gesso.store.once import Once
from gesso.store.queue import Queue
from gesso.store.rows import MICROSECOND

T = TypeVar("T")
MODELS = ("a/one", "a/two")
OWNERS = ("alice", "bob")
ATTEMPTS = 3
LEASE = timedelta(seconds=30)
INTAKE_LEASE = timedelta(seconds=5)
SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
TURNS, MOST = 150, 8
WANTED = (Picture("image_urls", 0, "https://images.example/1.png"),)
HISTORY = re.compile(r"q(x|f|p+(c|f)?)?")
FINAL = (State.COMPLETED, State.CANCELLED)
COLUMNS = """seq, id, owner, model_id, priority, state, pictures, ready, attempt, losses, handed_back, lease_until,
    start_by, finished_at, outcome, turn, webhook"""
ROWS = f"SELECT {COLUMNS} FROM requests ORDER BY seq"
TOLD = "SELECT request, count(*) FROM deliveries WHERE event = 'finished' GROUP BY request"
Move = Callable[[Any], T]


class Broken(AssertionError):
    """An invariant does not hold; its number comes first."""


class Ground(Protocol):
    """A database that is asked without a pause, and whose clock is ours.

    Attributes:
        refusals: what it raises when the schema refuses a row.
    """

    refusals: tuple[type[Exception], ...]

    def read(self, query: Move[T]) -> T: ...
    def write(self, move: Move[T]) -> T: ...
    def set_clock(self, now_us: int) -> None: ...
    def clear(self) -> None: ...


class _Pause:
    """Awaited, it lets somebody else have a turn."""

    def __await__(self) -> Generator[None, None, None]:
        yield


PAUSE = _Pause()


class InTurns:
    """The database as a party sees it: every read and every write waits for its turn."""

    reads_at_once = False

    def __init__(self, ground: Ground, living: set[str]) -> None:
        self._ground = ground
        self._living = living

    @property
    def wakeups(self) -> "InTurns":
        return self

    def is_alive(self, name: str) -> bool:
        """A killed party is known to be dead at once, or never: both happen."""
        return name in self._living or name.endswith("far")

    async def read(self, query: Move[T]) -> T:
        await PAUSE
        return self._ground.read(query)

    async def write(self, move: Move[T], **_: bool) -> T:
        await PAUSE
        return self._ground.write(move)


@dataclass
class Seen:
    """What the oracle has seen of a request."""

    history: str = "q"
    answers: set[State] = field(default_factory=set)
    handed_back: int = 0  # the last attempt that was handed back unharmed
    priority: int = 1  # as it was asked for
    patience: int | None = None  # how many of one other owner may still go before it; None: not to be told
    overtaken: Counter[str] = field(default_factory=Counter)


Row = dict[str, Any]
Life = Coroutine[None, None, None]


class World:
    """One schedule: the parties, the dice, and what the oracle believes."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self.dice = random.Random(seed)
        self.ground = ground
        self.now = 1_800_000_000 * SECOND
        self.living: set[str] = set()
        self.queue = Queue(InTurns(ground, self.living), attempts=ATTEMPTS)  # type: ignore[arg-type]
        self.seen: dict[bytes, Seen] = {}
        self.keys: dict[tuple[str, str], tuple[str, int]] = {}
        self.before: dict[bytes, Row] = {}
        self.fetches = self.names = 0
        self.parties: list[tuple[Callable[[str], Life], str, Life]] = []
        ground.clear()
        ground.set_clock(self.now)
        for live in (self.client, self.client, self.intake, self.intake, *[self.worker] * 3, self.upkeep):
            self.begin(live)

    # ---- the parties
    def begin(self, live: Callable[[str], Life]) -> None:
        self.names += 1
        name = f"{self.names}{'far' if self.dice.random() < 0.3 else ''}"
        self.living.add(name)
        self.parties.append((live, name, live(name)))

    async def client(self, _: str) -> None:
        while True:
            await PAUSE
            known = list(self.seen)
            if len(known) < MOST and self.dice.random() < 0.7:
                await self.submit()
            elif known:
                await self.cancel(self.dice.choice(known))

    async def submit(self) -> None:
        owner, has_key = self.dice.choice(OWNERS), self.dice.random() < 0.5
        key, fingerprint = self.dice.choice("xy"), self.dice.choice([b"1" * 32] * 4 + [b"2" * 32])
        options = Options(
            priority=self.dice.choice([Priority.NORMAL, Priority.NORMAL, Priority.HIGH, Priority.LOW]),
            start_within=self.dice.choice([None, None, timedelta(seconds=40)]),
            webhook=self.dice.choice([None, "https://hooks.example/1"]),
        )
        request = Request.new(
            owner=owner, model_id=self.dice.choice(MODELS), input={}, options=options,
            at=datetime.fromtimestamp(self.now / SECOND, UTC), pictures=self.dice.choice([(), WANTED]),
        )  # fmt: skip
        try:
            kept_as = await self.queue.add(request, same=Once(key, fingerprint) if has_key else None)
        except IdempotencyConflict:
            return
        if has_key:
            first, at = self.keys.get((owner, key), (kept_as, self.now))
            if self.now - at >= DAY:  # the clock has jumped: the key may stand for another by now
                first, at = kept_as, self.now
            require(first == kept_as, "I05 one key stands for two requests", first, kept_as)
            require(bytes.fromhex(kept_as.replace("-", "")) in self.look(), "I05 stands for a request that is not kept")
            self.keys[owner, key] = first, at

    async def cancel(self, id: bytes) -> None:
        row = self.before[id]
        state = await self.queue.cancel(_text(id), row["owner"])
        self.seen[id].answers.add(state)
        now = self.look()[id]["state"]
        require(now == state or (state != State.CANCELLED and now != State.CANCELLED), "I11 the answer is wrong", state)

    async def intake(self, name: str) -> None:
        while True:
            await PAUSE
            for request in await self.queue.take_in(holder=name, limit=self.dice.choice([1, 2]), lease=INTAKE_LEASE):
                self.fetches += 1
                got = f"{self.fetches:032x}"
                for _ in range(self.dice.randrange(4)):
                    await PAUSE
                if self.dice.random() < 0.8:
                    file = Kept(got, "input", "1.png", "image/png", 9, "ab" * 32)
                    await self.queue.freeze(request, [WANTED[0].frozen(file)], [file])
                else:
                    await self.queue.refuse(request, Failed(422001, "InputRejected"))

    async def worker(self, name: str) -> None:
        while True:
            await PAUSE
            claimed = await self.queue.claim(MODELS, holder=name, lease=LEASE)
            if claimed is not None:
                await self.run(claimed)

    async def run(self, request: Request) -> None:
        """Run it; whoever is told that the lease is lost stops, and sometimes does not."""
        id = bytes.fromhex(request.id.replace("-", ""))
        require(self.look()[id]["attempt"] == request.attempt, "I08 claimed with another's number")
        for _ in range(self.dice.randrange(5)):
            await PAUSE
            renews, careless = self.dice.random() < 0.4, self.dice.random() < 0.5
            if renews and not await self.holds(self.queue.renew(request, LEASE), id, request) and not careless:
                return
        await self.end(request, id, self.dice.choice(["finish"] * 5 + ["fail", "release", "lose"]))

    async def end(self, request: Request, id: bytes, how: str) -> None:
        succeeded = Succeeded((), {"attempt": request.attempt})
        match how:
            case "finish":
                await self.holds(self.queue.finish(request, succeeded), id, request)
            case "fail":
                await self.holds(self.queue.finish(request, Failed(502001, "EngineFailed")), id, request)
            case "lose":
                if await self.holds(self.queue.lose(request), id, request):
                    self.seen[id].handed_back = 0
            case "release":
                if await self.holds(self.queue.release(request), id, request):
                    self.seen[id].handed_back = request.attempt
                    if self.dice.random() < 0.3:  # its engine ends all the same
                        await self.holds(self.queue.finish(request, succeeded), id, request)

    async def holds(self, move: Awaitable[None], id: bytes, request: Request) -> bool:
        """Whether the move was let through; then it must have been this attempt's to make."""
        try:
            await move
        except LeaseLost:
            return False
        require(self.look()[id]["attempt"] == request.attempt, "I08 a stale attempt was let through", request.attempt)
        return True

    async def upkeep(self, _: str) -> None:
        while True:
            await PAUSE
            await self.queue.end_leases_of_the_dead()
            if await self.queue.has_expired_leases():
                await self.queue.give_up()
            await self.queue.expire(patience=timedelta(minutes=5))

    # ---- the scheduler
    def turn(self) -> None:
        """One party's next step; now and then the clock goes, jumps, or a party is killed and another begun."""
        chance = self.dice.random()
        if chance < 0.25:
            self.pass_by(self.dice.choice([1, 1, 3, 12, 31]) * SECOND)
        elif chance < 0.255:
            self.pass_by(self.dice.choice([-HOUR, DAY]))
        number = self.dice.randrange(len(self.parties))
        live, name, life = self.parties[number]
        if chance > 0.985 and live != self.client:  # a client that goes away changes nothing
            life.close()
            self.living.discard(name)
            del self.parties[number]
            self.begin(live)
            return
        life.send(None)
        self.check()

    def pass_by(self, time_us: int) -> None:
        self.now += time_us
        self.ground.set_clock(self.now)

    def play(self) -> None:
        """The schedule, and then whether everything comes to an end."""
        try:
            for _ in range(TURNS):
                self.turn()
            self.everything_ends()
        finally:
            for _, _, life in self.parties:
                life.close()

    def everything_ends(self) -> None:
        """I9: all parties die, others come, and every request reaches its end."""
        for _, name, life in self.parties:
            life.close()
            self.living.discard(name)
        self.parties.clear()
        for live in (self.intake, self.worker, self.upkeep):
            self.begin(live)
        for step in range(TURNS * 14):
            if step % 40 == 0:
                self.pass_by(12 * SECOND)
            self.dice.choice(self.parties)[2].send(None)
            self.check()
            if all(row["state"] in FINAL for row in self.before.values()):
                return
        raise Broken("I09 stuck", [row for row in self.before.values() if row["state"] not in FINAL])

    # ---- the oracle
    def look(self) -> dict[bytes, Row]:
        found = self.ground.read(lambda rows: rows.execute(ROWS).fetchall())
        return {bytes(row["id"]): {name: row[name] for name in row.keys()} for row in found}  # noqa: SIM118

    def check(self) -> None:
        after = self.look()
        if after == self.before:
            return
        require(set(self.before) <= set(after), "I01 a request is gone")
        for id, row in after.items():
            was = self.before.get(id)
            if was is None:
                self.seen[id] = self.first_seen(row)
            elif was != row:
                self.judge(was, row, self.seen[id])
            self.judge_alone(id, row)
        told = dict(self.ground.read(lambda rows: [(bytes(row[0]), row[1]) for row in rows.execute(TOLD)]))
        owed = {id: 1 for id, row in after.items() if row["webhook"] and row["state"] in FINAL}
        require(told == owed, "I14 not one event for each end")
        self.before = after

    def judge(self, was: Row, row: Row, seen: Seen) -> None:
        """Whether a row may have become what it is, whoever wrote it."""
        require(was["state"] not in FINAL, "I04 changed after its end", was["state"], row["state"])
        if was["ready"]:
            require(was["pictures"] == row["pictures"], "I15 frozen pictures changed")
        if row["turn"] != was["turn"] and (row["ready"], row["priority"]) != (was["ready"], was["priority"]):
            self.bear_with(row)
        if row["attempt"] != was["attempt"]:
            self.judge_claim(was, row, seen)
            seen.history += "p"
        elif row["state"] == State.COMPLETED:
            seen.history += "c" if "files" in row["outcome"] else "f"
        elif row["state"] == State.CANCELLED:
            require(was["state"] == State.IN_QUEUE, "I11 cancelled although it ran")
            seen.history += "x"
        elif row["state"] == State.IN_PROGRESS and row["lease_until"] > was["lease_until"]:
            require(not self.has_ended(was) or row["lease_until"] == self.now, "I08 an ended lease was revived")
        require(HISTORY.fullmatch(seen.history) is not None, "I04 a history that cannot be", seen.history)
        require(row["state"] != State.IN_QUEUE or was["state"] == State.IN_QUEUE, "I06 went back to the queue")

    def first_seen(self, row: Row) -> Seen:
        """Owners take turns: one of theirs for each of ours that waits, and the one in front; see also `bear_with`."""
        if not row["ready"] or row["priority"] == Priority.LOW:  # slow, or raised: it has a place of its own
            return Seen(priority=row["priority"])
        rivals = [each for each in self.before.values() if each["state"] == State.IN_QUEUE and self.is_alike(each, row)]
        ours = sum(each["owner"] == row["owner"] for each in rivals)
        return Seen(priority=row["priority"], patience=1 + ours)

    def bear_with(self, late: Row) -> None:
        """Whoever has one that comes late loses two turns with those after it: that of the one, and that in front."""
        for id, other in self.before.items():
            seen = self.seen[id]
            if other["owner"] == late["owner"] and self.is_alike(other, late) and other["seq"] > late["seq"]:
                seen.patience = None if seen.patience is None else seen.patience + 2

    def judge_claim(self, was: Row, row: Row, seen: Seen) -> None:
        require(row["attempt"] == was["attempt"] + 1, "I08 the fence did not grow by one", was, row)
        require(row["state"] == State.IN_PROGRESS and row["lease_until"] > self.now, "I07 claimed without a lease")
        died = was["state"] == State.IN_PROGRESS and seen.handed_back != was["attempt"]
        require(row["losses"] == was["losses"] + died, "I10 losses are miscounted", was["losses"], row["losses"])
        if was["state"] == State.IN_PROGRESS:
            require(self.has_ended(was), "I07 claimed although its lease holds")
            return
        require(was["ready"] == 1, "I15 claimed before its pictures are frozen")
        require(was["start_by"] is None or was["start_by"] > self.now, "I11 started after its queue deadline")
        first = min((each for each in self.before.values() if self.is_rival(each, was)), key=lambda each: each["seq"])
        require(first["seq"] == was["seq"], "I16 out of order", was["seq"], first["seq"])
        if seen.priority == was["priority"]:
            self.judge_turns(was)

    def judge_turns(self, claimed: Row) -> None:
        for id, other in self.before.items():
            seen = self.seen[id]
            if other["owner"] != claimed["owner"] and self.waits(other) and self.is_alike(other, claimed):
                seen.overtaken[claimed["owner"]] += 1
                late = seen.patience is not None and max(seen.overtaken.values()) > seen.patience
                require(not late, "I24 an owner waits for another's flood", seen)

    def judge_alone(self, id: bytes, row: Row) -> None:
        require(row["losses"] <= ATTEMPTS, "I10 tries without an end", row["losses"])
        if row["state"] == State.COMPLETED and '"attempt":' in row["outcome"]:
            require(f'"attempt":{row["attempt"]}}}' in row["outcome"], "I08 a stale outcome was kept", row["outcome"])
        cancelled = State.CANCELLED in self.seen[id].answers
        require(not cancelled or row["state"] == State.CANCELLED, "I11 told that it is cancelled, and it is not")

    def is_rival(self, one: Row, other: Row) -> bool:
        """Whether *one* waits beside *other*, for the same model, with the same priority, for the same owner."""
        return self.waits(one) and self.is_alike(one, other) and one["owner"] == other["owner"]

    def waits(self, row: Row) -> bool:
        is_early = row["start_by"] is None or row["start_by"] > self.now
        return bool(row["state"] == State.IN_QUEUE and row["ready"] and is_early)

    @staticmethod
    def is_alike(one: Row, other: Row) -> bool:
        return bool(one["model_id"] == other["model_id"] and one["priority"] == other["priority"])

    def has_ended(self, row: Row) -> bool:
        return row["lease_until"] <= self.now or row["lease_until"] > self.now + LONGEST_LEASE // MICROSECOND


def require(holds: object, *broken: object) -> None:
    if not holds:
        raise Broken(*broken)


def _text(id: bytes) -> str:
    digits = id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
