"""The queue: the requests table and its moves. Each move is one guarded statement in one transaction.

Reading first is forbidden; reading afterwards says why nothing moved. The statements stand in `moves.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gesso.core.errors import LeaseLost, QueueDeadline, ResourceNotFound, WorkerLost
from gesso.core.pictures import Kept, Picture
from gesso.core.request import Failed, Outcome, Request
from gesso.core.states import State
from gesso.store import moves, once
from gesso.store.connection import Connection, Database, Row
from gesso.store.files import insert_files
from gesso.store.once import Once
from gesso.store.rows import MICROSECOND, from_row, id_bytes, outcome_to_json, to_json, to_row

PATIENCE = timedelta(minutes=15)


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

    async def add(self, request: Request, kept: Sequence[Kept] = (), same: Once | None = None) -> str:
        """Keep *request*, and the *kept* pictures that came with it; on return both are durable.

        Args:
            same: stands for this request from now on; where it stands for another already, nothing is kept.

        Returns:
            The id of the request, or of the one that *same* stands for.

        Raises:
            IdempotencyConflict: when the key of *same* was used with another input.
        """

        def move(rows: Connection) -> str:
            known = request.id if same is None else once.keep(rows, request.owner, same, request.id)
            if known != request.id:
                return known
            rows.execute(moves.ADD, to_row(request))
            insert_files(rows, kept, owner=request.owner, request_id=request.id)
            return request.id

        return await self._database.write(move, wakes=True)

    async def earlier(self, owner: str, same: Once) -> str | None:
        """The id of the request that *same* stands for already; raises as `add`."""
        return await self._database.read(lambda rows: once.find(rows, owner, same))

    async def forget_keys(self) -> None:
        """Forget idempotency keys that are a day old."""
        await once.forget(self._database)

    async def tidy(self) -> None:
        """Do what the database wants done every minute or so."""
        await self._database.tidy()

    async def place(self, request_id: str, owner: str | None) -> Place:
        """Where the request of *owner* stands; None for whoever's it is.

        Raises:
            ResourceNotFound: when it is unknown or another owner's.
        """
        key = id_bytes(request_id)
        row = await self._database.read(lambda rows: rows.execute(moves.PLACE, (key,)).fetchone()) if key else None
        if row is None or owner not in (None, row[0]):
            raise ResourceNotFound
        _, state, seq, position = row
        return Place(State(state), position, seq)

    async def length(self, model_id: str) -> int:
        """How many requests of *model_id* wait."""
        return int(await self._database.read(lambda rows: rows.execute(moves.LENGTH, (model_id,)).fetchone()[0]))

    async def get(self, request_id: str, owner: str) -> Request:
        """The request.

        Raises:
            ResourceNotFound: when it is unknown or another owner's.
        """
        key = id_bytes(request_id)
        row = await self._database.read(lambda rows: rows.execute(moves.GET, (key, owner)).fetchone()) if key else None
        if row is None:
            raise ResourceNotFound
        return from_row(row)

    async def next(self, models: Sequence[str], after: str = "") -> Request | None:
        """The request that `claim` would take now, unclaimed: it can still be cancelled, or taken by another."""
        row = await self._next(models, after)
        return None if row is None else from_row(row)

    async def claim(self, models: Sequence[str], *, holder: str, lease: timedelta, after: str = "") -> Request | None:
        """Take the next request of *models*: first those whose lease ended, then by priority and turn.

        Args:
            models: of those whose next requests are alike urgent, the first goes first.
            holder: the name of the claiming process among the waiters.
            after: the owner who was served last, and now comes after the others.
        """
        # Every submit wakes every worker: those who would come away empty-handed must not queue up for the write lock.
        if await self._next(models, after) is None:
            return None
        values = (holder, lease // MICROSECOND, *self._claimable(models, after))
        row = await self._one(moves.claim_row(len(models)), values)
        return None if row is None else from_row(row)

    async def renew(self, request: Request, lease: timedelta) -> None:
        """Hold on to *request* for *lease* from now.

        Raises:
            LeaseLost: when the lease has ended or the request is no longer this attempt's.
        """
        await self._held(moves.RENEW, (lease // MICROSECOND, id_bytes(request.id), request.attempt))

    async def remember(self, request: Request, text: str) -> None:
        """Keep *text* for the next attempt's engine; durable on return.

        Raises:
            LeaseLost: when the request is no longer this attempt's.
        """
        await self._held(moves.REMEMBER, (text, id_bytes(request.id), request.attempt))

    async def finish(
        self, request: Request, outcome: Outcome, kept: Sequence[Kept] = (), *, patient: bool = False
    ) -> None:
        """End *request*; the files of its output become known in the same transaction.

        Args:
            patient: another move is about to come, and may share the commit.

        Raises:
            LeaseLost: when the request is no longer this attempt's.
        """
        values = (outcome_to_json(outcome), id_bytes(request.id), request.attempt)

        def move(rows: Connection) -> Row | None:
            row: Row | None = rows.execute(moves.FINISH, values).fetchone()
            if row is not None:
                insert_files(rows, kept, owner=row["owner"], request_id=request.id)
            return row

        if await self._database.write(move, patient=patient) is None:
            raise LeaseLost

    async def release(self, request: Request) -> None:
        """Hand *request* back unharmed: the attempt does not count against it.

        Raises:
            LeaseLost: when the request is no longer this attempt's.
        """
        await self._held(moves.LET_GO, (True, id_bytes(request.id), request.attempt), wakes=True)

    async def lose(self, request: Request) -> None:
        """Let go of *request* because what ran it died: the attempt counts.

        Raises:
            LeaseLost: when the request is no longer this attempt's.
        """
        await self._held(moves.LET_GO, (False, id_bytes(request.id), request.attempt), wakes=True)

    async def has_expired_leases(self) -> bool:
        """Whether any lease has ended, so that `give_up` may have something to do."""
        return bool(await self._database.read(lambda rows: rows.execute(moves.EXPIRED).fetchone()[0]))

    async def give_up(self) -> int:
        """End the requests that have lost all their holders; how many there were."""
        outcome = outcome_to_json(Failed.because(WorkerLost(attempts=self._attempts)))
        return len(await self._all(moves.GIVE_UP, (outcome, self._attempts)))

    async def expire(self, *, patience: timedelta = PATIENCE) -> int:
        """Cancel what was not started in time, and raise one of low priority that has waited for *patience*.

        Returns:
            How many were cancelled.
        """
        waited = patience // MICROSECOND
        if not await self._database.read(lambda rows: rows.execute(moves.OVERDUE, (waited,)).fetchone()[0]):
            return 0
        await self._database.write(lambda rows: _raise(rows, waited))
        return len(await self._all(moves.EXPIRE, (outcome_to_json(Failed.because(QueueDeadline())),)))

    async def refuse(self, request: Request, outcome: Failed) -> bool:
        """End *request* unrun, because of its pictures; False when it no longer waits for them."""
        return await self._one(moves.REFUSE, (outcome_to_json(outcome), id_bytes(request.id))) is not None

    async def cancel(self, request_id: str, owner: str | None) -> State:
        """Cancel the request of *owner* if it still waits; the state that it is in now. None for whoever's it is.

        Raises:
            ResourceNotFound: when it is unknown or another owner's.
        """
        key = id_bytes(request_id)
        if key is not None and await self._one(moves.CANCEL, (key, owner)) is not None:
            return State.CANCELLED
        return (await self.place(request_id, owner)).state

    async def take_in(self, *, holder: str, limit: int, lease: timedelta, busy: Sequence[str] = ()) -> list[Request]:
        """Requests whose pictures are to be fetched, oldest first; nobody else is given them for *lease*.

        Args:
            busy: owners who have enough under way; none of theirs is taken.
        """
        any_fetchable, take_in = moves.any_fetchable(len(busy)), moves.take_in(len(busy))
        if not await self._database.read(lambda rows: rows.execute(any_fetchable, busy).fetchone()[0]):  # as in `claim`
            return []
        taken = await self._all(take_in, (*busy, holder, lease // MICROSECOND, limit))
        return [from_row(row) for row in sorted(taken, key=lambda row: int(row["seq"]))]

    async def freeze(self, request: Request, pictures: Sequence[Picture], kept: Sequence[Kept]) -> bool:
        """Give *request* its frozen pictures, so that it can be claimed; False when it no longer waits for them."""
        values = (to_json([picture.to_json() for picture in pictures]), id_bytes(request.id))

        def move(rows: Connection) -> Row | None:
            row: Row | None = rows.execute(moves.FREEZE, values).fetchone()
            if row is not None:
                if rows.execute(moves.IS_LATE, (row["seq"],)).fetchone()[0]:
                    _come_late(rows, row["seq"])
                insert_files(rows, kept, owner=row["owner"], request_id=request.id)
            return row

        return await self._database.write(move, wakes=True) is not None

    async def end_leases_of_the_dead(self) -> int:
        """End the leases of processes that are gone, without waiting for them to run out; how many there were."""
        holders = await self._database.read(lambda rows: [row[0] for row in rows.execute(moves.HOLDERS)])
        dead = [name for name in holders if not self._database.wakeups.is_alive(name)]
        ended = [
            await self._all(statement, (name,), wakes=True)
            for name in dead
            for statement in (moves.END_LEASES, moves.END_INTAKE)
        ]
        return sum(map(len, ended))

    async def _next(self, models: Sequence[str], after: str) -> Row | None:
        statement, values = moves.next_row(len(models)), self._claimable(models, after)
        row: Row | None = await self._database.read(lambda rows: rows.execute(statement, values).fetchone())
        return row

    def _claimable(self, models: Sequence[str], after: str) -> tuple[Any, ...]:
        return (*models, self._attempts, *models, after)

    async def _held(self, statement: str, values: Sequence[Any], *, wakes: bool = False) -> None:
        if await self._one(statement, values, wakes=wakes) is None:
            raise LeaseLost

    async def _one(self, statement: str, values: Sequence[Any], *, wakes: bool = False) -> Row | None:
        rows = await self._all(statement, values, wakes=wakes)
        return rows[0] if rows else None

    async def _all(self, statement: str, values: Sequence[Any], *, wakes: bool = False) -> list[Row]:
        return await self._database.write(lambda rows: rows.execute(statement, values).fetchall(), wakes=wakes)


def _raise(rows: Connection, waited_us: int) -> None:
    raised = rows.execute(moves.RAISE, (waited_us,)).fetchone()
    if raised is not None:
        _come_late(rows, raised["seq"])


def _come_late(rows: Connection, seq: int) -> None:
    if rows.execute(moves.CROWD, (seq,)).fetchone()[0] > moves.MOST_MOVED:
        rows.execute(moves.SQUEEZE_IN, (seq,))
        return
    rows.execute(moves.COME_LATE, (seq,))
    rows.execute(moves.MAKE_ROOM, (seq,))
