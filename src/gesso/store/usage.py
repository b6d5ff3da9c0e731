"""What owners take up, and the most that they may."""

import sqlite3
from dataclasses import dataclass

from gesso.core.errors import StorageFull, TooManyOpen
from gesso.store.database import Database

OPEN = "SELECT open FROM usage WHERE owner = ?"
ALL_OPEN = "SELECT coalesce(sum(open), 0) FROM usage"
STORED = "SELECT stored_bytes FROM usage WHERE owner = ?"
AGAIN_S = 10
LATER_S = 3600


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits; 0 means none.

    Attributes:
        open: requests of all owners that have not ended.
        open_per_owner: the same, of one.
        stored_bytes: pictures of one owner: inputs, outputs and uploads that are still kept.
    """

    open: int = 0
    open_per_owner: int = 0
    stored_bytes: int = 0


class Usage:
    """Holds owners to a quota."""

    def __init__(self, database: Database, quota: Quota) -> None:
        self._database = database
        self._quota = quota

    def require_room(self, owner: str, size_bytes: int = 0) -> None:
        """Ask before something is accepted. Several at once may pass the limit by a few; none passes it by many.

        Raises:
            TooManyOpen: when the owner, or the server, has too many open requests.
            StorageFull: when the owner's pictures would take up too much.
        """
        self._database.read(lambda rows: self._judge(rows, owner, size_bytes))

    def _judge(self, rows: sqlite3.Connection, owner: str, size_bytes: int) -> None:
        quota = self._quota
        if quota.open_per_owner and _value(rows.execute(OPEN, (owner,))) >= quota.open_per_owner:
            raise TooManyOpen(seconds=AGAIN_S, limit=quota.open_per_owner)
        if quota.open and _value(rows.execute(ALL_OPEN)) >= quota.open:
            raise TooManyOpen(seconds=AGAIN_S, limit=quota.open)
        if size_bytes and quota.stored_bytes:
            stored = _value(rows.execute(STORED, (owner,)))
            if stored + size_bytes > quota.stored_bytes:
                raise StorageFull(seconds=LATER_S, limit=f"{quota.stored_bytes // 10**6} MB")


def _value(cursor: sqlite3.Cursor) -> int:
    row = cursor.fetchone()
    return row[0] if row else 0
