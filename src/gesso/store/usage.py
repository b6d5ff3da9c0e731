"""What owners take up, and the most that they may."""

import time
from dataclasses import dataclass
from datetime import timedelta

from gesso.core.errors import RunTimeUsedUp, StorageFull, TooManyOpen
from gesso.store.connection import Connection, Database
from gesso.store.rows import MICROSECOND

DAY_US = timedelta(days=1) // MICROSECOND
TAKEN = "SELECT coalesce(sum(open), 0), coalesce(sum(stored_bytes), 0) FROM usage WHERE owner = ?"
RUN_US = """SELECT coalesce(sum(finished_at - started_at), 0) FROM requests
    WHERE owner = ? AND started_at IS NOT NULL AND finished_at > now_us() - ?"""
OPEN = "SELECT coalesce(sum(open), 0) FROM usage"
REMEMBERED_S = 1.0
AGAIN_S = 10
LATER_S = 3600


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits; 0 means none.

    Attributes:
        open: requests of all owners that have not ended.
        open_per_owner: the same, of one.
        stored_bytes: pictures of one owner: inputs, outputs and uploads that are still kept.
        run_s_per_owner: how long the runs of one owner that ended in the last 24 hours may have taken together, in s.
    """

    open: int = 0
    open_per_owner: int = 0
    stored_bytes: int = 0
    run_s_per_owner: int = 0


class Usage:
    """Holds owners to a quota."""

    def __init__(self, database: Database, quota: Quota) -> None:
        self._database = database
        self._quota = quota
        self._open = self._asked = 0
        self._known_until = 0.0

    async def require_room(self, owner: str, size_bytes: int = 0) -> None:
        """Ask before something is accepted. Several at once may pass the limit by a few; none passes it by many.

        Args:
            size_bytes: what is to be kept, as far as it is known; what is fetched later is known by then only, so that
                who has reached the limit already has no room for anything.

        Raises:
            TooManyOpen: when the owner, or the server, has too many open requests.
            StorageFull: when the owner's pictures would take up too much.
        """
        await self._database.read(lambda rows: self._judge(rows, owner, size_bytes))

    async def require_run_time(self, owner: str) -> None:
        """Ask before a request is accepted. What waits or runs is not reckoned yet.

        Raises:
            RunTimeUsedUp: when the owner's runs have taken as long as they may.
        """
        limit_s = self._quota.run_s_per_owner
        if not limit_s:
            return
        used_us = await self._database.read(lambda rows: rows.execute(RUN_US, (owner, DAY_US)).fetchone()[0])
        if timedelta(microseconds=int(used_us)) >= timedelta(seconds=limit_s):
            raise RunTimeUsedUp(limit=limit_s)

    def _judge(self, rows: Connection, owner: str, size_bytes: int) -> None:
        quota = self._quota
        theirs, stored = rows.execute(TAKEN, (owner,)).fetchone()
        if quota.open_per_owner and theirs >= quota.open_per_owner:
            raise TooManyOpen(seconds=AGAIN_S, limit=quota.open_per_owner)
        if quota.open and self._open_of_all(rows) >= quota.open:
            raise TooManyOpen(seconds=AGAIN_S, limit=quota.open)
        if quota.stored_bytes and stored + max(size_bytes, 1) > quota.stored_bytes:
            raise StorageFull(seconds=LATER_S, limit=f"{quota.stored_bytes // 10**6} MB")

    def _open_of_all(self, rows: Connection) -> int:
        """How many requests are open. A sum over all owners: while half the limit is free it is remembered a while."""
        self._asked += 1
        if time.monotonic() > self._known_until or self._open + self._asked >= self._quota.open // 2:
            self._open = int(rows.execute(OPEN).fetchone()[0])
            self._known_until, self._asked = time.monotonic() + REMEMBERED_S, 0
        return self._open
