"""Live events of real processes, over real connections."""

import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from script import Script
from server import Server

Frame = tuple[int, str, Any]


@contextmanager
def following(server: Server, request_id: str, last_id: int = 0) -> Iterator[Iterator[Frame]]:
    """The frames of a stream, as they come."""
    headers = {"Authorization": f"Bearer {server.token}", "Last-Event-ID": str(last_id)}
    url = f"{server.url}/v1/requests/{request_id}/events"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as stream:
        yield frames(stream)


def frames(lines: Any) -> Iterator[Frame]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().strip().partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])
            fields = {}


def test_a_run_is_followed_from_the_queue_to_its_result(server: Server, scripted: Script) -> None:
    request_id = server.submit("preview:RGB slow gate:on")
    seen = []
    with following(server, request_id) as stream:
        for frame in stream:
            seen.append(frame)
            if frame[1] == "preview":
                scripted.open("on")

    ids, names = [each[0] for each in seen], [each[1] for each in seen]
    fractions = [each[2]["fraction"] for each in seen if each[1] == "progress"]
    assert ids == sorted(set(ids))
    assert names[-1] == "result"
    assert set(names) == {"status", "progress", "preview", "result"}
    assert fractions == sorted(fractions)
    assert seen[-1][2] == server.result(request_id)


@pytest.mark.slow
def test_a_stream_is_taken_up_again_after_the_server_was_killed(start: Any, scripted: Script) -> None:
    server = start()
    request_id = server.submit("preview:RGB gate:on")
    with following(server, request_id) as stream:
        last_id = next(frame[0] for frame in stream if frame[1] == "progress")
        server.kill_all()
    server = start()
    with following(server, request_id, last_id) as stream:
        scripted.open("on")
        rest = list(stream)

    assert rest[-1][2]["status"] == "succeeded"
    assert rest[-1][2]["metadata"]["attempt"] == 2
    assert all(frame[0] > last_id for frame in rest)


def test_open_streams_do_not_hold_up_a_stop(server: Server, scripted: Script) -> None:
    request_id = server.submit("gate:on")
    with following(server, request_id) as stream:
        next(frame for frame in stream if frame[2].get("status") == "in_progress")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        rest = list(stream)  # steps may have been told still
        ended_s = time.monotonic() - began
    scripted.open("on")  # only now may the run end

    assert server.process.wait(10) == 0
    assert ended_s < 5
    assert "result" not in [frame[1] for frame in rest]


def test_a_waiting_submit_comes_back_with_its_picture(server: Server) -> None:
    data = json.dumps({"prompt": ""}).encode()
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json", "Prefer": "wait=20"}
    url = f"{server.url}/v1/models/tests/scripted"
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as answer:
        body = json.load(answer)

    assert answer.headers["preference-applied"] == "wait=20"
    assert body["status"] == "succeeded"
    assert server.fetch(body["output"]["image"]).startswith(b"\x89PNG")
