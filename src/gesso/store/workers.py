"""Which workers live, by what they say every few seconds, and how fast they have been."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from gesso.store.connection import Connection, Database
from gesso.store.rows import MICROSECOND, to_json

BEAT_S = 5.0
ALIVE = timedelta(seconds=15)
FORGOTTEN = timedelta(hours=1)
FRESH_S = 3.0
RUNS = 20
BEAT = """INSERT INTO workers (name, place, models, metrics, started_at, seen_at)
    VALUES (?, ?, ?, ?, now_us(), now_us())
    ON CONFLICT (name) DO UPDATE SET models = excluded.models, metrics = excluded.metrics, seen_at = excluded.seen_at"""
FORGET = "DELETE FROM workers WHERE seen_at < now_us() - ?"
LEAVE = "DELETE FROM workers WHERE name = ?"
LIVE = "SELECT models FROM workers WHERE seen_at > now_us() - ?"
METRICS = "SELECT name, metrics FROM workers WHERE seen_at > now_us() - ? ORDER BY name"
# Of the last runs, those that made their picture at the first attempt: a failure is quick, and a second attempt tells
# nothing.
MEAN = f"""SELECT avg(finished_at - started_at) FROM (SELECT * FROM requests
        WHERE model_id = ? AND state = 'completed' AND started_at IS NOT NULL ORDER BY finished_at DESC LIMIT {RUNS})
    AS ended WHERE attempt = 1 AND substr(outcome, 1, 8) = '{{"files"'"""


class Workers:
    """The workers of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(self, name: str, place: str, lanes: Mapping[str, int], metrics: str = "") -> None:
        """Say that the worker *name* lives, and how many lanes it has for each model.

        Args:
            place: where it runs, in words for people.
            metrics: what it has counted, in Prometheus' text format.
        """

        def move(rows: Connection) -> None:
            rows.execute(BEAT, (name, place, to_json(lanes), metrics))
            rows.execute(FORGET, (FORGOTTEN // MICROSECOND,))

        await self._database.write(move, patient=True)

    async def leave(self, name: str) -> None:
        """Take back what *name* has said: it ends."""
        await self._database.write(lambda rows: rows.execute(LEAVE, (name,)))

    async def lanes(self) -> dict[str, int]:
        """How many lanes of living workers each model has; empty when none lives."""
        rows = await self._database.read(lambda rows: rows.execute(LIVE, (ALIVE // MICROSECOND,)).fetchall())
        lanes: dict[str, int] = {}
        for (told,) in rows:
            for model_id, count in msgspec.json.decode(told).items():
                lanes[model_id] = lanes.get(model_id, 0) + count
        return lanes

    async def metrics(self) -> dict[str, str]:
        """What each living worker has counted, by its name."""
        rows = await self._database.read(lambda rows: rows.execute(METRICS, (ALIVE // MICROSECOND,)).fetchall())
        return {str(name): str(text) for name, text in rows}

    async def anyone(self) -> bool:
        """Whether any worker lives."""
        return bool(await self._database.read(lambda rows: rows.execute(LIVE, (ALIVE // MICROSECOND,)).fetchone()))

    async def mean_run_s(self, model_id: str) -> float | None:
        """How long the last runs of *model_id* took on average, from their claim to their outcome."""
        row = await self._database.read(lambda rows: rows.execute(MEAN, (model_id,)).fetchone())
        return None if row[0] is None else float(row[0]) / 1_000_000


@dataclass(frozen=True, slots=True)
class _Known:
    value: Any
    until: float


class Pace:
    """How long things are expected to take; what it asks the database it remembers for seconds."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._known: dict[str, _Known] = {}

    async def waiting_s(self, model_id: str, position: int) -> float | None:
        """Seconds until a request at *position* will have ended; None where nobody runs its model, or never did."""
        lanes = (await self._lanes()).get(model_id, 0)
        mean_s = await self.run_s(model_id)
        return None if mean_s is None or not lanes else mean_s * (position + 1) / lanes

    async def run_s(self, model_id: str) -> float | None:
        """Seconds that a run of *model_id* takes; None where that is not known."""
        known = self._fresh(model_id)
        if known is None:
            known = self._remember(model_id, await self._workers.mean_run_s(model_id))
        mean_s: float | None = known.value
        return mean_s

    async def _lanes(self) -> dict[str, int]:
        known = self._fresh("") or self._remember("", await self._workers.lanes())
        lanes: dict[str, int] = known.value
        return lanes

    def _fresh(self, key: str) -> _Known | None:
        known = self._known.get(key)
        return known if known is not None and known.until > time.monotonic() else None

    def _remember(self, key: str, value: Any) -> _Known:
        known = self._known[key] = _Known(value, time.monotonic() + FRESH_S)
        return known
