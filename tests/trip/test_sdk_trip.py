"""The client against real processes: live events, a server that goes away, a deadline that holds."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from script import Script
from server import SCRIPTED, Server

import gesso
from gesso.client import Client


@pytest.fixture
def client(server: Server) -> Any:
    with Client(server.url, server.token) as client:
        yield client


def test_a_run_is_followed_by_its_live_events(client: Client, scripted: Script, tmp_path: Path) -> None:
    told: list[gesso.Event] = []

    def on_event(event: gesso.Event) -> None:
        told.append(event)
        if isinstance(event, gesso.InProgress) and event.preview:
            (tmp_path / "preview.jpg").write_bytes(event.preview.data)
            scripted.open("on")

    result = client.subscribe(SCRIPTED, {"prompt": "preview:RGB gate:on"}, on_queue_update=on_event)

    assert told[-1] == gesso.Completed(result)
    assert Image.open(tmp_path / "preview.jpg").size == (40, 30)
    assert {each.fraction for each in told if isinstance(each, gesso.InProgress)} >= {0.5}
    assert [path.suffix for path in client.download_outputs(result, tmp_path)] == [".png"]


def test_a_failed_run_is_told_and_raised(client: Client) -> None:
    handle = client.submit(SCRIPTED, {"prompt": "fail:oops"})
    *_, last = handle.iter_events()

    assert isinstance(last, gesso.Failed)
    with pytest.raises(gesso.EngineFailed, match="oops"):
        handle.get()


def test_a_client_timeout_holds_while_the_stream_is_silent_and_the_request_goes_on(
    client: Client, scripted: Script
) -> None:
    handle = client.submit(SCRIPTED, {"prompt": "hang:on"})
    began = time.monotonic()
    with pytest.raises(gesso.ClientTimeout) as caught:
        handle.get(client_timeout=1.5)

    assert 1.5 <= time.monotonic() - began < 3
    assert caught.value.request_id == handle.request_id
    scripted.open("on")
    assert handle.get()["status"] == "succeeded"


async def follow(server: Server, on_step: Callable[[], None]) -> list[gesso.Event]:
    """The events of a run; *on_step* is called at its first step."""
    told: list[gesso.Event] = []
    async with gesso.AsyncClient(server.url, server.token) as client:
        handle = await client.submit(SCRIPTED, {"prompt": "gate:on"})
        async for event in handle.iter_events():
            if isinstance(event, gesso.InProgress) and event.step == 1 and on_step is not None:
                await asyncio.to_thread(on_step)
                on_step = lambda: None  # noqa: E731 - once
            told.append(event)
    return told


@pytest.mark.slow
def test_a_follower_sits_out_a_server_that_is_killed(start: Callable[[], Server], scripted: Script) -> None:
    first = start()
    again: list[Server] = []

    def restart() -> None:
        first.kill_all()
        again.append(Server(first.data_dir, first.token, int(first.url.rpartition(":")[2])))
        scripted.open("on")

    try:
        told = asyncio.run(follow(first, restart))
    finally:
        for server in again:
            server.kill_all()

    assert isinstance(told[-1], gesso.Completed)
    assert told[-1].result["metadata"]["attempt"] == 2
