"""The load: `wrk` where it is installed, else connections of our own; both count answers and hold them to be 200."""

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from statistics import median
from typing import Any, Self

from server import cpu_s

WRK = shutil.which("wrk")
SHORTEST_S = 0.01


@dataclass(frozen=True, slots=True)
class Load:
    """What was reached: answers a second, the median latency, and the server's share of a core meanwhile."""

    per_s: float
    median_ms: float
    cores: float

    @property
    def per_core_s(self) -> float:
        """Answers for a second of the server's CPU: a load generator that takes the other core does not distort it."""
        return self.per_s / self.cores


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP message, sent again and again."""

    path: str
    token: str
    body: str = ""
    prefer: str = ""

    def encoded(self, host: str) -> bytes:
        """Its bytes."""
        method = "POST" if self.body else "GET"
        lines = [f"{method} {self.path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {self.token}"]
        lines += [f"Prefer: {self.prefer}"] if self.prefer else []
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body.encode())}"]
        return "\r\n".join([*lines, "", self.body]).encode()


def press(pid: int, address: tuple[str, int], call: Call, *, clients: int, seconds: int) -> Load:
    """Put *clients* on the server *pid*, each asking again as soon as it has its answer."""
    by = _wrk if WRK else _ours
    began, used = time.monotonic(), cpu_s(pid)
    per_s, median_ms = by(address, call, clients, seconds)
    return Load(per_s, median_ms, max(cpu_s(pid) - used, SHORTEST_S) / (time.monotonic() - began))


def _wrk(address: tuple[str, int], call: Call, clients: int, seconds: int) -> tuple[float, float]:
    url = "http://{}:{}{}".format(*address, call.path)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f'wrk.headers["Authorization"] = "Bearer {call.token}"\n')
        if call.body:
            script.write('wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n')
            script.write(f"wrk.body = [==[{call.body}]==]\n")
        script.flush()
        command = [WRK or "", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", script.name, url]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise SystemExit(f"the load did not get its answers:\n{told}")
    return float(_found(r"Requests/sec:\s+([\d.]+)", told)[0]), _ms(*_found(r"50%\s+([\d.]+)(us|ms|s)", told))


def _found(pattern: str, told: str) -> tuple[str, ...]:
    match = re.search(pattern, told)
    assert match is not None, told
    return match.groups()


def _ms(number: str, unit: str) -> float:
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def _ours(address: tuple[str, int], call: Call, clients: int, seconds: int) -> tuple[float, float]:
    waits: list[float] = []

    async def ask(until: float) -> None:
        async with Connection(address) as connection:
            message = call.encoded(connection.host)
            while (sent := time.perf_counter()) < until:
                await connection.ask(message)
                waits.append(time.perf_counter() - sent)

    async def all_ask() -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(ask(until) for _ in range(clients)))

    run(all_ask)
    return len(waits) / seconds, median(waits) * 1000


class Connection:
    """One connection that is kept open, for one message after another."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self.host = "{}:{}".format(*address)

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, message: bytes) -> bytes:
        """The body of the answer, which must be a 200."""
        self._writer.write(message)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        assert head.startswith(b"HTTP/1.1 200"), head
        assert length is not None, head
        return await self._reader.readexactly(int(length[1]))


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run *main* on the fast event loop, so that the client costs little."""
    import uvloop  # noqa: PLC0415 - a measurement by wrk needs none

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
