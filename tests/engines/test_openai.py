"""The engine that asks an edit server of OpenAI's kind: the form as documented, and repeats that cost GPU time only."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from upstreams import (
    KEY,
    KEY_ENV,
    LOST,
    RED_GREEN,
    Foreign,
    Listener,
    asked,
    b64,
    colours,
    foreign,
    listening,
    picture,
    stop,
)

from gesso.core.errors import ConfigError, ContentRejected, EngineFailed, Stopped
from gesso.core.inputs import Size
from gesso.engines.openai import OpenAIEngine

__all__ = ["foreign"]
EDITS = "POST /v1/images/edits"
Engines = Callable[..., OpenAIEngine]


def made(size: tuple[int, int] = (64, 48)) -> dict[str, Any]:
    """SGLang's answer."""
    data = [{"b64_json": b64(picture(size=size)), "revised_prompt": None}]
    return {"id": "img-7", "created": 1795851909, "data": data, "inference_time_s": 5.29, "usage": {}}


@pytest.fixture
def engines(foreign: Foreign) -> Iterator[Engines]:
    opened: list[OpenAIEngine] = []

    def engine(**options: Any) -> OpenAIEngine:
        where = {} if "base_urls" in options else {"base_url": f"{foreign.url}/v1"}
        opened.append(OpenAIEngine(**{**where, "api_key_env": KEY_ENV, "timeout_s": 10.0, **options}))
        opened[-1].load()
        return opened[-1]

    foreign.tell(EDITS, made())
    yield engine
    for each in opened:
        each.close()
        each.close()


def test_the_form_is_as_documented(foreign: Foreign, engines: Engines) -> None:
    engines(model="qwen").run(asked(), Listener())
    form = foreign.seen[0].form()
    fields = {name: value.decode() for name, value in form if name != "image"}

    assert fields == {
        "model": "qwen", "prompt": asked().prompt, "negative_prompt": "blur", "n": "1", "size": "64x48",
        "response_format": "b64_json", "output_format": "png", "seed": "0",
    }  # fmt: skip
    assert colours([value for name, value in form if name == "image"]) == RED_GREEN
    assert foreign.seen[0].headers["authorization"] == f"Bearer {KEY}"


def test_steps_and_guidance_are_sent_only_where_they_are_set(foreign: Foreign, engines: Engines) -> None:
    engines(true_cfg_scale=1.0, guidance_scale=2.5, num_inference_steps=8, api_key_env="").run(asked(), Listener())
    fields = dict(foreign.seen[0].form())

    told = (fields["true_cfg_scale"], fields["guidance_scale"], fields["num_inference_steps"])
    assert told == (b"1.0", b"2.5", b"8")
    assert "authorization" not in foreign.seen[0].headers


def test_a_negative_prompt_that_would_be_ignored_is_not_sent(foreign: Foreign, engines: Engines) -> None:
    engine = engines(negative_prompt="ignored")
    engine.run(asked(), Listener())

    assert "negative_prompt" not in dict(foreign.seen[0].form())
    assert engine.abilities.negative_prompt == "ignored"


def test_the_notes_name_the_host_and_nothing_else_of_the_address(engines: Engines) -> None:
    notes = engines().run(asked(), Listener()).notes

    assert notes == {
        "upstream": "127.0.0.1", "upstream_request": "img-7", "prompt_extend": "ignored", "warnings": []
    }  # fmt: skip


def test_a_size_off_the_grid_is_asked_for_larger_and_cropped(foreign: Foreign, engines: Engines) -> None:
    foreign.tell(EDITS, made((1216, 736)))
    answer = engines(size_multiple=32).run(asked(size=Size(1200, 720)), Listener())

    assert dict(foreign.seen[0].form())["size"] == b"1216x736"
    assert answer.images[0].size == (1200, 720)
    assert answer.notes["warnings"] == []


def test_another_size_than_asked_is_told(foreign: Foreign, engines: Engines) -> None:
    foreign.tell(EDITS, made((1184, 704)))
    answer = engines().run(asked(size=Size(1200, 720)), Listener())

    assert answer.notes["warnings"] == ["upstream_made_another_size"]


@pytest.mark.parametrize("trouble", [LOST, (429, {}), (500, {}), (502, b"<html>"), (503, {})])
def test_what_may_pass_is_asked_again(foreign: Foreign, engines: Engines, trouble: Any) -> None:
    foreign.tell(EDITS, trouble, trouble, made())
    answer = engines().run(asked(), Listener())

    assert answer.images[0].size == (64, 48)
    assert len(foreign.seen) == 3


def test_repeats_end(foreign: Foreign, engines: Engines) -> None:
    foreign.tell(EDITS, (503, {"message": "busy"}))

    with pytest.raises(EngineFailed, match="busy"):
        engines().run(asked(), Listener())
    assert len(foreign.seen) == 5


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, {"error": {"message": "size 7x7 is too small", "code": 400}}, "size 7x7 is too small"),
        (400, {"object": "error", "message": "The model `x` does not exist.", "code": 404}, "does not exist"),
        (422, {"detail": [{"loc": ["body", "image"], "msg": "Field required"}]}, "Field required"),
        (422, {"detail": "no image"}, "no image"),
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, KEY_ENV),
        (400, {"message": "braces {reason} and {0}"}, "braces"),
        (307, b"", "HTTP 307"),
    ],
)
def test_a_refusal_is_told_in_its_words_and_not_repeated(
    foreign: Foreign, engines: Engines, status: int, body: Any, says: str
) -> None:
    foreign.tell(EDITS, (status, body))

    with pytest.raises(EngineFailed, match=says):
        engines().run(asked(), Listener())
    assert len(foreign.seen) == 1


def test_no_key_address_or_path_gets_into_an_error(foreign: Foreign, engines: Engines) -> None:
    words = f"{KEY} at http://10.0.0.7:30000/v1 (10.0.0.7:30000) in /srv/models/qwen.py: bad size"
    foreign.tell(EDITS, (400, {"message": words}))

    with pytest.raises(EngineFailed) as failed:
        engines().run(asked(), Listener())
    assert "bad size" in str(failed.value)
    assert not [each for each in (KEY, "10.0.0.7", "30000", "srv", "qwen.py") if each in str(failed.value)]
    assert KEY not in repr(engines())


@pytest.mark.parametrize("code", ["moderation_blocked", "content_policy_violation"])
def test_moderation_is_told_as_such(foreign: Foreign, engines: Engines, code: str) -> None:
    foreign.tell(EDITS, (400, {"error": {"message": "no", "code": code}}))

    with pytest.raises(ContentRejected):
        engines().run(asked(), Listener())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": []},
        {"data": [{"url": "https://files.example/1.png"}]},
        {"data": [{"b64_json": "*"}]},
        {"data": [{"b64_json": b64(b"GIF89a no picture")}]},
        {"data": [{"b64_json": b64(picture()[:60])}]},
        b"<html>",
    ],
)
def test_an_answer_without_a_good_picture_is_a_failure_and_the_engine_works_on(
    foreign: Foreign, engines: Engines, body: Any
) -> None:
    engine = engines()
    foreign.tell(EDITS, body, made())

    with pytest.raises(EngineFailed):
        engine.run(asked(), Listener())
    assert engine.run(asked(), Listener()).images


def test_replicas_take_turns_and_one_that_is_away_is_passed_over(foreign: Foreign, engines: Engines) -> None:
    with listening() as second:
        second.tell(EDITS, made())
        engine = engines(base_urls=[foreign.url, second.url])
        for _ in range(4):
            engine.run(asked(), Listener())
        turns = (len(foreign.seen), len(second.seen))
    engine.run(asked(), Listener())
    engine.run(asked(), Listener())

    assert turns == (2, 2)
    assert len(foreign.seen) == 4


def test_a_slow_server_is_told_from_a_hung_engine_and_a_word_to_stop_waits_for_it(
    foreign: Foreign, engines: Engines
) -> None:
    def slowly() -> Any:
        time.sleep(0.2)
        return made()

    foreign.tell(EDITS, slowly)
    patient, stopped = Listener(), Listener(lambda: stop() if len(stopped.steps) > 1 else None)
    engines().run(asked(), patient)
    with pytest.raises(Stopped):
        engines().run(asked(), stopped)

    assert len(patient.steps) > 3
    assert all(step < of for step, of in patient.steps)
    assert len(stopped.steps) == 2
    assert len(foreign.seen) == 2


@pytest.mark.parametrize("count", [0, 4])
def test_a_wrong_number_of_images_asks_nobody(foreign: Foreign, engines: Engines, count: int) -> None:
    with pytest.raises(EngineFailed):
        engines().run(asked(images=asked().images[:1] * count), Listener())
    assert foreign.seen == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base_url": ""}, "base_url"),
        ({"base_url": "127.0.0.1:30000"}, "base URL"),
        ({"base_urls": "http://127.0.0.1:1"}, "base_url"),
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
        ({"timeout_s": "600"}, "timeout_s"),
        ({"size_multiple": 0}, "size_multiple"),
        ({"negative_prompt": "maybe"}, "negative_prompt"),
    ],
)
def test_options_that_cannot_be_are_told_when_it_loads(engines: Engines, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        engines(**options)


def test_a_key_that_no_header_can_carry_is_told_without_it(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, "sk secret\n2")

    with pytest.raises(ConfigError) as told:
        engines()
    assert "secret" not in str(told.value)
