"""The outbox: deliveries of webhooks and how far they are. A trigger writes them; here they are claimed and settled.

A claim puts a delivery's next attempt after the one that now begins: should its sender die, it is due again by itself.
Every attempt has a number, and only the last one may say what became of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gesso.core.errors import ResourceNotFound
from gesso.store.connection import Connection, Database
from gesso.store.rows import MICROSECOND, from_us, id_bytes, id_text, maybe_from_us

PAGE = 512
OVERLAP_US = 24 * 60 * 60 * 1_000_000
STATES = ("waiting", "delivered", "stopped", "given_up")
ANY_DUE = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE state = 'waiting' AND next_at <= now_us())"
# Two index probes a lane, however much waits in it: a receiver that is down must not make this slow.
FRONTS = """WITH RECURSIVE lanes (lane, nth) AS (
        SELECT min(lane), 1 FROM deliveries WHERE state = 'waiting' AND lane > ?
        UNION ALL
        SELECT (SELECT min(lane) FROM deliveries WHERE state = 'waiting' AND lane > lanes.lane), nth + 1
            FROM lanes WHERE lane IS NOT NULL AND nth < ?)
    SELECT lane, (SELECT seq FROM deliveries WHERE state = 'waiting' AND lane = lanes.lane AND next_at <= now_us()
        ORDER BY next_at, seq LIMIT 1) FROM lanes WHERE lane IS NOT NULL"""
CLAIM = """UPDATE deliveries SET attempts = attempts + 1, next_at = now_us() + ?
    WHERE seq = ? AND state = 'waiting' AND next_at <= now_us() RETURNING *"""
KEEP_BODY = "UPDATE deliveries SET body = coalesce(body, ?) WHERE seq = ? RETURNING body"
SETTLE = """UPDATE deliveries SET state = ?, last_status = ?, last_error = ?, failures = failures + ?,
        next_at = now_us() + ?, delivered_at = CASE WHEN ? THEN now_us() END
    WHERE seq = ? AND attempts = ? AND state = 'waiting' RETURNING request"""
STOP_OTHERS = "UPDATE deliveries SET state = 'stopped' WHERE request = ? AND state = 'waiting'"
ALL = "SELECT * FROM deliveries ORDER BY seq DESC LIMIT ?"
IN_STATE = "SELECT * FROM deliveries WHERE state = ? ORDER BY seq DESC LIMIT ?"
OF_REQUEST = "SELECT * FROM deliveries WHERE request = ? ORDER BY seq DESC LIMIT ?"
AGAIN = """UPDATE deliveries SET state = 'waiting', failures = 0, next_at = 0, delivered_at = NULL
    WHERE id = ? OR request = ? RETURNING id"""
GENERATION = "SELECT generation, rotated_at > now_us() - ? FROM rotations WHERE owner = ?"
ROTATE = """INSERT INTO rotations VALUES (?, 1, now_us()) ON CONFLICT (owner) DO UPDATE SET
    generation = rotations.generation + 1, rotated_at = excluded.rotated_at"""


@dataclass(frozen=True, slots=True)
class Front:
    """The delivery that comes next in its lane; None where nothing is due in it."""

    lane: str
    seq: int | None

    @property
    def host(self) -> str:
        """Where it goes, with its port."""
        return _host(self.lane)

    @property
    def owner(self) -> str:
        """Whose request it tells of."""
        return self.lane.partition(" ")[2]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook to be sent, or sent.

    Attributes:
        id: the `webhook-id`, the same for every attempt.
        event: `in_progress` or `finished`.
        body: as it was first sent; None before that.
        state: waiting, delivered, stopped (the receiver wants no more), given_up (after the last failure).
        attempts: how many were begun.
        failures: how many of them failed since the delivery began, or began anew.
        next_at: of a waiting one; in the past when it is due.
        last_status: of HTTP, where the receiver answered.
        last_error: what went wrong, in a word; None after a success.
    """

    seq: int
    id: str
    request_id: str
    owner: str
    event: str
    url: str
    lane: str
    body: bytes | None
    state: str
    attempts: int
    failures: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None

    @property
    def host(self) -> str:
        """Where it goes, with its port."""
        return _host(self.lane)


class Outbox:
    """The deliveries of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fronts(self, after: str) -> list[Front]:
        """The next delivery of each of up to 512 lanes *after* the named one; none when nothing at all is due."""

        def query(rows: Connection) -> list[Front]:
            if not rows.execute(ANY_DUE).fetchone()[0]:
                return []
            return [Front(lane, seq) for lane, seq in rows.execute(FRONTS, (after, PAGE)).fetchall()]

        return await self._database.read(query)

    async def claim(self, seqs: Sequence[int], *, lease: timedelta) -> list[Delivery]:
        """Begin an attempt of each that is still due; nobody else is given it for *lease*."""

        def move(rows: Connection) -> list[Delivery]:
            # In one order, so that two senders cannot wait for each other.
            claimed = [rows.execute(CLAIM, (lease // MICROSECOND, seq)).fetchone() for seq in sorted(seqs)]
            return [_delivery(row) for row in claimed if row is not None]

        return await self._database.write(move, patient=True) if seqs else []

    async def keep_body(self, delivery: Delivery, body: bytes) -> bytes:
        """Keep what is sent, durably; the body to send, which is another's when that was kept first.

        Raises:
            ResourceNotFound: when the delivery has gone with its request.
        """
        values = (body.decode(), delivery.seq)
        row = await self._database.write(lambda rows: rows.execute(KEEP_BODY, values).fetchone(), patient=True)
        if row is None:
            raise ResourceNotFound
        return str(row[0]).encode()

    async def deliver(self, delivery: Delivery, status: int) -> None:
        """The attempt succeeded; nothing happens when it is no longer the last one."""
        await self._settle(delivery, "delivered", status, None)

    async def stop(self, delivery: Delivery, status: int) -> None:
        """The receiver wants no more: nothing of this request is sent to it from now on."""
        await self._settle(delivery, "stopped", status, None)

    async def fail(self, delivery: Delivery, status: int | None, error: str, *, pause: timedelta | None) -> None:
        """The attempt failed.

        Args:
            pause: until the next one; None when there is to be none.
        """
        state = "given_up" if pause is None else "waiting"
        await self._settle(delivery, state, status, error, pause or timedelta())

    async def list(
        self, *, request_id: str | None = None, state: str | None = None, limit: int = 100
    ) -> Sequence[Delivery]:
        """The latest deliveries, newest first: of one request, or in one state, or both, or all."""
        statement, values = _choice(request_id, state)
        rows = await self._database.read(lambda rows: rows.execute(statement, (*values, limit)).fetchall())
        return [_delivery(row) for row in rows if state in (None, row["state"])]

    async def replay(self, *, delivery_id: str | None = None, request_id: str | None = None) -> Sequence[str]:
        """Begin the named delivery, or all of a request, anew: the same id and body, the whole schedule.

        Returns:
            The ids of those that there were.
        """
        values = (delivery_id, _request_key(request_id) if request_id is not None else None)
        rows = await self._database.write(lambda rows: rows.execute(AGAIN, values).fetchall())
        return [row[0] for row in rows]

    async def generations(self, owner: str) -> Sequence[int]:
        """Which of the owner's secrets are good, the newest first: two for a day after a rotation."""
        row = await self._database.read(lambda rows: rows.execute(GENERATION, (OVERLAP_US, owner)).fetchone())
        if row is None:
            return (0,)
        return (row[0], row[0] - 1) if row[1] else (row[0],)

    async def rotate(self, owner: str) -> None:
        """Let the owner have a new secret; the one before it stays good for a day."""
        await self._database.write(lambda rows: rows.execute(ROTATE, (owner,)))

    async def _settle(
        self, delivery: Delivery, state: str, status: int | None, error: str | None, pause: timedelta = timedelta()
    ) -> None:
        values = (state, status, error, int(error is not None), pause // MICROSECOND, state == "delivered",
                  delivery.seq, delivery.attempts)  # fmt: skip

        def move(rows: Connection) -> None:
            row = rows.execute(SETTLE, values).fetchone()
            if row is not None and state == "stopped":
                rows.execute(STOP_OTHERS, (row[0],))

        await self._database.write(move, patient=True)


def _host(lane: str) -> str:
    return lane.partition(" ")[0]


def _choice(request_id: str | None, state: str | None) -> tuple[str, tuple[Any, ...]]:
    if request_id is not None:
        return OF_REQUEST, (_request_key(request_id),)
    return (ALL, ()) if state is None else (IN_STATE, (state,))


def _request_key(request_id: str) -> bytes:
    """As `id_bytes`; a text that is no id of ours is that of no request."""
    return id_bytes(request_id) or b""


def _delivery(row: Any) -> Delivery:
    waits, body = row["state"] == "waiting", row["body"]
    return Delivery(
        row["seq"], row["id"], id_text(row["request"]), row["owner"], row["event"], row["url"], row["lane"],
        body.encode() if body is not None else None, row["state"], row["attempts"], row["failures"],
        from_us(row["next_at"]) if waits else None, row["last_status"], row["last_error"],
        from_us(row["created_at"]), maybe_from_us(row["delivered_at"]),
    )  # fmt: skip
