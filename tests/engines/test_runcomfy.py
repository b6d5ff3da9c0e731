"""The engine that asks another model API: as a careful client of RunComfy, and of a second Gesso."""

import base64
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from upstreams import (
    KEY,
    KEY_ENV,
    LOST,
    RED_GREEN,
    Foreign,
    Listener,
    asked,
    colours,
    foreign,
    picture,
    stop,
)

from gesso.core.errors import ConfigError, ContentRejected, EngineFailed, Stopped
from gesso.core.inputs import Size
from gesso.engines.runcomfy import RunComfyEngine

__all__ = ["foreign"]
ID = "0b9f0f7e-5d0c-4a8e-9d25-2f1f6f0f9c11"
MODEL = "wan-ai/wan-2-6/image-to-image"
ENTRY, SUBMIT = f"GET /v1/models/{MODEL}", f"POST /v1/models/{MODEL}"
RESULT, CANCEL = f"GET /v1/requests/{ID}/result", f"POST /v1/requests/{ID}/cancel"
FILE = "GET /files/1.png?signature=9c"
Engines = Callable[..., RunComfyEngine]
PROPERTIES: dict[str, Any] = {
    **{name: {"type": "string"} for name in ("prompt", "negative_prompt")},
    "image_urls": {"type": "array", "items": {"type": "string", "format": "image_uri"}},
    "image_size": {"type": "string", "enum": ["1024*1024 (1:1)", "64*48 (4:3)", "auto"]},
    "seed": {"type": "integer"},
    "prompt_extend": {"type": "boolean"},
}


def entry(**properties: Any) -> dict[str, Any]:
    return {"model_id": MODEL, "input_schema": {"type": "object", "properties": PROPERTIES | properties}}


def told(status: str, **more: Any) -> dict[str, Any]:
    return {"request_id": ID, "model_id": MODEL, "status": status, "created_at": "…", **more}


def failed(code: int, message: str) -> dict[str, Any]:
    return told("failed", error={"code": code, "message": message})


def refused(status: int, code: int, message: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return status, {"code": code, "error_code": code, "error": "x", "error_message": message, "detail": [], **more}


@pytest.fixture
def done(foreign: Foreign) -> dict[str, Any]:
    url = f"{foreign.url}/files/1.png?signature=9c"
    return told("succeeded", output={"image": url, "images": [url]})


@pytest.fixture
def engines(foreign: Foreign, done: dict[str, Any]) -> Iterator[Engines]:
    opened: list[RunComfyEngine] = []

    def engine(**options: Any) -> RunComfyEngine:
        where = {"model_id": MODEL, "base_url": f"{foreign.url}/v1", "token_env": KEY_ENV}
        opened.append(RunComfyEngine(**{**where, "poll_s": 0.02, "timeout_s": 5.0, **options}))
        opened[-1].load()
        return opened[-1]

    foreign.tell(ENTRY, entry())
    elsewhere = dict.fromkeys(("status_url", "result_url", "cancel_url"), "https://elsewhere.example/steal")
    foreign.tell(SUBMIT, {"request_id": ID, **elsewhere})
    foreign.tell(RESULT, told("in_queue"), told("in_progress"), done)
    foreign.tell(FILE, picture())
    yield engine
    for each in opened:
        each.close()
        each.close()


def test_the_public_input_is_submitted_once_and_the_result_polled(foreign: Foreign, engines: Engines) -> None:
    made = engines().run(asked(), Listener())
    body = foreign.calls(SUBMIT)[0].json
    images = [base64.b64decode(uri.removeprefix("data:image/png;base64,")) for uri in body.pop("image_urls")]

    assert [f"{each.method} {each.path}" for each in foreign.seen] == [ENTRY, SUBMIT, RESULT, RESULT, RESULT, FILE]
    assert body == {
        "prompt": asked().prompt, "negative_prompt": "blur", "image_size": "64*48 (4:3)", "seed": 0,
        "prompt_extend": True,
    }  # fmt: skip
    assert colours(images) == RED_GREEN
    assert made.images[0].getpixel((0, 0)) == (10, 120, 200)
    assert made.notes == {"upstream": "127.0.0.1", "upstream_request": ID, "warnings": []}


def test_the_token_goes_to_the_api_and_not_to_the_file_host(foreign: Foreign, engines: Engines) -> None:
    engines().run(asked(), Listener())
    *api, file = foreign.seen

    assert {each.headers["authorization"] for each in api} == {f"Bearer {KEY}"}
    assert "authorization" not in file.headers
    assert "idempotency-key" not in foreign.calls(SUBMIT)[0].headers


def test_fields_are_named_as_the_upstream_has_them_and_others_left_out(foreign: Foreign, engines: Engines) -> None:
    entry_ = {"input_schema": {"properties": {"text": {"type": "string"}, "photo": {"type": "string"}, "steps": {}}}}
    foreign.tell(ENTRY, entry_)
    inputs = asked(images=asked().images[:1], extra={"steps": 8, "unknown": 1})
    engines(fields={"prompt": "text", "images": "photo"}).run(inputs, Listener())
    body = foreign.calls(SUBMIT)[0].json

    assert body.pop("photo").startswith("data:image/png;base64,")
    assert body == {"text": asked().prompt, "steps": 8}


def test_a_size_that_the_upstream_does_not_make_is_refused_before_anything_is_paid(
    foreign: Foreign, engines: Engines
) -> None:
    with pytest.raises(EngineFailed, match=r"makes no 65x48; it makes 1024\*1024 \(1:1\), 64\*48"):
        engines().run(asked(size=Size(65, 48)), Listener())

    assert foreign.calls(SUBMIT) == []


def test_a_free_size_is_spelled_with_a_star(foreign: Foreign, engines: Engines) -> None:
    foreign.tell(ENTRY, entry(image_size={"type": "string"}))
    engines().run(asked(), Listener())

    assert foreign.calls(SUBMIT)[0].json["image_size"] == "64*48"


@pytest.mark.parametrize("word", ["succeeded", "completed"])
def test_both_words_of_success_are_taken(foreign: Foreign, engines: Engines, done: dict[str, Any], word: str) -> None:
    foreign.tell(RESULT, done | {"status": word, "metadata": {"prompt_used": f"a cat {KEY}"}})
    made = engines().run(asked(), Listener())

    assert made.notes["prompt_used"] == "a cat …"


@pytest.mark.parametrize(
    ("result", "kind", "says"),
    [
        (failed(422003, "no"), ContentRejected, "rejected"),
        (failed(422001, "Each side of an image must be at least 384 pixels."), EngineFailed, "at least 384"),
        (failed(502001, f"broke at /srv/x/y.py with {KEY}"), EngineFailed, "broke at … with …"),
        (failed(999, "what is this"), EngineFailed, "what is this"),
        (told("failed"), EngineFailed, "engine failed"),
        (told("cancelled"), EngineFailed, "engine failed"),
        (told("completed", error={"code": 422003, "message": "no"}), ContentRejected, "rejected"),
        (told("succeeded", output={}), EngineFailed, "no picture"),
        (refused(404, 404001, "There is no such request."), EngineFailed, "no such request"),
        (refused(401, 400004, f"bad token {KEY}"), EngineFailed, KEY_ENV),
    ],
)
def test_a_failure_keeps_its_meaning(
    foreign: Foreign, engines: Engines, result: Any, kind: type[Exception], says: str
) -> None:
    foreign.tell(RESULT, result)

    with pytest.raises(kind, match=says) as fault:
        engines().run(asked(), Listener())
    assert KEY not in str(fault.value)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (refused(422, 422001, "Not as the schema says.", detail=[
            {"loc": ["body", "prompt"], "msg": "Field required.", "type": "missing"},
        ]), EngineFailed, "Field required"),
        (refused(422, 422003, "no"), ContentRejected, "rejected"),
        (refused(402, 400002, "poor"), EngineFailed, "no balance left"),
        (refused(200, 500001, "an error with a 200"), EngineFailed, "with a 200"),
        ({"request_id": "../../steal"}, EngineFailed, "not as expected|failed"),
        (LOST, EngineFailed, "lost"),
        ((500, {}), EngineFailed, "failed"),
        ((502, b"<html>"), EngineFailed, "failed"),
    ],
)  # fmt: skip
def test_a_submit_that_may_have_been_taken_or_never_will_be_is_not_repeated(
    foreign: Foreign, engines: Engines, answer: Any, kind: type[Exception], says: str
) -> None:
    foreign.tell(SUBMIT, answer)

    with pytest.raises(kind, match=says):
        engines().run(asked(), Listener())
    assert len(foreign.calls(SUBMIT)) == 1


@pytest.mark.parametrize("trouble", [refused(429, 429001, "busy"), refused(503, 503001, "away")])
def test_a_submit_that_was_certainly_not_taken_is_repeated(foreign: Foreign, engines: Engines, trouble: Any) -> None:
    foreign.tell(SUBMIT, trouble, trouble, {"request_id": ID})

    assert engines().run(asked(), Listener()).images
    assert len(foreign.calls(SUBMIT)) == 3


def test_where_the_upstream_keeps_idempotency_keys_a_lost_submit_is_repeated_with_the_same(
    foreign: Foreign, engines: Engines
) -> None:
    foreign.tell(SUBMIT, LOST, (500, {}), {"request_id": ID})
    listener = Listener()
    engines(idempotent=True).run(asked(), listener)
    keys = {each.headers["idempotency-key"] for each in foreign.calls(SUBMIT)}
    bodies = {each.body for each in foreign.calls(SUBMIT)}

    assert (len(foreign.calls(SUBMIT)), len(keys), len(bodies)) == (3, 1, 1)
    assert listener.remembered == [f"key:{next(iter(keys))}", ID]


def test_a_remembered_key_is_used_again(foreign: Foreign, engines: Engines) -> None:
    engines(idempotent=True).run(asked(remembered="key:0123"), Listener())

    assert foreign.calls(SUBMIT)[0].headers["idempotency-key"] == "0123"


def test_a_remembered_request_is_taken_up_and_no_other_is_submitted(foreign: Foreign, engines: Engines) -> None:
    made = engines().run(asked(remembered=ID), Listener())

    assert foreign.calls(SUBMIT) == []
    assert made.notes["upstream_request"] == ID


def test_a_remembered_request_that_was_cancelled_while_it_waited_is_submitted_anew(
    foreign: Foreign, engines: Engines, done: dict[str, Any]
) -> None:
    foreign.tell(RESULT, told("cancelled"), done)

    assert engines().run(asked(remembered=ID), Listener()).images
    assert len(foreign.calls(SUBMIT)) == 1


@pytest.mark.parametrize(("word", "cancels"), [("in_queue", 1), ("in_progress", 0)])
def test_a_run_that_is_stopped_cancels_only_what_still_waits(
    foreign: Foreign, engines: Engines, word: str, cancels: int
) -> None:
    foreign.tell(RESULT, told(word))
    listener = Listener(lambda: stop() if len(foreign.calls(RESULT)) > 2 else None)

    with pytest.raises(Stopped):
        engines().run(asked(), listener)
    assert len(foreign.calls(CANCEL)) == cancels
    assert listener.remembered == [ID]


def test_a_run_that_is_stopped_before_it_has_submitted_submits_nothing(foreign: Foreign, engines: Engines) -> None:
    def slowly() -> Any:
        time.sleep(0.1)
        return entry()

    foreign.tell(ENTRY, slowly)
    listener = Listener(lambda: stop() if len(listener.steps) == 2 else None)

    with pytest.raises(Stopped):
        engines().run(asked(), listener)
    assert [each.method for each in foreign.seen] == ["GET"]


@pytest.mark.parametrize("trouble", [LOST, (429, {}), (500, {}), (504, b"")])
def test_a_poll_without_an_answer_loses_no_request(
    foreign: Foreign, engines: Engines, done: dict[str, Any], trouble: Any
) -> None:
    foreign.tell(RESULT, *[trouble] * 7, done)

    assert engines().run(asked(), Listener()).images
    assert len(foreign.calls(SUBMIT)) == 1


@pytest.mark.parametrize("file", [b"", b"<html>", picture()[:50], (404, b"gone"), (302, b"")])
def test_a_bad_picture_is_a_failure(foreign: Foreign, engines: Engines, file: Any) -> None:
    foreign.tell(FILE, file)

    with pytest.raises(EngineFailed, match="picture"):
        engines().run(asked(), Listener())


def test_an_image_that_is_too_large_as_png_goes_as_jpeg(foreign: Foreign, engines: Engines) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (1600, 1600, 3), dtype=np.uint8))
    engines().run(asked(images=(noise,)), Listener())
    (uri,) = foreign.calls(SUBMIT)[0].json["image_urls"]

    assert uri.startswith("data:image/jpeg;base64,")
    assert len(base64.b64decode(uri.partition(",")[2])) <= 6 * 2**20


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"token_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
        ({"token_env": ""}, "token_env"),
        ({"model_id": "wan"}, "model_id"),
        ({"poll_s": True}, "poll_s"),
        ({"base_url": "ftp://x"}, "base URL"),
    ],
)
def test_options_that_cannot_be_are_told_when_it_loads(engines: Engines, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        engines(**options)


@pytest.fixture
def gesso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The base URL of a second Gesso, a process of its own; its token is in the environment."""
    words = [sys.executable, "-m", "gesso", "up", "--data-dir", str(tmp_path / "second"), "--port", "0"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    found: dict[str, str] = {}
    for line in process.stdout:
        for name, mark in (("url", "Gesso listens on "), ("token", "Your first token, shown this once:")):
            found |= {name: line.split(mark)[1].strip()} if mark in line else {}
        if len(found) == 2:
            break
    monkeypatch.setenv(KEY_ENV, found["token"])
    yield found["url"]
    process.terminate()
    process.wait(20)
    process.stdout.close()


def test_a_second_gesso_makes_the_picture_and_is_found_again(gesso: str) -> None:
    engine = RunComfyEngine(
        model_id="gesso/echo/image-to-image", base_url=gesso, token_env=KEY_ENV, poll_s=0.2, idempotent=True
    )
    engine.load()
    listener = Listener()
    blue = Image.new("RGB", (500, 400), (0, 0, 255))
    inputs = asked(images=(blue,), size=Size(1280, 720))
    made = engine.run(inputs, listener)
    again = engine.run(asked(images=(blue,), size=Size(1280, 720), remembered=listener.remembered[-1]), Listener())
    with pytest.raises(EngineFailed, match="makes no 65x48"):
        engine.run(asked(images=(blue,), size=Size(65, 48)), Listener())
    small = asked(images=(blue.resize((300, 300)),), size=Size(512, 512))
    with pytest.raises(EngineFailed, match="at least 384 pixels"):
        engine.run(small, Listener())
    engine.close()

    assert (made.images[0].size, made.images[0].getpixel((5, 5))) == ((1280, 720), (0, 0, 255))
    assert again.notes["upstream_request"] == made.notes["upstream_request"] == listener.remembered[-1]
