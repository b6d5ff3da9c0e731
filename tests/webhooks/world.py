"""An API, its store and a sender in this process, and what becomes of requests in them."""

import asyncio
import base64
import io
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import trustme
from PIL import Image
from receiver import NAMES, Receiver, trusting
from script import eventually

from gesso.assembly import Parts, make_api, make_sender, now, open_parts
from gesso.config import Settings
from gesso.core.pictures import PictureFault
from gesso.core.request import Failed, Options, Outcome, Request, Succeeded
from gesso.store.outbox import Delivery, Outbox
from gesso.webhooks.posting import Post
from gesso.webhooks.sender import Sender

PUBLIC_URL = "https://api.example.org"
WAN = "wan-ai/wan-2-6/image-to-image"
A_LEASE = timedelta(minutes=5)


def data_uri() -> str:
    file = io.BytesIO()
    Image.new("RGB", (384, 384), (10, 120, 200)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


class World:
    """What there is; `lookup` may be changed."""

    def __init__(self, parts: Parts, client: httpx2.AsyncClient, authority: trustme.CA) -> None:
        self.parts = parts
        self.client = client
        self.outbox = Outbox(parts.database)
        self.lookup: dict[str, Sequence[Sequence[str]]] = {}
        self._authority = authority
        self._sending: list[asyncio.Task[None]] = []

    def post(self, deadline_s: float = 0.5) -> Post:
        """What the sender posts by: every name is on loopback, unless `lookup` tells its addresses in turn."""
        turns = {name: iter(addresses) for name, addresses in self.lookup.items()}
        return Post(
            self.parts.policy, deadline_s=deadline_s, ssl_context=trusting(self._authority),
            lookup=lambda name: next(turns[name]) if name in turns else ["127.0.0.1"],
        )  # fmt: skip

    async def start(self, **options: Any) -> Sender:
        """Let a sender work."""
        sender = await make_sender(self.parts, self.post(**options))
        self._sending.append(asyncio.create_task(sender.work()))
        return sender

    async def stop(self) -> None:
        """Let every sender end, as they are."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        self._sending.clear()

    async def submit(self, webhook: str, more: str = "", image: str = "") -> str:
        """The id of a new request that tells *webhook*."""
        body = {"prompt": "a cat", "image_urls": [image or data_uri()]}
        path = f"/v1/models/{WAN}?webhook={quote(webhook, safe='')}{more}"
        answer = await self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["request_id"])

    async def claim(self) -> Request:
        request = await self.parts.queue.claim([WAN], holder="test", lease=A_LEASE)
        assert request is not None
        return request

    async def end(self, outcome: Outcome | None = None) -> None:
        """End the next request: with a picture, or as told."""
        request = await self.claim()
        if outcome is None:
            kept = await self.parts.shelf.keep_png(f"{request.id}-1.png", Image.new("RGB", (64, 48)))
            await self.parts.queue.finish(request, Succeeded((kept,), {"engine": "test"}), [kept])
        else:
            await self.parts.queue.finish(request, outcome)

    async def ended(self, webhook: str, owner: str = "alice", *, tells_start: bool = False) -> str:
        """The id of a request that has ended; without the pains of a submit."""
        options = Options(webhook=webhook, webhook_intermediate=tells_start)
        request = Request.new(owner=owner, model_id=WAN, input={}, at=now(), options=options)
        await self.parts.queue.add(request)
        await self.end(Succeeded(()))
        return request.id

    async def result(self, request_id: str) -> bytes:
        """What /result answers."""
        return (await self.client.get(f"/v1/requests/{request_id}/result")).content

    async def deliveries(self, request_id: str) -> Sequence[Delivery]:
        return list(reversed(await self.outbox.list(request_id=request_id)))

    async def settled(self, request_id: str, state: str, within_s: float = 5.0) -> Delivery:
        """The last delivery of a request, once it is in *state*."""
        query = "SELECT state FROM deliveries WHERE request = ? ORDER BY seq DESC LIMIT 1"
        await eventually(lambda: self.value(query, key(request_id)) == state, within_s)
        return (await self.deliveries(request_id))[-1]

    async def failed(self, request_id: str) -> Delivery:
        """The last delivery of a request, once it has failed."""
        query = "SELECT 1 FROM deliveries WHERE request = ? AND failures > 0"
        await eventually(lambda: self.value(query, key(request_id)), 5)
        return (await self.deliveries(request_id))[-1]

    async def refused(self, webhook: str) -> str:
        """The id of a request whose picture breaks a rule, found out by the intake."""
        request_id = await self.submit(webhook, image="https://images.example/a.png")
        (request,) = await self.parts.queue.take_in(holder="test", limit=1, lease=A_LEASE)
        fault = PictureFault("width_pixels>").ends("body", "image_urls", 0)
        assert await self.parts.queue.refuse(request, Failed.because(fault))
        return request_id

    def make_due(self) -> None:
        """Let the time pass until whatever waits is due."""
        self.change("UPDATE deliveries SET next_at = 0 WHERE state = 'waiting'")

    def value(self, query: str, *values: object) -> Any:
        """What the database says to somebody else; None where there is no row."""
        with closing(sqlite3.connect(self.parts.settings.data_dir / "gesso.db")) as rows:
            row = rows.execute(query, values).fetchone()
        return row[0] if row else None

    def change(self, statement: str) -> None:
        """Change rows behind everybody's back."""
        with closing(sqlite3.connect(self.parts.settings.data_dir / "gesso.db")) as rows, rows:
            rows.execute(statement)


def key(request_id: str) -> bytes:
    """A request's id as its row has it."""
    return bytes.fromhex(request_id.replace("-", ""))


@asynccontextmanager
async def world_of(folder: Path, receiver: Receiver, authority: trustme.CA) -> AsyncIterator[World]:
    """A world whose sender may reach *receiver*."""
    settings = Settings(
        data_dir=folder, public_base_url=PUBLIC_URL, fetch_allow_hosts=NAMES, fetch_allow_ports=(receiver.port, 443)
    )
    async with open_parts(settings) as parts:
        app = await make_api(parts, PUBLIC_URL)
        token = await parts.tokens.create("alice")
        client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url=PUBLIC_URL, headers={"Authorization": f"Bearer {token}"}
        )
        world = World(parts, client, authority)
        try:
            yield world
        finally:
            await world.stop()
            await client.aclose()
