"""How long the engine stands idle between two requests while more wait, as its own process sees it."""

import asyncio
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

from engines.noop import SPAN
from load import Call, Connection, run
from requests_made import BODY
from server import MODEL, Server, running
from tables import table

ROUNDS, WAITING, CLIENTS = 5, 1000, 8
TARGET = "at most 2 ms"
PATIENCE_S = 60


def measure() -> str:
    """Requests pile up faster than they are run; once all have run, the engine's own record is read."""
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.NamedTemporaryFile() as record, running("up", record=Path(record.name)) as server:
            run(partial(_pile_up, server))
            rounds.append(_gaps_ms(Path(record.name)))
    gaps = [gap for each in rounds for gap in each]
    row = [f"{median(map(median, rounds)):.2f}", f"{quantiles(gaps, n=100)[98]:.2f}",
           f"{median(1000 / (sum(each) / len(each)) for each in rounds):,.0f}"]  # fmt: skip
    return f"Target: {TARGET}. {ROUNDS} rounds of {WAITING} requests.\n\n" + table(
        ["", "median ms", "99th percentile ms", "runs/s"], [["end of a run to begin of the next", *row]]
    )


async def _pile_up(server: Server) -> None:
    async def submit(count: int) -> None:
        async with Connection(server.address) as connection:
            message = Call(f"/v1/models/{MODEL}", server.token, BODY).encoded(connection.host)
            for _ in range(count):
                await connection.ask(message)

    await asyncio.gather(*(submit(WAITING // CLIENTS) for _ in range(CLIENTS)))


def _gaps_ms(record: Path) -> list[float]:
    """The gaps of the second half: all submits are done by then."""
    until = time.monotonic() + PATIENCE_S
    while record.stat().st_size < WAITING * SPAN.size:
        assert time.monotonic() < until, "the queue does not drain"
        time.sleep(0.05)
    spans = sorted(SPAN.iter_unpack(record.read_bytes()))[WAITING // 2 :]
    return [(begin - end) / 1e6 for (_, end), (begin, _) in pairwise(spans)]
