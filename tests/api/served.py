"""An API over a real store, asked in process, and what its tests need beside it: tokens, pictures, a worker's moves."""

import base64
import io
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image
from starlette.types import ASGIApp

from gesso.assembly import Parts, make_api, open_parts
from gesso.config import Settings
from gesso.core.request import Failed, Outcome, Request, Succeeded

PUBLIC_URL = "https://api.example.org"
WAN = "wan-ai/wan-2-6/image-to-image"
ECHO = "gesso/echo/image-to-image"
SUBMIT = f"/v1/models/{WAN}"
EXAMPLE = {"prompt": "a cat", "image_urls": ["https://images.example/a.png"]}
MISSING_ID = "00000000-0000-4000-8000-000000000000"


def picture(width: int = 384, height: int = 384, *, format: str = "PNG") -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (10, 120, 200)).save(file, format)
    return file.getvalue()


def data_uri(data: bytes, type: str = "image/png") -> str:
    return f"data:{type};base64,{base64.b64encode(data).decode()}"


class Served:
    """One API. `client` asks for alice; `token` is hers."""

    def __init__(self, parts: Parts, app: ASGIApp, token: str) -> None:
        self.parts = parts
        self.app = app
        self.token = token
        self.client = self.client_of(token)

    def client_of(self, token: str | None) -> httpx2.AsyncClient:
        """A client with *token*; a broken application answers instead of raising."""
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.app, raise_app_exceptions=False),
            base_url=PUBLIC_URL,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
        )

    async def client_for(self, owner: str, *, is_admin: bool = False) -> httpx2.AsyncClient:
        """A client for a new token of *owner*."""
        return self.client_of(await self.parts.tokens.create(owner, is_admin=is_admin))

    async def submit(self, **fields: Any) -> str:
        """The id of a new request of alice's that needs no fetch."""
        body = {"prompt": "a cat", "image_urls": [data_uri(picture())], **fields}
        answer = await self.client.post(SUBMIT, json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["request_id"])

    async def claim(self) -> Request:
        """What a worker would be given now."""
        request = await self.parts.queue.claim([WAN, ECHO], holder="test", lease=timedelta(minutes=5))
        assert request is not None
        return request

    async def end(self, outcome: Failed | None = None, pictures: int = 1) -> Request:
        """Claim the next request and end it: as *outcome* says, else with *pictures* as its output."""
        request = await self.claim()
        told: Outcome = outcome or Succeeded(())
        if isinstance(told, Succeeded):
            images = [Image.new("RGB", (64, 48), (number, 0, 0)) for number in range(pictures)]
            names = [f"{request.id[:8]}-{number}.png" for number in range(1, pictures + 1)]
            kept = [await self.parts.shelf.keep_png(*each) for each in zip(names, images, strict=True)]
            told = Succeeded(tuple(kept), {"engine": "test", "seed": 0})
            await self.parts.queue.finish(request, told, kept)
        else:
            await self.parts.queue.finish(request, told)
        return request

    async def output_url(self) -> str:
        """The URL of a finished picture of alice's."""
        request_id = await self.submit()
        await self.end()
        result = (await self.client.get(f"/v1/requests/{request_id}/result")).json()
        return str(result["output"]["image"])

    async def upload(self, data: bytes | None = None) -> dict[str, Any]:
        """The answer to an upload of alice's."""
        answer = await self.client.post("/v1/files", content=data or picture(), headers={"Content-Type": "image/png"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    @property
    def folder(self) -> Path:
        return self.parts.settings.data_dir

    def rows(self) -> tuple[int, int]:
        """How many requests and files are known."""
        with sqlite3.connect(self.folder / "gesso.db") as rows:
            return tuple(rows.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("requests", "files"))

    def blobs(self) -> Sequence[Path]:
        """Every file under the blobs, finished or not."""
        return sorted(path for path in (self.folder / "blobs").glob("*/*") if path.is_file())

    def left(self) -> tuple[tuple[int, int], int]:
        """What a refused message must not change."""
        return self.rows(), len(self.blobs())

    def change(self, statement: str, *values: Any) -> None:
        """Change a row behind the back of the API."""
        with sqlite3.connect(self.folder / "gesso.db") as rows:
            rows.execute("PRAGMA ignore_check_constraints = ON")
            rows.execute(statement, values)


@asynccontextmanager
async def serve(folder: Path, **settings: Any) -> AsyncIterator[Served]:
    """An API over the store in *folder*."""
    async with open_parts(Settings(data_dir=folder, **settings)) as parts:
        app = await make_api(parts, PUBLIC_URL)
        served = Served(parts, app, await parts.tokens.create("alice"))
        try:
            yield served
        finally:
            await served.client.aclose()


Serve = Callable[..., AbstractAsyncContextManager[Served]]
