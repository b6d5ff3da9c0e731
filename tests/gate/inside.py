"""An API and its worker's intake over a real store, in this process, and image hosts on loopback for them."""

import asyncio
import base64
import io
import sqlite3
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from live import EXAMPLE, SUBMIT
from PIL import Image
from starlette.types import ASGIApp

from gesso.assembly import Parts, make_api, open_parts
from gesso.assembly import parts as assembly_parts
from gesso.config import Settings
from gesso.core.request import Request
from gesso.files.fetcher import Fetcher
from gesso.worker.intake import Intake

PUBLIC_URL = "https://api.example.org"
Says = bytes | Callable[[asyncio.StreamWriter], Any]


def picture(width: int = 384, height: int = 384, *, format: str = "PNG", **options: Any) -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (10, 120, 200)).save(file, format, **options)
    return file.getvalue()


def data_uri(data: bytes, type: str = "image/png") -> str:
    return f"data:{type};base64,{base64.b64encode(data).decode()}"


class House:
    """One API; `ask` asks as alice."""

    def __init__(self, parts: Parts, app: ASGIApp, token: str) -> None:
        self.parts = parts
        self.app = app
        self.token = token
        self.client = self.client_of(token)

    def client_of(self, token: str, address: str = "192.0.2.7") -> httpx2.AsyncClient:
        """A client with *token*, at *address*; a broken application answers instead of raising."""
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.app, raise_app_exceptions=False, client=(address, 1)),
            base_url=PUBLIC_URL,
            headers={"Authorization": f"Bearer {token}"},
        )

    async def client_for(self, owner: str) -> httpx2.AsyncClient:
        return self.client_of(await self.parts.tokens.create(owner))

    async def submit(self, query: str = "", **fields: Any) -> httpx2.Response:
        """The answer to a submit of alice's."""
        return await self.client.post(SUBMIT + query, json={**EXAMPLE, **fields})

    async def result(self, request_id: str) -> Any:
        return (await self.client.get(f"/v1/requests/{request_id}/result")).json()

    async def take_in(self) -> None:
        """Do what a worker's intake does, until nothing waits for it."""
        parts = self.parts
        intake = Intake(parts.queue, parts.catalog, parts.fetcher, parts.shelf, holder="test")
        working = asyncio.create_task(intake.work())
        async with asyncio.timeout(100):
            while self.waits():  # noqa: ASYNC110 - what changes is a file
                await asyncio.sleep(0.01)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    def waits(self) -> int:
        """How many requests have pictures that are not frozen."""
        return int(self.value("SELECT count(*) FROM requests WHERE state = 'in_queue' AND ready = 0"))

    def value(self, statement: str) -> Any:
        """What the database says to somebody else."""
        with sqlite3.connect(self.folder / "gesso.db") as rows:
            return rows.execute(statement).fetchone()[0]

    async def set(self, statement: str) -> None:
        """Let the database be otherwise."""
        await self.parts.database.write(lambda rows: rows.execute(statement))

    @property
    def folder(self) -> Path:
        return self.parts.settings.data_dir

    def left(self) -> tuple[int, int, int]:
        """What a refused message must not change: how many requests, files and blobs there are."""
        counts = [int(self.value(f"SELECT count(*) FROM {table}")) for table in ("requests", "files")]
        blobs = [path for path in (self.folder / "blobs").glob("*/*") if path.is_file()]
        return counts[0], counts[1], len(blobs)

    async def claim(self) -> Request | None:
        return await self.parts.queue.claim(list(self.parts.catalog), holder="test", lease=timedelta(minutes=5))


@asynccontextmanager
async def house(folder: Path, **settings: Any) -> AsyncIterator[House]:
    """An API over the store in *folder*."""
    async with open_parts(Settings(data_dir=folder, **settings)) as parts:
        app = await make_api(parts, PUBLIC_URL)
        house = House(parts, app, await parts.tokens.create("alice"))
        try:
            yield house
        finally:
            await house.client.aclose()


class Host:
    """A TLS server on loopback that says what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Says] = {}
        self.asked: list[str] = []
        self.port = 0

    def says(self, path: str, answer: Says, name: str = "images.example") -> str:
        """The URL of *path*."""
        self.answers[path] = answer
        return f"https://{name}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            answer = self.answers[head.split()[1]]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def ok(body: bytes, *lines: str) -> bytes:
    """A 200 with *body*."""
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *lines])
    return head.encode() + b"\r\n\r\n" + body


def found(location: str, *lines: str) -> bytes:
    """A redirect."""
    return "\r\n".join(["HTTP/1.1 302 Found", f"Location: {location}", "Content-Length: 0", *lines, "", ""]).encode()


@asynccontextmanager
async def image_host() -> AsyncIterator[tuple[Host, ssl.SSLContext]]:
    """A host, and what to trust for it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("images.example", "cdn.example", "flips.example", "127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    host = Host()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, ssl=context)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host, trusting
    finally:
        server.close()


@contextmanager
def the_net_is(names: Mapping[str, Callable[[], list[str]]], trusting: ssl.SSLContext, **limits: Any) -> Iterator[None]:
    """What a fetcher that is opened meanwhile knows of the world: *names*, and whom it trusts."""

    def lookup(name: str) -> list[str]:
        return names[name]()

    def make(policy: Any) -> Fetcher:
        return Fetcher(policy, ssl_context=trusting, lookup=lookup, **limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly_parts, "Fetcher", make)
        yield
