"""A no-op request end to end: from its submit until its result is in the client's hand, over HTTP."""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

from load import Call, Connection, run
from requests_made import BODY
from server import MODEL, Server, cpu_s, family, running
from tables import interleaved, middle, table, whole

ROUNDS, SECONDS = 5, 2.0
TARGET = "median at most 5 ms with one client, at least 1,000/s with 16"
WAKEUPS = "SELECT started_at - created_at, finished_at - started_at FROM requests WHERE finished_at IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Trips:
    """What a round reached; `cpu_s` is that of API, worker and engine together."""

    waits_ms: list[float]
    cpu_s: float


def measure() -> str:
    """Trips through `gesso up`, with one client and with 16."""
    with running("up") as server:
        _warm(server)
        measured: dict[str, Callable[[], Trips]] = {}
        for clients in (1, 16):
            for pause_ms, word in ((0, "polls without pause"), (1, "polls after 1 ms each"), (5, "after 5 ms each")):
                name = f"{clients} client{'s' if clients > 1 else ''}, {word}"
                measured[name] = partial(_round, server, clients, pause_ms / 1000)
            measured[f"{clients} client{'s' if clients > 1 else ''}, one waiting call"] = partial(
                _round, server, clients, None
            )
        found = interleaved(ROUNDS, measured)
    with running("up") as server:
        _warm(server)
        _round(server, 1, 0)
        wakeup_ms, rest_ms = _inside(server)
    return (
        f"Target: {TARGET}. {ROUNDS} rounds of {SECONDS:g} s.\n\n{_table(found)}\n\n"
        f"On a server that stood idle: submitted to started {wakeup_ms:.2f} ms, "
        f"started to finished {rest_ms:.2f} ms (medians, by the database's clock)."
    )


def _warm(server: Server) -> None:
    _round(server, 1, 0.001, seconds=0.5)


def _round(server: Server, clients: int, pause_s: float | None, *, seconds: float = SECONDS) -> Trips:
    waits: list[float] = []

    async def one_client(until: float) -> None:
        async with Connection(server.address) as connection:
            while (began := time.perf_counter()) < until:
                await trip(server, connection, pause_s)
                waits.append((time.perf_counter() - began) * 1000)

    async def all_clients() -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(one_client(until) for _ in range(clients)))

    used = sum(map(cpu_s, family(server.pid)))
    run(all_clients)
    return Trips(waits, sum(map(cpu_s, family(server.pid))) - used)


async def trip(server: Server, connection: Connection, pause_s: float | None) -> None:
    """One request, submitted and polled at /result until it succeeded; without a *pause_s*, in one call that waits."""
    if pause_s is None:
        call = Call(f"/v1/models/{MODEL}", server.token, BODY, prefer="wait=30").encoded(connection.host)
        assert b'"succeeded"' in (told := await connection.ask(call)), told
        return
    submit = Call(f"/v1/models/{MODEL}", server.token, BODY).encoded(connection.host)
    request_id = json.loads(await connection.ask(submit))["request_id"]
    poll = Call(f"/v1/requests/{request_id}/result", server.token).encoded(connection.host)
    while b'"succeeded"' not in (told := await connection.ask(poll)):
        assert b'"in_' in told, told
        if pause_s:
            await asyncio.sleep(pause_s)


def _inside(server: Server) -> tuple[float, float]:
    with contextlib.closing(sqlite3.connect(server.folder / "gesso.db")) as rows:
        found = rows.execute(WAKEUPS).fetchall()
    return median(row[0] for row in found) / 1000, median(row[1] for row in found) / 1000


def _table(found: dict[str, list[Trips]]) -> str:
    rows = [
        [name, f"{middle(rounds, lambda each: median(each.waits_ms)):.2f}",
         whole(middle(rounds, lambda each: len(each.waits_ms) / SECONDS)),
         f"{middle(rounds, lambda each: each.cpu_s * 1000 / len(each.waits_ms)):.2f}"]
        for name, rounds in found.items()
    ]  # fmt: skip
    return table(["", "median ms", "requests/s", "ms of CPU each, polls included"], rows)
