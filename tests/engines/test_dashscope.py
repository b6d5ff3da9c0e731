"""The engine that asks DashScope: the body as documented, one task for one request, and nothing paid for twice."""

import base64
import time
from collections.abc import Callable, Iterator
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
from gesso.engines.dashscope import DashScopeEngine

__all__ = ["foreign"]
ID = "0385dc79-5ff8-4d82-bcb6-1f2e3d"
CREATE = "POST /api/v1/services/aigc/image-generation/generation"
POLL = f"GET /api/v1/tasks/{ID}"
CANCEL = f"POST /api/v1/tasks/{ID}/cancel"
FILE = "GET /1xxx.png?Expires=xxx"
Engines = Callable[..., DashScopeEngine]


def task(state: str, **more: Any) -> dict[str, Any]:
    return {"request_id": "43d9e959", "output": {"task_id": ID, "task_status": state, **more}}


def refused(status: int, code: str, message: str = "no") -> tuple[int, dict[str, str]]:
    return status, {"code": code, "message": message, "request_id": "43d9e959"}


@pytest.fixture
def done(foreign: Foreign) -> dict[str, Any]:
    content = [{"image": f"{foreign.url}/1xxx.png?Expires=xxx", "type": "image"}]
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    return task("SUCCEEDED", finished=True, choices=[choice]) | {"usage": {"size": "64*48", "image_count": 1}}


@pytest.fixture
def engines(foreign: Foreign, done: dict[str, Any]) -> Iterator[Engines]:
    opened: list[DashScopeEngine] = []

    def engine(**options: Any) -> DashScopeEngine:
        given = {"base_url": foreign.url, "api_key_env": KEY_ENV, "poll_s": 0.02, "timeout_s": 5.0, **options}
        opened.append(DashScopeEngine(**given))
        opened[-1].load()
        return opened[-1]

    foreign.tell(CREATE, task("PENDING"))
    foreign.tell(POLL, task("PENDING"), task("RUNNING"), done)
    foreign.tell(FILE, picture())
    yield engine
    for each in opened:
        each.close()
        each.close()


def test_the_body_is_as_documented_and_asks_for_one_picture(foreign: Foreign, engines: Engines) -> None:
    engines().run(asked(), Listener())
    (created,) = foreign.calls(CREATE)
    (message,) = created.json["input"]["messages"]
    text, *images = message["content"]

    assert (created.headers["x-dashscope-async"], created.headers["authorization"]) == ("enable", f"Bearer {KEY}")
    assert (created.json["model"], message["role"], text) == ("wan2.6-image", "user", {"text": asked().prompt})
    assert created.json["parameters"] == {
        "negative_prompt": "blur", "size": "64*48", "n": 1, "seed": 0, "prompt_extend": True, "watermark": False,
        "enable_interleave": False,
    }  # fmt: skip
    files = [base64.b64decode(each["image"].removeprefix("data:image/png;base64,")) for each in images]
    assert colours(files) == RED_GREEN


def test_the_picture_is_fetched_as_soon_as_it_is_there_and_without_the_key(foreign: Foreign, engines: Engines) -> None:
    made = engines(base_url=f"{foreign.url}/api/v1").run(asked(), Listener())
    asked_for = [f"{each.method} {each.path}" for each in foreign.seen]

    assert asked_for == [CREATE, POLL, POLL, POLL, FILE]
    assert "authorization" not in foreign.seen[-1].headers
    assert made.images[0].getpixel((0, 0)) == (10, 120, 200)
    assert made.notes == {
        "upstream": "127.0.0.1", "upstream_request": ID, "prompt_extend": "native", "warnings": []
    }  # fmt: skip


def test_the_prompt_that_was_used_is_told_where_the_vendor_tells_it(
    foreign: Foreign, engines: Engines, done: dict[str, Any]
) -> None:
    done["output"]["actual_prompt"] = f"a very fluffy cat {KEY}"
    notes = engines().run(asked(), Listener()).notes

    assert notes["prompt_used"] == "a very fluffy cat …"


def test_the_task_is_remembered_before_it_is_asked_after(foreign: Foreign, engines: Engines) -> None:
    listener = Listener()
    engines().run(asked(), listener)

    assert listener.remembered == [ID]
    with pytest.raises(Stopped):
        engines().run(asked(), Listener(stops_at_remember=True))
    assert [f"{each.method} {each.path}" for each in foreign.seen[-2:]] == [CREATE, CANCEL]


def test_a_remembered_task_is_taken_up_and_no_other_is_created(foreign: Foreign, engines: Engines) -> None:
    made = engines().run(asked(remembered=ID), Listener())

    assert foreign.calls(CREATE) == []
    assert made.notes["upstream_request"] == ID


def test_a_remembered_task_that_was_cancelled_while_it_waited_is_created_anew(
    foreign: Foreign, engines: Engines, done: dict[str, Any]
) -> None:
    foreign.tell(POLL, task("CANCELED"), task("RUNNING"), done)
    made = engines().run(asked(remembered=ID), Listener())

    assert len(foreign.calls(CREATE)) == 1
    assert made.images


def test_a_remembered_task_that_is_forgotten_there_is_not_paid_for_again(foreign: Foreign, engines: Engines) -> None:
    foreign.tell(POLL, task("UNKNOWN"))

    with pytest.raises(EngineFailed, match="UNKNOWN"):
        engines().run(asked(remembered=ID), Listener())
    assert foreign.calls(CREATE) == []


@pytest.mark.parametrize(
    "trouble", [refused(429, "Throttling.RateQuota"), refused(500, "InternalError"), refused(503, "Busy")]
)
def test_a_task_that_was_certainly_not_created_is_created_again(
    foreign: Foreign, engines: Engines, trouble: Any
) -> None:
    foreign.tell(CREATE, trouble, trouble, task("PENDING"))

    assert engines().run(asked(), Listener()).images
    assert len(foreign.calls(CREATE)) == 3


@pytest.mark.parametrize(
    "trouble",
    [LOST, (502, b"<html>"), (504, b""), refused(429, "Throttling.AllocationQuota"), refused(400, "InvalidParameter")],
)
def test_a_task_that_may_have_been_created_or_never_will_be_is_not_created_again(
    foreign: Foreign, engines: Engines, trouble: Any
) -> None:
    foreign.tell(CREATE, trouble)

    with pytest.raises(EngineFailed):
        engines().run(asked(), Listener())
    assert len(foreign.calls(CREATE)) == 1


@pytest.mark.parametrize("trouble", [LOST, (429, {}), (500, {}), (504, b"")])
def test_a_poll_without_an_answer_loses_no_task(
    foreign: Foreign, engines: Engines, done: dict[str, Any], trouble: Any
) -> None:
    foreign.tell(POLL, task("RUNNING"), *[trouble] * 7, done)
    foreign.tell(FILE, trouble, picture())

    assert engines().run(asked(), Listener()).images
    assert len(foreign.calls(CREATE)) == 1


@pytest.mark.parametrize("code", ["DataInspectionFailed", "DataInspectionFailed.Input"])
def test_moderation_is_told_as_such_whenever_it_speaks(foreign: Foreign, engines: Engines, code: str) -> None:
    foreign.tell(POLL, task("FAILED", code=code, message="may contain inappropriate content"))
    with pytest.raises(ContentRejected):
        engines().run(asked(), Listener())

    foreign.tell(CREATE, refused(400, code))
    with pytest.raises(ContentRejected):
        engines().run(asked(), Listener())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (refused(401, "InvalidApiKey", f"Invalid API-key provided: {KEY}"), KEY_ENV),
        (refused(400, "Arrearage", "overdue"), "in arrears"),
        (refused(404, "ModelNotFound", "Model not exist."), "ModelNotFound: Model not exist."),
        (refused(403, "AccessDenied", f"{KEY} may not"), "AccessDenied: … may not"),
    ],
)
def test_a_refusal_is_told_without_the_key(foreign: Foreign, engines: Engines, answer: Any, says: str) -> None:
    foreign.tell(CREATE, answer)

    with pytest.raises(EngineFailed, match=says) as failed:
        engines().run(asked(), Listener())
    assert KEY not in str(failed.value)


def test_a_failed_task_is_told_in_its_words(foreign: Foreign, engines: Engines) -> None:
    foreign.tell(POLL, task("FAILED", code="InternalError.Algo", message="the GPU is on fire"))

    with pytest.raises(EngineFailed, match="the GPU is on fire"):
        engines().run(asked(), Listener())


@pytest.mark.parametrize(("field", "most"), [("prompt", 2000), ("negative_prompt", 500)])
def test_a_text_that_would_be_cut_is_refused(foreign: Foreign, engines: Engines, field: str, most: int) -> None:
    engines().run(asked(**{field: "猫" * most}), Listener())
    with pytest.raises(EngineFailed, match=str(most)):
        engines().run(asked(**{field: "猫" * (most + 1)}), Listener())

    assert len(foreign.calls(CREATE)) == 1


def test_a_run_that_is_stopped_cancels_only_what_still_waits(
    foreign: Foreign, engines: Engines, done: dict[str, Any]
) -> None:
    for state, cancels in (("PENDING", 1), ("RUNNING", 0)):
        foreign.seen.clear()
        foreign.tell(POLL, task(state))

        def stop_later() -> None:
            if len(foreign.calls(POLL)) > 2:
                stop()

        with pytest.raises(Stopped):
            engines().run(asked(), Listener(stop_later))
        assert len(foreign.calls(CANCEL)) == cancels


def test_a_word_to_stop_while_the_task_is_created_waits_until_its_id_is_remembered(
    foreign: Foreign, engines: Engines
) -> None:
    def slowly() -> Any:
        time.sleep(0.1)
        return task("PENDING")

    foreign.tell(CREATE, slowly)
    listener = Listener(lambda: stop() if len(listener.steps) == 2 else None)

    with pytest.raises(Stopped):
        engines().run(asked(), listener)
    assert listener.remembered == [ID]
    assert [len(foreign.calls(each)) for each in (CREATE, POLL, CANCEL)] == [1, 0, 1]


def test_a_task_that_takes_too_long_is_told_and_steps_are_told_until_then(foreign: Foreign, engines: Engines) -> None:
    foreign.tell(POLL, task("RUNNING"))
    listener = Listener()

    with pytest.raises(EngineFailed, match=r"within 0\.2 seconds"):
        engines(timeout_s=0.2).run(asked(), listener)
    assert [step for step, _ in listener.steps] == sorted(step for step, _ in listener.steps)
    assert listener.steps[-1][0] >= 5


@pytest.mark.parametrize("file", [b"", b"<html>", picture()[:50], (404, b"expired")])
def test_a_bad_picture_is_a_failure(foreign: Foreign, engines: Engines, file: Any) -> None:
    foreign.tell(FILE, file)

    with pytest.raises(EngineFailed, match="picture"):
        engines().run(asked(), Listener())


@pytest.mark.parametrize("url", [None, 7, "", "file:///etc/passwd", "http://10.0.0.7/secret.png", "ftp://x/y"])
def test_a_picture_is_fetched_by_https_or_from_the_upstream_only(
    foreign: Foreign, engines: Engines, done: dict[str, Any], url: Any
) -> None:
    done["output"]["choices"][0]["message"]["content"][0]["image"] = url

    with pytest.raises(EngineFailed, match="no address"):
        engines().run(asked(), Listener())


def test_an_image_that_is_too_large_as_png_goes_as_jpeg_without_alpha(foreign: Foreign, engines: Engines) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1900, 1900, 4), dtype=np.uint8)
    engines().run(asked(images=(Image.fromarray(noise, "RGBA"),)), Listener())
    uri = foreign.calls(CREATE)[0].json["input"]["messages"][0]["content"][1]["image"]

    assert uri.startswith("data:image/jpeg;base64,")
    assert len(base64.b64decode(uri.partition(",")[2])) <= 10_000_000


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
        ({"api_key_env": ""}, "api_key_env"),
        ({"poll_s": 0}, "poll_s"),
        ({"model": ""}, "model"),
        ({"base_url": "dashscope"}, "base URL"),
    ],
)
def test_options_that_cannot_be_are_told_when_it_loads(engines: Engines, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        engines(**options)
