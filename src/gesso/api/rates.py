"""How often an owner may ask, and an address may be wrong about its token. Kept in the memory of each API process."""

import time
from dataclasses import dataclass
from math import ceil

from gesso.core.errors import TooMany

MOST_REMEMBERED = 100_000
MINUTE_S = 60.0


@dataclass(slots=True)
class _Bucket:
    left: float
    seen_s: float


class Rate:
    """A bucket for each key: *per_minute* at most, all at once or spread; it fills as time passes. 0 means no limit.

    Args:
        too_many: what is raised when a bucket is empty.
    """

    def __init__(self, per_minute: int, too_many: type[TooMany] = TooMany) -> None:
        self._most = float(per_minute)
        self._too_many = too_many
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key: str) -> None:
        """Count one for *key*.

        Raises:
            TooMany: of the kind given, when its bucket is empty; says when there is one again.
        """
        if not self._most:
            return
        now = time.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._remember(key, now)
        bucket.left = min(self._most, bucket.left + (now - bucket.seen_s) * self._most / MINUTE_S)
        bucket.seen_s = now
        if bucket.left < 1:
            wait_s = max(1, ceil((1 - bucket.left) * MINUTE_S / self._most))
            raise self._too_many(seconds=wait_s, limit=round(self._most))
        bucket.left -= 1

    def _remember(self, key: str, now: float) -> _Bucket:
        if len(self._buckets) >= MOST_REMEMBERED:  # the fullest have the least to lose by being forgotten
            full = sorted(self._buckets, key=lambda each: self._buckets[each].seen_s)[: MOST_REMEMBERED // 2]
            for each in full:
                del self._buckets[each]
        return self._buckets.setdefault(key, _Bucket(self._most, now))
