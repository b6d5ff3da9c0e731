"""The queue: the requests table and its moves. Each move is one guarded statement in one transaction.

The states that a move starts from are taken from `core.states`; the table's own CHECKs refuse the rest. Reading first
is forbidden; reading afterwards says why nothing moved.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gesso.core.errors import LeaseLost, ResourceNotFound, WorkerLost
from gesso.core.pictures import Kept, Picture
from gesso.core.request import Failed, Outcome, Request
from gesso.core.states import Event, State, sources
from gesso.store.database import Database
from gesso.store.files import insert_files
from gesso.store.rows import MICROSECOND, from_row, id_bytes, outcome_to_json, to_json, to_row

BLOCK_BITS = 10
Row = sqlite3.Row


def _from(event: Event) -> str:
    """The guard of a move: `state IN (…)`."""
    return "state IN (" + ", ".join(f"'{state}'" for state in sources(event)) + ")"


ADD = """INSERT INTO requests (id, owner, model_id, language, input, pictures, ready, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
GET = "SELECT * FROM requests WHERE id = ? AND owner = ?"
ENDED = "finished_at = max(now_us(), created_at), lease_until = NULL"
# A lease that ends later than any lease can last was given before the clock jumped back: it has ended too.
LEASE_ENDED = "(lease_until <= now_us() OR lease_until > now_us() + 86400000000)"
INTAKE_ENDED = LEASE_ENDED.replace("lease_until", "intake_until")
# One statement, because every statement takes and gives back SQLite's locks, which costs as much as the reading.
PLACE = f"""SELECT owner, state, seq, CASE state WHEN 'in_queue' THEN
    (SELECT coalesce(sum(count), 0) FROM waiting WHERE model_id = mine.model_id AND priority < mine.priority)
  + (SELECT coalesce(sum(count), 0) FROM waiting
        WHERE model_id = mine.model_id AND priority = mine.priority AND block < (mine.seq >> {BLOCK_BITS}))
  + (SELECT count(*) FROM requests WHERE state = 'in_queue' AND model_id = mine.model_id AND ready IN (0, 1)
        AND priority = mine.priority AND seq >= (mine.seq >> {BLOCK_BITS} << {BLOCK_BITS}) AND seq < mine.seq)
    END FROM requests AS mine WHERE id = ?"""
LENGTH = "SELECT coalesce(sum(count), 0) FROM waiting WHERE model_id = ?"
RENEW = f"""UPDATE requests SET lease_until = now_us() + ?
    WHERE id = ? AND attempt = ? AND state = 'in_progress' AND NOT {LEASE_ENDED} RETURNING seq"""
REMEMBER = """UPDATE requests SET remembered = ?
    WHERE id = ? AND attempt = ? AND state = 'in_progress' RETURNING seq"""
FINISH = f"""UPDATE requests SET state = 'completed', outcome = ?, {ENDED}
    WHERE id = ? AND attempt = ? AND {_from(Event.FINISH)} RETURNING owner"""
# The lease ends now. Handed back, the attempt does not count as lost; else the next claim or `give_up` counts it.
LET_GO = """UPDATE requests SET lease_until = now_us(), handed_back = ?
    WHERE id = ? AND attempt = ? AND state = 'in_progress' RETURNING seq"""
GIVE_UP = f"""UPDATE requests SET state = 'completed', outcome = ?, losses = losses + 1, {ENDED}
    WHERE {_from(Event.GIVE_UP)} AND {LEASE_ENDED} AND handed_back = 0 AND losses + 1 >= ? RETURNING seq"""
REFUSE = f"""UPDATE requests SET state = 'completed', outcome = ?, {ENDED}
    WHERE id = ? AND {_from(Event.REFUSE)} AND ready = 0 RETURNING seq"""
CANCEL = f"""UPDATE requests SET state = 'cancelled', {ENDED}
    WHERE id = ? AND owner = ? AND {_from(Event.CANCEL)} RETURNING seq"""
FETCHABLE = f"state = 'in_queue' AND ready = 0 AND (intake_until IS NULL OR {INTAKE_ENDED})"
TAKE_IN = f"""UPDATE requests SET holder = ?, intake_until = now_us() + ? WHERE seq IN (
        SELECT seq FROM requests WHERE {FETCHABLE} ORDER BY seq LIMIT ?) RETURNING *"""
ANY_FETCHABLE = f"SELECT EXISTS (SELECT 1 FROM requests WHERE {FETCHABLE})"
FREEZE = """UPDATE requests SET pictures = ?, ready = 1, intake_until = NULL
    WHERE id = ? AND state = 'in_queue' AND ready = 0 RETURNING owner"""
HOLDERS = """SELECT holder FROM requests WHERE state = 'in_progress' AND lease_until > now_us()
    UNION SELECT holder FROM requests WHERE state = 'in_queue' AND ready = 0 AND intake_until > now_us()"""
EXPIRED = f"SELECT EXISTS (SELECT 1 FROM requests WHERE state = 'in_progress' AND {LEASE_ENDED})"
END_LEASES = "UPDATE requests SET lease_until = now_us() WHERE state = 'in_progress' AND holder = ? RETURNING seq"
END_INTAKE = """UPDATE requests SET intake_until = NULL WHERE state = 'in_queue' AND ready = 0 AND holder = ?
    RETURNING seq"""


@dataclass(frozen=True, slots=True)
class Place:
    """What a poll needs to know of a request.

    Attributes:
        position: how many requests of its model will start before it, 0 is next; None when it does not wait.
        seq: its place in the order of submits.
    """

    state: State
    position: int | None
    seq: int


class Queue:
    """The requests of one database.

    Args:
        attempts: how many holders a request may lose before it is given up.
    """

    def __init__(self, database: Database, *, attempts: int = 3) -> None:
        self._database = database
        self._attempts = attempts

    async def add(self, request: Request, kept: Sequence[Kept] = ()) -> None:
        """Keep *request*, and the *kept* pictures that came with it; on return both are durable."""

        def move(rows: sqlite3.Connection) -> None:
            rows.execute(ADD, to_row(request))
            insert_files(rows, kept, owner=request.owner, request_id=request.id)

        await self._database.write(move, wakes=True)

    def place(self, request_id: str, owner: str) -> Place:
        """Where the request stands.

        Raises:
            ResourceNotFound: when it is unknown or another owner's.
        """
        key = id_bytes(request_id)
        row = self._database.read(lambda rows: rows.execute(PLACE, (key,)).fetchone()) if key else None
        if row is None or row[0] != owner:
            raise ResourceNotFound
        _, state, seq, position = row
        return Place(State(state), position, seq)

    def length(self, model_id: str) -> int:
        """How many requests of *model_id* wait."""
        return int(self._database.read(lambda rows: rows.execute(LENGTH, (model_id,)).fetchone()[0]))

    def get(self, request_id: str, owner: str) -> Request:
        """The request.

        Raises:
            ResourceNotFound: when it is unknown or another owner's.
        """
        key = id_bytes(request_id)
        row = self._database.read(lambda rows: rows.execute(GET, (key, owner)).fetchone()) if key else None
        if row is None:
            raise ResourceNotFound
        return from_row(row)

    def next(self, models: Sequence[str]) -> Request | None:
        """The request that `claim` would take now, unclaimed: it can still be cancelled, or taken by another."""
        row = self._next(models)
        return None if row is None else from_row(row)

    async def claim(self, models: Sequence[str], *, holder: str, lease: timedelta) -> Request | None:
        """Take the next request of *models*: first those whose lease ended, then by priority, then the oldest.

        Args:
            holder: the name of the claiming process among the waiters.
        """
        # Every submit wakes every worker: those who would come away empty-handed must not queue up for the write lock.
        if self._next(models) is None:
            return None
        values = (holder, lease // MICROSECOND, *self._claimable(models))
        row = await self._one(_claim(len(models)), values)
        return None if row is None else from_row(row)

    async def renew(self, request: Request, lease: timedelta) -> None:
        """Hold on to *request* for *lease* from now.

        Raises:
            LeaseLost: when the lease has ended or the request is no longer this attempt's.
        """
        await self._held(RENEW, (lease // MICROSECOND, id_bytes(request.id), request.attempt))

    async def remember(self, request: Request, text: str) -> None:
        """Keep *text* for the next attempt's engine; durable on return.

        Raises:
            LeaseLost: when the request is no longer this attempt's.
        """
        await self._held(REMEMBER, (text, id_bytes(request.id), request.attempt))

    async def finish(self, request: Request, outcome: Outcome, kept: Sequence[Kept] = ()) -> None:
        """End *request*; the files of its output become known in the same transaction.

        Raises:
            LeaseLost: when the request is no longer this attempt's.
        """
        values = (outcome_to_json(outcome), id_bytes(request.id), request.attempt)

        def move(rows: sqlite3.Connection) -> Row | None:
            row: Row | None = rows.execute(FINISH, values).fetchone()
            if row is not None:
                insert_files(rows, kept, owner=row["owner"], request_id=request.id)
            return row

        if await self._database.write(move) is None:
            raise LeaseLost

    async def release(self, request: Request) -> None:
        """Hand *request* back unharmed: the attempt does not count against it.

        Raises:
            LeaseLost: when the request is no longer this attempt's.
        """
        await self._held(LET_GO, (True, id_bytes(request.id), request.attempt), wakes=True)

    async def lose(self, request: Request) -> None:
        """Let go of *request* because what ran it died: the attempt counts.

        Raises:
            LeaseLost: when the request is no longer this attempt's.
        """
        await self._held(LET_GO, (False, id_bytes(request.id), request.attempt), wakes=True)

    def has_expired_leases(self) -> bool:
        """Whether any lease has ended, so that `give_up` may have something to do."""
        return bool(self._database.read(lambda rows: rows.execute(EXPIRED).fetchone()[0]))

    async def give_up(self) -> int:
        """End the requests that have lost all their holders; how many there were."""
        outcome = outcome_to_json(Failed.because(WorkerLost(attempts=self._attempts)))
        return len(await self._all(GIVE_UP, (outcome, self._attempts)))

    async def refuse(self, request: Request, outcome: Failed) -> bool:
        """End *request* unrun, because of its pictures; False when it no longer waits for them."""
        return await self._one(REFUSE, (outcome_to_json(outcome), id_bytes(request.id))) is not None

    async def cancel(self, request_id: str, owner: str) -> State:
        """Cancel the request if it still waits; the state that it is in now.

        Raises:
            ResourceNotFound: when it is unknown or another owner's.
        """
        key = id_bytes(request_id)
        if key is not None and await self._one(CANCEL, (key, owner)) is not None:
            return State.CANCELLED
        return self.place(request_id, owner).state

    async def take_in(self, *, holder: str, limit: int, lease: timedelta) -> list[Request]:
        """Requests whose pictures are to be fetched, oldest first; nobody else is given them for *lease*."""
        if not self._database.read(lambda rows: rows.execute(ANY_FETCHABLE).fetchone()[0]):  # as in `claim`
            return []
        return [from_row(row) for row in await self._all(TAKE_IN, (holder, lease // MICROSECOND, limit))]

    async def freeze(self, request: Request, pictures: Sequence[Picture], kept: Sequence[Kept]) -> bool:
        """Give *request* its frozen pictures, so that it can be claimed; False when it no longer waits for them."""
        values = (to_json([picture.to_json() for picture in pictures]), id_bytes(request.id))

        def move(rows: sqlite3.Connection) -> Row | None:
            row: Row | None = rows.execute(FREEZE, values).fetchone()
            if row is not None:
                insert_files(rows, kept, owner=row["owner"], request_id=request.id)
            return row

        return await self._database.write(move, wakes=True) is not None

    async def end_leases_of_the_dead(self) -> int:
        """End the leases of processes that are gone, without waiting for them to run out; how many there were."""
        holders = self._database.read(lambda rows: [row[0] for row in rows.execute(HOLDERS)])
        dead = [name for name in holders if not self._database.wakeups.is_alive(name)]
        ended = [
            await self._all(statement, (name,), wakes=True) for name in dead for statement in (END_LEASES, END_INTAKE)
        ]
        return sum(map(len, ended))

    def _next(self, models: Sequence[str]) -> Row | None:
        statement, values = _next_row(len(models)), self._claimable(models)
        row: Row | None = self._database.read(lambda rows: rows.execute(statement, values).fetchone())
        return row

    def _claimable(self, models: Sequence[str]) -> tuple[Any, ...]:
        return (*models, self._attempts, *models)

    async def _held(self, statement: str, values: Sequence[Any], *, wakes: bool = False) -> None:
        if await self._one(statement, values, wakes=wakes) is None:
            raise LeaseLost

    async def _one(self, statement: str, values: Sequence[Any], *, wakes: bool = False) -> Row | None:
        rows = await self._all(statement, values, wakes=wakes)
        return rows[0] if rows else None

    async def _all(self, statement: str, values: Sequence[Any], *, wakes: bool = False) -> list[Row]:
        return await self._database.write(lambda rows: rows.execute(statement, values).fetchall(), wakes=wakes)


def _candidate(models: int) -> str:
    """The `seq` that comes next: an ended lease, else the front of the queue. One index probe a model."""
    fronts = " UNION ALL ".join(
        ["""SELECT * FROM (SELECT seq, priority FROM requests WHERE state = 'in_queue' AND model_id = ? AND ready = 1
            ORDER BY priority, seq LIMIT 1)"""]
        * models
    )  # fmt: skip
    marks = ", ".join("?" * models)
    return f"""coalesce(
        (SELECT seq FROM requests WHERE state = 'in_progress' AND {LEASE_ENDED} AND model_id IN ({marks})
            AND losses + 1 - handed_back < ? ORDER BY lease_until LIMIT 1),
        (SELECT seq FROM ({fronts}) ORDER BY priority, seq LIMIT 1))"""


def _next_row(models: int) -> str:
    return f"SELECT * FROM requests WHERE seq = {_candidate(models)}"


def _claim(models: int) -> str:
    return f"""UPDATE requests SET state = 'in_progress', attempt = attempt + 1,
            losses = losses + (state = 'in_progress' AND handed_back = 0), handed_back = 0,
            holder = ?, lease_until = now_us() + ?, started_at = coalesce(started_at, now_us())
        WHERE seq = {_candidate(models)} RETURNING *"""
