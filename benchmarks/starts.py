"""How long `gesso up` takes from nothing to its first answer and its first picture, and its memory at rest."""

import asyncio
import time
import urllib.request
from pathlib import Path
from statistics import median

from load import Connection, run
from server import Server, family, resident_mb, running
from tables import table
from trips import trip

ROUNDS = 5
SETTLED_S = 1.0
WORDS = {"gesso.engines.child": "engine", "--leashed": "worker", "up": "API"}


def measure() -> str:
    """Medians of fresh starts in fresh folders."""
    starts = [_start() for _ in range(ROUNDS)]
    rows = [[what, f"{median(start[what] for start in starts):.2f}"] for what in starts[0]]
    return f"{ROUNDS} fresh starts of `gesso up`.\n\n" + table(["", "median"], rows)


def _start() -> dict[str, float]:
    with running("up") as server:
        began = time.monotonic() - server.announced_s
        with urllib.request.urlopen(f"{server.url}/healthz"):
            first_answer_s = time.monotonic() - began
        run(lambda: _first(server))
        first_result_s = time.monotonic() - began
        time.sleep(SETTLED_S)
        memory = {f"resident at rest, MB: {_word(pid)}": resident_mb(pid) for pid in family(server.pid)}
    return {"cold start to the first answer, s": first_answer_s, "the first result, s": first_result_s, **memory}


async def _first(server: Server) -> None:
    async with Connection(server.address) as connection, asyncio.timeout(30):
        await trip(server, connection, 0.001)


def _word(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_text()
    return next(word for part, word in WORDS.items() if part in command)
