"""How much waits and runs, model by model; what autoscalers and alarms look at."""

from dataclasses import dataclass

from gesso.store.connection import Connection, Database
from gesso.store.moves import LARGE_BLOCK_BITS

WAITING = "SELECT model_id, sum(count) FROM waiting WHERE level = ? GROUP BY model_id"
RUNNING = "SELECT model_id, count(*) FROM requests WHERE state = 'in_progress' GROUP BY model_id"
INTAKE = "SELECT count(*) FROM requests WHERE state = 'in_queue' AND ready = 0"


@dataclass(frozen=True, slots=True)
class Depth:
    """A moment's look at the queue: requests by model.

    Attributes:
        intake: how many of those that wait still wait for their pictures.
    """

    waiting: dict[str, int]
    running: dict[str, int]
    intake: int


async def depth(database: Database) -> Depth:
    """The queue as it is now."""

    def look(rows: Connection) -> Depth:
        waiting, running = (
            {str(model): int(count) for model, count in rows.execute(statement, values).fetchall()}
            for statement, values in ((WAITING, (LARGE_BLOCK_BITS,)), (RUNNING, ()))
        )
        return Depth(waiting, running, int(rows.execute(INTAKE).fetchone()[0]))

    return await database.read(look)
