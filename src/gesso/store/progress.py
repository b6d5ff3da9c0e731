"""How far running requests are. A row is overwritten while its request runs, and goes when it ends: nothing lasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gesso.core.states import State
from gesso.store.connection import Connection, Database
from gesso.store.rows import id_bytes, id_text

SECOND_US = 1_000_000
MOST_AT_ONCE = 500
# A late holder's word changes nothing; within an attempt no fraction falls, and the last preview stays.
_SAME = "progress.attempt = excluded.attempt"
TELL = f"""INSERT INTO progress (request, attempt, event, fraction, step, steps, left_us, preview_event, preview, width,
        height, at)
    SELECT id, attempt, 1, ?, ?, ?, ?, ?, ?, ?, ?, now_us() FROM requests
        WHERE id = ? AND attempt = ? AND state = 'in_progress' /*pg FOR SHARE*/
    ON CONFLICT (request) DO UPDATE SET
        event = CASE WHEN {_SAME} THEN progress.event + 1 ELSE 1 END,
        fraction = CASE WHEN {_SAME} THEN max(progress.fraction, excluded.fraction) ELSE excluded.fraction END,
        preview_event = CASE WHEN NOT {_SAME} THEN excluded.preview_event
            WHEN excluded.preview_event IS NOT NULL THEN progress.event + 1 ELSE progress.preview_event END,
        preview = CASE WHEN {_SAME} THEN coalesce(excluded.preview, progress.preview) ELSE excluded.preview END,
        width = CASE WHEN {_SAME} THEN coalesce(excluded.width, progress.width) ELSE excluded.width END,
        height = CASE WHEN {_SAME} THEN coalesce(excluded.height, progress.height) ELSE excluded.height END,
        attempt = excluded.attempt, step = excluded.step, steps = excluded.steps, left_us = excluded.left_us,
        at = excluded.at"""
READ = """SELECT event, fraction, step, steps, left_us, now_us() - at AS age_us FROM progress
    WHERE request = ? AND attempt = ?"""
PREVIEW = """SELECT preview_event, preview, width, height FROM progress
    WHERE request = ? AND attempt = ? AND preview_event > ?"""


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture on its way.

    Attributes:
        jpeg: its file, at most 64 KiB.
        event: the write that brought it; 0 before it was written.
    """

    jpeg: bytes
    width: int
    height: int
    event: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """How far an attempt is.

    Attributes:
        fraction: 0 to 1.
        step, steps: what is done, of how many.
        left_s: how long it is expected to go on, by its own pace; None where that is not known yet.
        event: counts the writes of the attempt; 0 before it was written.
    """

    fraction: float
    step: int
    steps: int
    left_s: float | None
    event: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """What changes when there is news of a request.

    Attributes:
        event: of its last step; 0 while there is none in this attempt.
    """

    state: State
    attempt: int
    event: int


class Progress:
    """The progress rows of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tell(self, told: Sequence[tuple[str, int, Step, Preview | None]]) -> None:
        """Write how far requests are: id, attempt, step and preview of each. Words of a stale attempt are dropped."""
        values = [_values(*each) for each in told]

        def move(rows: Connection) -> None:
            for each in values:
                rows.execute(TELL, each)

        await self._database.write(move, patient=True)

    async def step(self, request_id: str, attempt: int) -> Step | None:
        """How far this attempt is; None where it has not said."""
        values = (id_bytes(request_id), attempt)
        row = await self._database.read(lambda rows: rows.execute(READ, values).fetchone())
        if row is None:
            return None
        left_us = row["left_us"]
        left_s = None if left_us is None else max(0, left_us - max(0, row["age_us"])) / SECOND_US
        return Step(row["fraction"], row["step"], row["steps"], left_s, row["event"])

    async def preview(self, request_id: str, attempt: int, *, after: int) -> Preview | None:
        """The attempt's last preview, if it came with a later event than *after*."""
        values = (id_bytes(request_id), attempt, after)
        row = await self._database.read(lambda rows: rows.execute(PREVIEW, values).fetchone())
        return None if row is None else Preview(row["preview"], row["width"], row["height"], row["preview_event"])

    async def marks(self, request_ids: Sequence[str]) -> dict[str, Mark]:
        """The marks of these requests, whoever owns them; those that are gone are missing."""
        marks: dict[str, Mark] = {}
        for at in range(0, len(request_ids), MOST_AT_ONCE):
            keys = [id_bytes(each) for each in request_ids[at : at + MOST_AT_ONCE]]
            marks |= await self._database.read(lambda rows, keys=keys: _marks(rows, keys))  # type: ignore[misc]
        return marks


def _values(request_id: str, attempt: int, step: Step, preview: Preview | None) -> tuple[Any, ...]:
    left_us = None if step.left_s is None else round(step.left_s * SECOND_US)
    shown = (None, None, None, None) if preview is None else (1, preview.jpeg, preview.width, preview.height)
    return (step.fraction, step.step, step.steps, left_us, *shown, id_bytes(request_id), attempt)


def _marks(rows: Connection, keys: Sequence[bytes | None]) -> dict[str, Mark]:
    statement = f"""SELECT id, state, requests.attempt, event FROM requests
        LEFT JOIN progress ON request = id AND progress.attempt = requests.attempt
        WHERE id IN ({", ".join("?" * len(keys))})"""
    found = rows.execute(statement, keys).fetchall()
    return {id_text(id): Mark(State(state), attempt, event or 0) for id, state, attempt, event in found}
