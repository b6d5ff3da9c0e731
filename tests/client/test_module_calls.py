"""`import gesso`: its calls against a foreign server, and the examples of their docstrings."""

import asyncio
import doctest
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from standin import CANCELLED, ID, IN_PROGRESS, IN_QUEUE, INVALID, MODEL, PNG, TOKEN, Standin

import gesso
from gesso.client import calls, client, events, files
from gesso.client.exchange import Call, Open
from gesso.client.line import Line

STREAM = {"Content-Type": "text/event-stream"}
DATA = {"prompt": "a cat", "image_urls": ["https://x.org/cat.png"]}


def stream(*frames: tuple[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """An answer that is a stream of events."""
    lines = [f"id: {id}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for id, (name, data) in enumerate(frames, 1)]
    return 200, STREAM, "".join(lines).encode()


@pytest.fixture(autouse=True)
def signed_in(server: Standin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GESSO_BASE_URL", server.url)
    monkeypatch.setenv("GESSO_TOKEN", TOKEN)
    monkeypatch.setattr(calls, "_client", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.jpg").write_bytes(PNG)


@pytest.fixture
def busy(server: Standin) -> Standin:
    """One with live events: a request waits, runs, and succeeds."""
    frames = [("status", IN_QUEUE), ("status", IN_PROGRESS), ("progress", {"fraction": 0.25, "step": 1, "steps": 4}),
              ("result", {"request_id": ID, **server.result})]  # fmt: skip
    server.can(f"GET /v1/requests/{ID}/events", stream(*frames))
    return server


@pytest.mark.parametrize("module", [calls, client, events, files], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings_run(busy: Standin, module: Any) -> None:
    busy.polls.extendleft([IN_QUEUE])
    names = {"gesso": gesso, "Event": events.Event, "Path": Path, "asyncio": asyncio}
    told = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)

    assert told.failed == 0
    assert told.attempted > 0 or module in (client, events)


def test_every_name_of_the_module_is_there() -> None:
    for name in gesso.__all__:
        assert getattr(gesso, name) is not None
    with pytest.raises(AttributeError):
        gesso.no_such_name  # noqa: B018


def test_every_call_has_its_twin_to_be_awaited() -> None:
    plain = [name for name in gesso.__all__ if name.islower() and hasattr(calls, name) and not name.endswith("_async")]

    assert {f"{name}_async" for name in plain} <= set(gesso.__all__)


def test_subscribe_tells_the_events_of_the_stream(busy: Standin) -> None:
    told: list[Any] = []
    result = gesso.subscribe(MODEL, DATA, on_enqueue=told.append, on_queue_update=told.append)

    assert told == [ID, gesso.Queued(2), gesso.InProgress(), gesso.InProgress(0.25, 1, 4), gesso.Completed(result)]
    assert busy.calls("GET", "/status") == []


def test_subscribe_tells_the_same_by_polling(server: Standin) -> None:
    server.polls.extendleft([IN_PROGRESS, IN_QUEUE])
    told: list[Any] = []
    result = gesso.subscribe(MODEL, DATA, on_queue_update=told.append)

    assert told == [gesso.Queued(2), gesso.InProgress(), gesso.Completed(result)]


def test_events_are_iterated(busy: Standin) -> None:
    kinds = [type(event).__name__ for event in gesso.submit(MODEL, DATA).iter_events()]

    assert kinds == ["Queued", "InProgress", "InProgress", "Completed"]


def test_who_stops_iterating_leaves_no_stream_open(busy: Standin) -> None:
    with gesso.Client() as asked:
        events = asked.handle(ID).iter_events()
        assert next(events) == gesso.Queued(2)
        events.close()  # type: ignore[attr-defined]

        assert asked.handle(ID).get()["status"] == "succeeded"


def test_a_stream_is_closed_with_its_line(busy: Standin) -> None:
    with gesso.Client() as asked:
        with Line(asked._http, asked._messages) as carry_out:
            carry_out(Open(Call("GET", f"/v1/requests/{ID}/events")))
            first = carry_out._open
            carry_out(Open(Call("GET", f"/v1/requests/{ID}/events")))
            second = carry_out._open
            assert first is not None
            assert second is not None
            assert (first.is_closed, second.is_closed) == (True, False)

        assert second.is_closed


async def test_the_async_twins_do_the_same(busy: Standin) -> None:
    told: list[Any] = []
    result = await gesso.subscribe_async(MODEL, DATA, on_queue_update=told.append)
    handle = await gesso.submit_async(MODEL, {"image_urls": [Path("cat.jpg")]})
    kinds = [type(event).__name__ async for event in handle.iter_events()]

    assert told[-1] == gesso.Completed(result)
    assert kinds == ["Queued", "InProgress", "InProgress", "Completed"]
    assert (await gesso.result_async(ID))["status"] == "succeeded"
    assert (await gesso.status_async(ID))["status"] == "completed"
    assert (await gesso.cancel_async(ID))["outcome"] == "cancelled"
    assert (await gesso.upload_file_async("cat.jpg")).startswith(busy.url)
    assert await gesso.download_outputs_async(result, "out") == [Path("out/0b9f0f7e-1.png")]
    await calls.client_async().close()


def test_each_event_loop_has_a_client_of_its_own(server: Standin) -> None:
    async def twice() -> bool:
        await gesso.run_async(MODEL, DATA)
        return calls.client_async() is calls.client_async()

    assert [asyncio.run(twice()) for _ in range(2)] == [True, True]


def test_pictures_are_uploaded_as_files_bytes_and_images(server: Standin) -> None:
    gesso.upload_file("cat.jpg")
    gesso.upload(PNG, "image/png")
    gesso.upload_image(Image.new("RGB", (4, 3)), "jpeg")

    types = [each.headers["content-type"] for each in server.calls("POST", "/v1/files")]
    assert types == ["image/jpeg", "image/png", "image/jpeg"]
    assert server.calls("POST", "/v1/files")[2].body.startswith(b"\xff\xd8")


def test_a_file_can_be_sent_as_text() -> None:
    assert gesso.encode_file("cat.jpg").startswith("data:image/jpeg;base64,")


def test_errors_are_typed_and_a_cancelled_request_says_that_it_never_ran(server: Standin) -> None:
    server.polls[0] = CANCELLED
    server.result = {"status": "cancelled"}
    with pytest.raises(gesso.RequestCancelled):
        gesso.run(MODEL, DATA)
    server.can(f"POST /v1/models/{MODEL}", (422, {}, INVALID))
    with pytest.raises(gesso.InvalidInput) as caught:
        gesso.run(MODEL, DATA)
    assert [each.loc for each in caught.value.problems] == [("body", "image_urls"), ("body", "seed")]


def test_a_lost_submit_is_sent_again_under_the_same_key(server: Standin) -> None:
    server.can(f"POST /v1/models/{MODEL}", (502, {}, b""), (502, {}, b""), (200, {}, {"request_id": ID}))
    gesso.submit(MODEL, DATA)

    keys = [each.headers["idempotency-key"] for each in server.calls("POST", MODEL)]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_own_requests_are_listed(server: Standin) -> None:
    page = {"requests": [{"request_id": ID, "model_id": MODEL, "status": "completed"}]}
    server.can("GET /v1/requests", (200, {}, page))
    with gesso.Client() as asked:
        assert asked.requests(limit=5, status="completed", cursor=None) == page

    assert server.seen[-1].query == {"limit": ["5"], "status": ["completed"]}


def test_importing_gesso_loads_nothing_until_a_name_is_used() -> None:
    code = "import gesso, sys; print('httpx2' in sys.modules); gesso.run; print('httpx2' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert told == ["False", "True"]
