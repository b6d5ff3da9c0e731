"""How many submits a second are accepted and durable, from 64 clients and from one."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import yardsticks
from load import Call, Load, press
from machine import flushes
from requests_made import BODY
from server import MODEL, Server, running
from tables import interleaved, middle, table, whole

ROUNDS, SECONDS = 5, 2
TARGET = "at least 8,000/s from 64 clients, 600/s from one"


@dataclass(frozen=True, slots=True)
class Submits:
    """A load of submits, and how often the disk was told to flush meanwhile."""

    load: Load
    flushes: int


def measure() -> str:
    """Submits of the no-op model to `gesso serve`, beside the bare application, which keeps nothing."""
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(yardsticks.bare())
        server = stack.enter_context(running("serve"))
        measured: dict[str, Callable[[], Submits]] = {}
        for clients, word in ((64, "64 clients"), (1, "1 client")):
            measured[f"bare ASGI on uvicorn, keeps nothing, {word}"] = partial(_bare, served, clients)
            measured[f"submit, durable, {word}"] = partial(_submit, server, clients)
        found = interleaved(ROUNDS, measured)
    return f"Target: {TARGET}. {ROUNDS} rounds of {SECONDS} s, without pause.\n\n" + _table(found)


def _bare(served: tuple[int, tuple[str, int]], clients: int) -> Submits:
    call = Call("/", yardsticks.TOKEN, BODY)
    return Submits(press(*served, call, clients=clients, seconds=SECONDS), 0)


def _submit(server: Server, clients: int) -> Submits:
    before = flushes(server.folder)
    call = Call(f"/v1/models/{MODEL}", server.token, BODY)
    load = press(server.pid, server.address, call, clients=clients, seconds=SECONDS)
    after = flushes(server.folder)
    return Submits(load, after - before if after is not None and before is not None else 0)


def _table(found: dict[str, list[Submits]]) -> str:
    rows = [
        [name, whole(middle(rounds, lambda each: each.load.per_s)),
         f"{middle(rounds, lambda each: each.load.median_ms):.2f}",
         f"{middle(rounds, lambda each: 1e6 / each.load.per_core_s):.0f}",
         f"{middle(rounds, lambda each: each.flushes / (each.load.per_s * SECONDS)):.2f}"]
        for name, rounds in found.items()
    ]  # fmt: skip
    return table(["", "answers/s", "median ms", "µs of CPU each", "disk flushes each"], rows)
