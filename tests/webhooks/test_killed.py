"""Webhooks of a real server whose processes are killed."""

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme
from receiver import Receiver
from script import eventually, eventually_now
from world import data_uri

sys.path.append(str(Path(__file__).parents[1] / "trip"))
from server import ECHO, Server, kill

pytestmark = pytest.mark.anyio
Look = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of the server's database; none for a file in its folder."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("pg_server").make_database())


@pytest.fixture
def look(database: str, tmp_path: Path) -> Look:
    """Has somebody else carry out a statement, and gives the rows that it answers."""

    def on_server(statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(database) as rows:
            return rows.execute(statement.encode()).fetchall()

    def in_file(statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(tmp_path / "data" / "gesso.db", timeout=10)) as rows, rows:
            return rows.execute(statement).fetchall()

    return on_server if database else in_file


@pytest.fixture
def server(
    receiver: Receiver, authority: trustme.CA, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """`gesso up`, which may reach the receiver and trusts it."""
    for name in [name for name in os.environ if name.startswith("GESSO_")]:
        monkeypatch.delenv(name)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.setenv("GESSO_FETCH_ALLOW_HOSTS", "127.0.0.1")
    monkeypatch.setenv("GESSO_FETCH_ALLOW_PORTS", str(receiver.port))
    monkeypatch.setenv("GESSO_MODELS", ECHO)
    if database:
        monkeypatch.setenv("GESSO_DATABASE", database)
    monkeypatch.chdir(tmp_path)
    server = Server(tmp_path / "data")
    yield server
    server.kill_all()


async def test_I14_a_sender_that_is_killed_between_the_answer_and_its_record_sends_the_same_again(
    server: Server, receiver: Receiver, look: Look
) -> None:
    worker = await asyncio.to_thread(server.worker)

    async def kill_and_thank(writer: asyncio.StreamWriter) -> None:
        kill(worker)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    hook = receiver.says("/told", kill_and_thank, 200, name="127.0.0.1")
    body = {"image_urls": [data_uri()]}
    told = await asyncio.to_thread(server.ask, f"/v1/models/{ECHO}?webhook={hook}", body)
    await eventually(lambda: receiver.told, 20)
    await asyncio.to_thread(eventually_now, lambda: server.worker() != worker)
    look("UPDATE deliveries SET next_at = 0 RETURNING seq")  # the dead sender had it for a minute
    await eventually(lambda: len(receiver.told) == 2, 20)
    await eventually(lambda: look("SELECT state, attempts FROM deliveries") == [("delivered", 2)], 20)

    first, second = receiver.told
    result = await asyncio.to_thread(server.result, told["request_id"])
    assert (first.id, first.body) == (second.id, second.body)
    assert json.loads(first.body)["status"] == result["status"] == "succeeded"
    image = json.loads(first.body)["output"]["image"]
    assert image.startswith(f"{server.url}/files/")
    assert (await asyncio.to_thread(server.fetch, image)).startswith(b"\x89PNG")
