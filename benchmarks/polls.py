"""How many status polls a second, and what share of nginx that is, both for a second of the server's own CPU."""

import contextlib
from collections.abc import Callable
from functools import partial

import requests_made
import yardsticks
from load import Call, Load, press
from server import Server, running
from tables import interleaved, middle, table, whole

ROUNDS, SECONDS, CLIENTS = 5, 2, 64
TARGET = "at least 0.2 of nginx per core"


def measure() -> str:
    """Polls of one request that waits and of one that ended."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running("serve"))
        measured: dict[str, Callable[[], Load]] = {}
        if yardsticks.NGINX:
            measured["nginx"] = _yardstick(stack.enter_context(yardsticks.nginx()))
        measured["bare ASGI on uvicorn"] = _yardstick(stack.enter_context(yardsticks.bare()))
        measured["status, waiting"] = _poll(server, requests_made.waiting(server))
        measured["status, ended"] = _poll(server, requests_made.cancelled(server))
        found = interleaved(ROUNDS, measured)
    return f"Target: {TARGET}. {CLIENTS} clients without pause, {ROUNDS} rounds of {SECONDS} s.\n\n" + _table(found)


def _yardstick(served: tuple[int, tuple[str, int]]) -> Callable[[], Load]:
    call = Call("/", yardsticks.TOKEN)
    return partial(press, *served, call, clients=CLIENTS, seconds=SECONDS)


def _poll(server: Server, request_id: str) -> Callable[[], Load]:
    call = Call(f"/v1/requests/{request_id}/status", server.token)
    return partial(press, server.pid, server.address, call, clients=CLIENTS, seconds=SECONDS)


def _table(found: dict[str, list[Load]]) -> str:
    first = next(iter(found))
    per_core = {name: middle(loads, lambda load: load.per_core_s) for name, loads in found.items()}
    rows = [
        [name, whole(middle(loads, lambda load: load.per_s)), whole(per_core[name]),
         f"{1e6 / per_core[name]:.1f}", f"{per_core[name] / per_core[first]:.2f}"]
        for name, loads in found.items()
    ]  # fmt: skip
    return table(["", "answers/s", "answers/s per core", "µs of CPU each", f"{first} = 1"], rows)
