"""The prompt extender against a chat endpoint of our own on a real socket: what it is asked, and what becomes of it."""

import asyncio
import base64
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image
from upstreams import KEY, KEY_ENV, LOST, Foreign, listening

from gesso.core.errors import ConfigError
from gesso.core.inputs import Inputs
from gesso.engines.extender import WARNING, Endpoint, Extender

pytestmark = pytest.mark.anyio
CHAT = "POST /v1/chat/completions"
Open = Callable[..., Extender]


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Foreign]:
    """The endpoint, and our key for it; no log may hold the key."""
    monkeypatch.setenv(KEY_ENV, KEY)
    caplog.set_level(logging.DEBUG)
    with listening() as server:
        yield server
    assert KEY not in caplog.text


@pytest.fixture
async def opened(foreign: Foreign) -> AsyncIterator[Open]:
    made: list[Extender] = []

    def open_one(**more: Any) -> Extender:
        made.append(Extender(Endpoint(**{"url": f"{foreign.url}/v1", "model": "qwen3-vl", **more})))
        return made[-1]

    yield open_one
    for each in made:
        await each.close()


def wrote(text: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}


def asked(**more: Any) -> Inputs:
    images = (Image.new("RGB", (2000, 1000), "red"), Image.new("RGB", (40, 30), "lime"))
    return Inputs(**{"images": images, "prompt": "カメラ", "seed": 7, "expand_prompt": True, **more})


async def test_the_model_is_asked_with_prompt_and_references_in_their_order(foreign: Foreign, opened: Open) -> None:
    foreign.tell(CHAT, wrote("A camera, close up."))
    await opened(key_env=KEY_ENV)(asked())
    (seen,) = foreign.seen
    prompt, *shown = seen.json["messages"][1]["content"]
    files = [base64.b64decode(each["image_url"]["url"].partition("base64,")[2]) for each in shown]
    images = [Image.open(io.BytesIO(file)) for file in files]

    assert (seen.json["model"], seen.json["seed"], seen.json["temperature"]) == ("qwen3-vl", 7, 0)
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.json["messages"][0]["role"] == "system"
    assert prompt == {"type": "text", "text": "カメラ"}
    assert [each.size for each in images] == [(512, 256), (40, 30)]
    assert [each.getpixel((5, 5))[1] > 200 for each in images] == [False, True]  # type: ignore[index]


async def test_what_it_wrote_is_used_and_told(foreign: Foreign, opened: Open) -> None:
    foreign.tell(CHAT, wrote("<think>Hm.\nA camera?</think>\n A camera, close up. \n"))
    inputs, notes = await opened()(asked())

    assert (inputs.prompt, inputs.expand_prompt) == ("A camera, close up.", False)
    assert notes == {"prompt_used": "A camera, close up.", "prompt_extended_by": "qwen3-vl"}
    assert inputs.images[0].size == (2000, 1000)
    assert "authorization" not in foreign.seen[0].headers


async def test_a_model_that_reads_text_only_is_shown_no_picture(foreign: Foreign, opened: Open) -> None:
    foreign.tell(CHAT, wrote("A camera."))
    await opened(sees=False, model="")(asked())
    body = foreign.seen[0].json

    assert body["messages"][1] == {"role": "user", "content": "カメラ"}
    assert "model" not in body


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((500, {"error": {"message": f"bad key {KEY}"}}), "HTTP 500"),
        ((401, {}), "HTTP 401"),
        ((302, {}), "HTTP 302"),
        (LOST, "cannot be reached"),
        ({"choices": []}, "not as documented"),
        ([1], "not as documented"),
        (b"<html>", "not as documented"),
        (wrote(None), "not as documented"),
        (wrote("  <think>x</think> "), "wrote nothing"),
        (wrote("x" * 2000), "wrote 2000 characters"),
        (b"[" * (2**20 + 1), "no end"),
    ],
)
async def test_whatever_it_answers_the_plain_prompt_is_left_and_a_warning(
    foreign: Foreign, opened: Open, answer: Any, says: str
) -> None:
    foreign.tell(CHAT, answer)
    inputs, notes = await opened(key_env=KEY_ENV)(asked())

    assert inputs == asked(images=inputs.images)
    assert (notes["prompt_used"], notes["warnings"]) == ("カメラ", [WARNING])
    assert says in notes["messages"][0]
    assert KEY not in notes["messages"][0]


async def test_an_extender_that_is_not_there_is_done_without(opened: Open) -> None:
    _, notes = await opened(url="http://127.0.0.1:9/v1")(asked())

    assert "cannot be reached" in notes["messages"][0]


async def test_an_extender_that_hangs_is_waited_for_once_and_not_by_the_next_request(
    foreign: Foreign, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hangs() -> Any:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result()
        return wrote("late")

    foreign.tell(CHAT, hangs)
    extend = opened(limit=timedelta(milliseconds=100))
    _, first = await extend(asked())
    _, second = await extend(asked())
    released.set()
    foreign.tell(CHAT, wrote("A camera."))
    monkeypatch.setattr(extend, "_rests_until", 0.0)
    inputs, _ = await extend(asked())

    assert "not answer in time" in first["messages"][0]
    assert "failed a moment ago" in second["messages"][0]
    assert inputs.prompt == "A camera."


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1/chat/completions"),
        ("https://chat.example/openai/v2", "https://chat.example/openai/v2/chat/completions"),
        ("https://chat.example/x/chat/completions", "https://chat.example/x/chat/completions"),
    ],
)
def test_the_path_of_the_call_is_added_where_it_is_missing(url: str, called: str) -> None:
    assert Endpoint(url).call_url() == called


@pytest.mark.parametrize(
    "url", ["chat.example/v1", "ftp://chat.example", "https://user:pw@chat.example", "https://x?key=1"]
)
def test_what_is_no_url_of_an_endpoint_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ConfigError, match="prompt_extender must be"):
        Extender(Endpoint(url))


def test_a_key_that_is_not_there_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)

    with pytest.raises(ConfigError, match=KEY_ENV):
        Extender(Endpoint("https://chat.example", key_env=KEY_ENV))
