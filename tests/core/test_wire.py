"""The public JSON: times, words and outputs as clients parse them, and errors that come back as what they were."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from gesso.core import errors, wire
from gesso.core.errors import GessoError, InvalidInput, Problem, RunFailed
from gesso.core.pictures import Kept
from gesso.core.problems import PROBLEMS
from gesso.core.request import Failed, Request, Succeeded
from gesso.core.states import State
from gesso.core.texts import Texts

WIRE = wire.Wire("https://api.example.org/", Texts({}))
AT = datetime(2026, 11, 21, 7, 45, tzinfo=UTC)
FACTS = {"limit": "64 MiB", "expected": "x", "seconds": 3, "reason": "x", "attempts": 3, "state": "s", "event": "e"}
FACTS |= {"model": "a/b"}


def each_error() -> list[GessoError]:
    """One of every class."""
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, GessoError)]
    special: dict[type, Any] = {InvalidInput: lambda: InvalidInput((Problem(("body", "seed"), "missing"),))}
    away = [kind for kind in kinds if issubclass(kind, errors.Unavailable)]
    special |= {kind: lambda kind=kind: kind(seconds=3) for kind in (errors.TooMany, *away)}
    return [special.get(kind, lambda kind=kind: kind(**FACTS))() for kind in kinds]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (AT, "2026-11-21T07:45:00.000000+00:00"),
        (AT + timedelta(microseconds=120344), "2026-11-21T07:45:00.120344+00:00"),
        (datetime(2026, 11, 21, 16, 45, tzinfo=timezone(timedelta(hours=9))), "2026-11-21T07:45:00.000000+00:00"),
    ],
)
def test_a_time_has_six_digits_and_the_offset_of_utc(moment: datetime, text: str) -> None:
    assert wire.time(moment) == text


@pytest.mark.parametrize(
    "error", [each for each in each_error() if not isinstance(each, RunFailed)], ids=lambda error: type(error).__name__
)
def test_an_error_read_off_the_wire_has_the_code_name_status_and_words_it_was_sent_with(error: GessoError) -> None:
    read = wire.parse_error(error.status, WIRE.error(error, "en"))

    assert (read.status, read.code, read.name, str(read)) == (error.status, error.code, error.name, str(error))
    assert [(each.loc, each.type) for each in read.problems] == [(each.loc, each.type) for each in error.problems]


def test_every_error_body_has_the_five_keys_and_its_code_twice() -> None:
    for error in each_error():
        body = WIRE.error(error, "en")

        assert list(body) == ["code", "error_code", "error", "error_message", "detail"]
        assert body["code"] == body["error_code"] == error.code
        assert isinstance(body["error"], str)
        assert isinstance(body["detail"], list)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (401, errors.BadToken),
        (404, errors.ResourceNotFound),
        (413, errors.PayloadTooLarge),
        (422, InvalidInput),
        (429, errors.TooMany),
        (500, errors.InternalError),
        (503, errors.Unavailable),
        (502, GessoError),
        (418, GessoError),
    ],
)
@pytest.mark.parametrize("body", [None, "<html>", [], {}, {"code": 999}, {"error_code": None, "detail": "no list"}])
def test_a_body_that_is_none_of_ours_is_read_by_its_status(status: int, kind: type, body: Any) -> None:
    assert type(wire.parse_error(status, body)) is kind


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": {"no": "number"}},
        {"error_code": [1]},
        {"code": "404001"},
        {"error_code": 422001, "detail": ["text", None, {"loc": None}, {"loc": "x"}, {"loc": 5}]},
    ],
)
def test_a_body_from_anywhere_is_read_without_a_fault(body: Any) -> None:
    assert isinstance(wire.parse_error(422, body), GessoError)


@pytest.mark.parametrize("error", [each for each in each_error() if isinstance(each, RunFailed)], ids=lambda e: e.name)
def test_a_failure_read_off_a_result_has_the_code_and_words_it_was_sent_with(error: RunFailed) -> None:
    request = ended(State.COMPLETED, Failed.because(error))
    read = wire.parse_failure(WIRE.result(request, None, None, "en")["error"])

    assert (read.code, read.name, str(read)) == (error.code, error.name, str(error))


def ended(state: State, outcome: Succeeded | Failed | None) -> Request:
    return Request("id", "alice", "a/one", {"prompt": "secret"}, AT, state=state, finished_at=AT, outcome=outcome)


FAILED = Failed.because(errors.EngineFailed(reason="no memory."))
LATE = Failed.because(errors.QueueDeadline())


@pytest.mark.parametrize(
    ("state", "outcome", "word"),
    [
        (State.IN_QUEUE, None, "in_queue"),
        (State.IN_PROGRESS, None, "in_progress"),
        (State.COMPLETED, Succeeded(()), "succeeded"),
        (State.COMPLETED, FAILED, "failed"),
        (State.CANCELLED, None, "cancelled"),
        (State.CANCELLED, LATE, "cancelled"),
    ],
)
def test_result_says_succeeded_or_failed_where_status_says_completed(state: State, outcome: Any, word: str) -> None:
    assert WIRE.result(ended(state, outcome), {}, None, "en")["status"] == word


def test_a_request_that_came_too_late_is_cancelled_and_says_why() -> None:
    body = WIRE.result(ended(State.CANCELLED, LATE), None, None, "en")

    assert body["error"]["code"] == 408001
    assert body["error"]["message"] == errors.QueueDeadline.sentence


def test_a_result_never_echoes_its_input() -> None:
    for outcome in (Succeeded((), {"seed": 1}), FAILED):
        assert "secret" not in str(WIRE.result(ended(State.COMPLETED, outcome), {}, None, "en"))


def test_a_rejected_picture_gives_its_rules_sentence_as_the_message() -> None:
    outcome = Failed.because(errors.InputRejected(detail=(Problem(("body", "image_urls", 1), "image_corrupt"),)))
    error = WIRE.result(ended(State.COMPLETED, outcome), None, None, "en")["error"]

    assert error["message"] == PROBLEMS["image_corrupt"] == error["detail"][0]["msg"]
    assert error["detail"][0]["loc"] == ["body", "image_urls", 1]


@pytest.mark.parametrize(
    ("field", "urls", "output"),
    [
        ("image", ["a", "b"], {"image": "a", "images": ["a", "b"]}),
        ("images", ["a"], {"image": "a", "images": ["a"]}),
        ("video", ["a"], {"video": "a", "videos": ["a"]}),
        ("videos", ["a", "b"], {"video": "a", "videos": ["a", "b"]}),
        ("image", [], {"images": []}),
    ],
)
def test_an_output_is_the_first_file_and_all_of_them(field: str, urls: list[str], output: dict[str, Any]) -> None:
    assert wire.output(field, urls) == output


def test_a_position_is_told_only_while_the_request_waits() -> None:
    assert WIRE.status("id", State.IN_QUEUE, 0)["queue_position"] == 0
    assert all("queue_position" not in WIRE.status("id", state, 3) for state in State if state is not State.IN_QUEUE)


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (State.CANCELLED, "cancelled"),
        (State.IN_QUEUE, "not_cancellable"),
        (State.IN_PROGRESS, "not_cancellable"),
        (State.COMPLETED, "not_cancellable"),
    ],
)
def test_a_cancel_tells_the_state_that_it_left(state: State, outcome: str) -> None:
    assert WIRE.cancelled("id", state) == {"request_id": "id", "status": state, "outcome": outcome}


def test_schemas_are_published_with_standard_types_and_without_null_defaults() -> None:
    private = {
        "properties": {"x": {"type": "float", "default": None}, "default": {"items": [{"type": "float"}], "a": None}}
    }

    assert wire.published(private) == {
        "properties": {"x": {"type": "number"}, "default": {"items": [{"type": "number"}], "a": None}}
    }


def test_a_balance_is_told_in_dollars_and_in_whole_millionths() -> None:
    assert wire.balance(1000.0) == {"balance_usd": 1000.0, "balance_microdollars": 1_000_000_000, "currency": "USD"}
    assert wire.balance(0.1 + 0.2)["balance_microdollars"] == 300_000


def test_an_upload_is_told_with_its_sides_and_its_end() -> None:
    from gesso.core.pictures import Facts

    kept = Kept("7c0d", "upload", "7c0d.png", "image/png", 812345, "00")

    assert WIRE.uploaded(kept, Facts("png", 1024, 768, 812345), "u", AT) == {
        "file_id": "7c0d", "url": "u", "content_type": "image/png", "size_bytes": 812345, "width": 1024, "height": 768,
        "expires_at": "2026-11-21T07:45:00.000000+00:00",
    }  # fmt: skip
