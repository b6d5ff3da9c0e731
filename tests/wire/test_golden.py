"""The bodies of the contract's examples, byte for byte, as the real application answers them.

The files under `golden/` are law: a client somewhere reads each of them. When one of these tests is red, the code is
wrong, not the file. A file changes only together with the contract, by a decision that the change log tells; then, and
for a new example, write them anew with `WRITE_GOLDEN=1`, and read every line of the difference.

Ids, keys, times and the secret are fixed here; everything else is the house as it runs.
"""

import base64
import io
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from PIL import Image

from gesso.assembly import make_api, open_parts, serving
from gesso.assembly import parts as parts_module
from gesso.config import Settings
from gesso.core import request as request_module
from gesso.core.errors import EngineFailed, InputRejected, Problem
from gesso.core.pictures import Kept, Picture
from gesso.core.request import Failed, Outcome, Request, Succeeded
from gesso.files import shelf
from gesso.store import database as database_module
from gesso.store.workers import Workers

GOLDEN = Path(__file__).parent / "golden"
WRITE = "WRITE_GOLDEN"
WAN = "wan-ai/wan-2-6/image-to-image"
SUBMITTED_AT = datetime(2026, 11, 21, 7, 45, tzinfo=UTC)
FINISHED_AT = datetime(2026, 11, 21, 7, 45, 9, 120344, tzinfo=UTC)
ID = "0b9f0f7e-5d0c-4a8e-9d25-2f1f6f0f9c{:02d}"
UPLOAD_KEY = "7c0d0000000000000000000000000000"
LANGUAGES = ("en", "ja", "ru")

SUCCEEDED = Succeeded(
    tuple(Kept(f"{number}" * 32, "output", f"0b9f0f7e-{number}.png", "image/png", 4, "00") for number in (1, 2)),
    {
        "prompt_used": "a cat",
        "engine": "echo",
        "weights": "none",
        "licence": "Apache-2.0",
        "seed": 0,
        "size": "1280x720",
        "timings": {"queue": 0.012, "intake": 0.42, "run": 8.031, "encode": 0.044},
        "attempt": 1,
    },
)
FAILED = Failed.because(EngineFailed(reason="out of memory."))
REJECTED = Failed.because(InputRejected(detail=(Problem(("body", "image_urls", 0), "width_pixels>"),)))
FILED = [  # in the order in which they are submitted; what becomes of each
    ("succeeded", 11, SUCCEEDED),
    ("failed", 12, FAILED),
    ("rejected", 13, REJECTED),
    ("running", 14, None),
    ("cancelled", 15, None),
    ("waiting", 16, None),
    ("last", 17, None),
]
IDS = {name: ID.format(number) for name, number, _ in FILED}
SUBMIT = f"/v1/models/{WAN}"
BAD = {"prompt": "", "image_urls": [1, "http://x"], "negative_prompt": "x" * 501, "image_size": "1024x1024",
       "seed": 2147483648, "prompt_extend": "yes"}  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """One message; `status` is what it is answered with."""

    method: str
    path: str
    status: int = 200
    given: Any = None
    token: bool = True
    admin: bool = False


def of(name: str, part: str, query: str = "") -> str:
    return f"/v1/requests/{IDS[name]}/{part}{query}"


ASKED: dict[str, Ask] = {
    "submit": Ask("POST", SUBMIT, given={"json": {"prompt": "a cat", "image_urls": ["https://images.example/a.png"]}}),
    "status.in_queue": Ask("GET", of("waiting", "status")),
    "status.in_queue.behind": Ask("GET", of("last", "status")),
    "status.in_progress": Ask("GET", of("running", "status")),
    "status.completed": Ask("GET", of("succeeded", "status")),
    "status.failed": Ask("GET", of("failed", "status")),
    "status.cancelled": Ask("GET", of("cancelled", "status")),
    "result.in_queue": Ask("GET", of("waiting", "result")),
    "result.in_progress": Ask("GET", of("running", "result")),
    "result.succeeded": Ask("GET", of("succeeded", "result")),
    "result.succeeded.cost": Ask("GET", of("succeeded", "result", "?include_cost=true")),
    "result.failed.cost": Ask("GET", of("failed", "result", "?include_cost=true")),
    "result.cancelled": Ask("GET", of("cancelled", "result")),
    "result.cancelled.cost": Ask("GET", of("cancelled", "result", "?include_cost=true")),
    "cancel.cancelled": Ask("POST", of("cancelled", "cancel")),
    "cancel.not_cancellable": Ask("POST", of("running", "cancel")),
    "cancel.not_cancellable.completed": Ask("POST", of("failed", "cancel")),
    "requests": Ask("GET", "/v1/requests?status=completed&limit=2"),
    "requests.all": Ask("GET", "/v1/requests?all=true&status=completed&limit=2", admin=True),
    "categories": Ask("GET", "/v1/models/categories"),
    "balance": Ask("GET", "/v1/balance"),
    "balance.v2": Ask("GET", "/prod/v2/balance"),
    "upload": Ask("POST", "/v1/files", given={"content": "picture", "headers": {"Content-Type": "image/png"}}),
    "dry_run": Ask("POST", f"{SUBMIT}?dry_run=true", given={"json": {"prompt": "a cat", "image_urls": ["picture"]}}),
    "healthz": Ask("GET", "/healthz", token=False),
    "readyz": Ask("GET", "/readyz", token=False),
}
JSON = {"Content-Type": "application/json"}
for language in LANGUAGES:
    said = f"?lang={language}"
    ASKED |= {
        f"result.failed.{language}": Ask("GET", of("failed", "result", said)),
        f"result.rejected.{language}": Ask("GET", of("rejected", "result", said)),
        f"model.{language}": Ask("GET", f"{SUBMIT}{said}"),
        f"models.{language}": Ask("GET", f"/v1/models{said}"),
        f"models.with_schema.{language}": Ask("GET", f"/v1/models{said}&search=wan-ai&include_schema=true"),
        f"error.400.{language}": Ask("POST", SUBMIT + said, 400, {"content": "x", "headers": JSON}),
        f"error.401.{language}": Ask("GET", "/v1/models" + said, 401, token=False),
        f"error.403.{language}": Ask("GET", f"/v1/requests{said}&all=true", 403),
        f"error.404.model.{language}": Ask("GET", "/v1/models/no/model" + said, 404),
        f"error.404.request.{language}": Ask("GET", f"/v1/requests/{ID.format(99)}/result{said}", 404),
        f"error.404.route.{language}": Ask("GET", "/v2" + said, 404),
        f"error.405.{language}": Ask("GET", of("waiting", "cancel", said), 405),
        f"error.413.{language}": Ask("POST", SUBMIT + said, 413, {"json": {"prompt": "x" * 2**19}}),
        f"error.415.{language}": Ask("POST", SUBMIT + said, 415, {"content": "x"}),
        f"error.422.{language}": Ask("POST", SUBMIT + said, 422, {"json": BAD}),
        f"error.422.missing.{language}": Ask("POST", SUBMIT + said, 422, {"json": {"prompt": "a cat"}}),
        f"error.422.query.{language}": Ask("GET", f"/v1/models{said}&limit=501", 422),
    }  # fmt: skip


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, httpx2.Response]:
    """The answer to each message."""
    with pytest.MonkeyPatch.context() as patch:
        async with house(tmp_path_factory.mktemp("golden"), patch) as (client, admin):
            return {name: await ask(client, each, admin) for name, each in ASKED.items()}


@asynccontextmanager
async def house(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[tuple[httpx2.AsyncClient, str]]:
    """The application over its store, with one request in each state; and an administrator's token."""
    clock = [SUBMITTED_AT]
    for name in [name for name in os.environ if name.startswith("GESSO_")]:
        patch.delenv(name)
    patch.chdir(folder)
    patch.setattr(database_module, "now_us", lambda: round(clock[0].timestamp() * 1_000_000))
    for module in (parts_module, serving):
        patch.setattr(module, "now", lambda: SUBMITTED_AT)
    patch.setattr(shelf, "new_key", lambda: UPLOAD_KEY)
    patch.setattr(request_module, "uuid4", lambda: UUID(ID.format(18)))
    async with open_parts(Settings(data_dir=folder / "house")) as parts:
        with sqlite3.connect(folder / "house" / "gesso.db") as rows:
            rows.execute("INSERT INTO secrets VALUES ('file URLs', ?)", (bytes(32),))
        token = await parts.tokens.create("alice")
        admin = await parts.tokens.create("ops", is_admin=True)
        for name, _, outcome in FILED:
            await parts.queue.add(filed(name))
            clock[0] = FINISHED_AT
            if outcome is not None or name == "running":
                request = await parts.queue.claim([WAN], holder="test", lease=timedelta(minutes=5))
                assert request is not None
                await end(parts.queue, request, outcome)
            if name == "cancelled":
                await parts.queue.cancel(IDS[name], "alice")
        waiter = parts.database.wakeups.listen()
        await Workers(parts.database).beat(waiter.name, "here", {})
        app = await make_api(parts, "https://api.example.org")
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(
            transport=transport, base_url="https://api.example.org", headers=headers
        ) as client:
            yield client, admin
        waiter.close()


async def end(queue: Any, request: Request, outcome: Outcome | None) -> None:
    if outcome is not None:
        await queue.finish(request, outcome)


def filed(name: str) -> Request:
    """A request with its picture frozen."""
    given = {"prompt": "a cat", "image_urls": ["https://images.example/a.png"]}
    return Request(IDS[name], "alice", WAN, given, SUBMITTED_AT, (Picture("image_urls", 0, None, "0" * 32),))


async def ask(client: httpx2.AsyncClient, asked: Ask, admin: str) -> httpx2.Response:
    given = dict(asked.given or {})
    if given.get("content") == "picture":
        given["content"] = picture()
    if "dry_run" in asked.path:
        given["json"] = given["json"] | {
            "image_urls": [f"data:image/png;base64,{base64.b64encode(picture()).decode()}"]
        }
    if asked.admin or not asked.token:
        given["headers"] = {"Authorization": f"Bearer {admin}" if asked.admin else ""}
    return await client.request(asked.method, asked.path, **given)


def picture() -> bytes:
    """The smallest picture that every rule accepts; uncompressed, so that its size does not depend on a library."""
    file = io.BytesIO()
    Image.new("RGB", (400, 384)).save(file, "BMP")
    return file.getvalue()


@pytest.mark.parametrize("name", ASKED)
async def test_a_body_is_its_golden_file_byte_for_byte(answers: dict[str, httpx2.Response], name: str) -> None:
    file = GOLDEN / f"{name}.json"
    if os.environ.get(WRITE):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(answers[name].content)

    assert answers[name].status_code == ASKED[name].status
    assert answers[name].content == file.read_bytes()


@pytest.mark.parametrize("name", [name for name in ASKED if name.split(".")[-1] in LANGUAGES])
async def test_translated_bodies_name_their_language_and_vary(answers: dict[str, httpx2.Response], name: str) -> None:
    headers = answers[name].headers

    assert (headers["content-language"], headers["vary"]) == (name.rsplit(".", maxsplit=1)[-1], "Accept-Language")


def test_every_golden_file_is_asked_for() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(ASKED)
