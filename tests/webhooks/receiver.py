"""A receiver of webhooks over TLS on loopback: it says what it is told to, and remembers what it was sent."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trustme

NAMES = ("hooks.example", "other.example", "*.many.example", "127.0.0.1")
Answer = int | bytes | Callable[[asyncio.StreamWriter], Awaitable[Any]]


@dataclass(frozen=True)
class Told:
    """One message, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """`told` is what came; `answers` what is said, by path, in turn, the last one ever after; a path without is 204."""

    port: int = 0
    told: list[Told] = field(default_factory=list)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0

    def says(self, path: str, *answers: Answer, name: str = "hooks.example") -> str:
        """The URL of *path*, which gives *answers*."""
        self.answers[path] = list(answers)
        return self.url(path, name)

    def url(self, path: str = "/told", name: str = "hooks.example") -> str:
        return f"https://{name}:{self.port}{path}"

    def at(self, path: str) -> list[Told]:
        """What came to *path*."""
        return [each for each in self.told if each.path == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            told = await read(reader)
            self.told.append(told)
            answers = self.answers.get(told.path, [204])
            await give(answers.pop(0) if len(answers) > 1 else answers[0], writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.at_once -= 1
            writer.close()


async def read(reader: asyncio.StreamReader) -> Told:
    """The message of a connection."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    method, path, _ = first.split()
    return Told(method, path, headers, body)


async def give(answer: Answer, writer: asyncio.StreamWriter) -> None:
    """Say *answer*: a status, raw bytes, or whatever it does to the line."""
    if isinstance(answer, int):
        rest = "\r\n" if answer == 204 else "Content-Length: 2\r\n\r\nok"
        answer = f"HTTP/1.1 {answer} Something\r\n{rest}".encode()
    if isinstance(answer, bytes):
        writer.write(answer)
        await writer.drain()
    else:
        await answer(writer)


async def listen(receiver: Receiver, authority: trustme.CA, *names: str) -> asyncio.Server:
    """Let it listen, under *names* or all that it has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or NAMES)).configure_cert(context)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", receiver.port, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    return server


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """What a sender trusts."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# What receivers from hell do.


async def hang(writer: asyncio.StreamWriter) -> None:
    """Say nothing."""
    await asyncio.sleep(60)


async def drip(writer: asyncio.StreamWriter) -> None:
    """Say a header, a letter at a time, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    """Say header after header."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: b\r\n" * 1000)
        await writer.drain()


class Gigabyte:
    """Say 200, and then as much of a gigabyte as is taken: `sent` bytes."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(1000):
            writer.write(bytes(1_000_000))
            await writer.drain()
            self.sent += 1_000_000
