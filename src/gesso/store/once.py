"""Idempotency keys: the same key and input, sent again within a day, stand for the same request."""

from dataclasses import dataclass

from gesso.core.errors import IdempotencyConflict
from gesso.store.connection import Connection, Database
from gesso.store.rows import id_bytes, id_text

DAY_US = 24 * 60 * 60 * 1_000_000
FIND = f"SELECT fingerprint, request FROM once WHERE owner = ? AND key = ? AND created_at > now_us() - {DAY_US}"
# Written before anything is read: of several at once one writes, and the others wait here until its row can be found.
KEEP = f"""INSERT INTO once VALUES (?, ?, ?, ?, now_us()) ON CONFLICT (owner, key) DO UPDATE SET
    fingerprint = excluded.fingerprint, request = excluded.request, created_at = excluded.created_at
    WHERE once.created_at <= now_us() - {DAY_US} RETURNING key"""
FORGET = f"DELETE FROM once WHERE created_at <= now_us() - {DAY_US}"


@dataclass(frozen=True, slots=True)
class Once:
    """What makes a submit the same as an earlier one.

    Attributes:
        key: the client's.
        fingerprint: SHA-256 of the model and the accepted input, before defaults are filled in.
    """

    key: str
    fingerprint: bytes


def find(rows: Connection, owner: str, once: Once) -> str | None:
    """The id of the request that *once* stands for already.

    Raises:
        IdempotencyConflict: when its key was used with another input.
    """
    row = rows.execute(FIND, (owner, once.key)).fetchone()
    if row is None:
        return None
    if row["fingerprint"] != once.fingerprint:
        raise IdempotencyConflict
    return id_text(row["request"])


def keep(rows: Connection, owner: str, once: Once, request_id: str) -> str:
    """Part of a move: from now on *once* stands for this request, unless it stands for another already.

    Returns:
        The id of the request that it stands for.

    Raises:
        IdempotencyConflict: as `find`.
    """
    values = (owner, once.key, once.fingerprint, id_bytes(request_id))
    while rows.execute(KEEP, values).fetchone() is None:
        if (earlier := find(rows, owner, once)) is not None:  # else its day ended between the two statements
            return earlier
    return request_id


async def forget(database: Database) -> None:
    """Forget the keys of yesterday."""
    await database.write(lambda rows: rows.execute(FORGET))
