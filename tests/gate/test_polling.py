"""Polls take a short cut; what they are answered, and in which order, is what everybody else is answered."""

import pytest
from live import Answer, Live

FOREIGN = "00000000-0000-4000-8000-000000000000"


def status_path(live: Live) -> str:
    return "/v1/requests/" + live.asked("/v1/models/wan-ai/wan-2-6/image-to-image", method="POST", body=BODY,
                                        lines=JSON).json["request_id"] + "/status"  # fmt: skip


BODY = b'{"prompt": "a cat", "image_urls": ["https://images.example/a.png"]}'
JSON = ("Content-Type: application/json",)


def poll(live: Live, path: str, *lines: str) -> bytes:
    """As clients send it: without a word about a body, which would lead the way round."""
    return live.message(*lines, method="GET", path=path, body=b"").replace(b"Content-Length: 0\r\n", b"")


def told(answer: Answer | None) -> tuple[int, bytes]:
    assert answer is not None
    return answer.status, answer.body


@pytest.mark.parametrize("detour", ["?x=1", ""], ids=["a query", "a body"])
def test_a_poll_is_answered_alike_on_the_short_cut_and_on_the_way_round(live: Live, detour: str):
    path = status_path(live)
    body = b"" if detour else b"{}"
    with live.line() as line:
        line.say(poll(live, path))
        short = told(line.answer(to="GET"))
        line.say(live.message(method="GET", path=path + detour, body=body))
        long = told(line.answer(to="GET"))

    assert short == long
    assert short[0] == 200


@pytest.mark.parametrize("path", [f"/v1/requests/{FOREIGN}/status", "/v1/requests/x/status"])
def test_an_unknown_request_is_refused_alike(live: Live, path: str):
    with live.line() as line:
        line.say(poll(live, path))
        short = told(line.answer(to="GET"))
        line.say(poll(live, path + "?x=1"))
        long = told(line.answer(to="GET"))

    assert short == long
    assert short[0] == 404


def test_a_poll_without_a_good_token_is_refused_and_the_connection_goes_on(live: Live):
    path = status_path(live)
    bad = poll(live, path).replace(live.token.encode(), b"gesso_nobody")
    with live.line() as line:
        line.say(bad)
        refused = told(line.answer(to="GET"))
        line.say(poll(live, path))

        assert refused[0] == 401
        assert told(line.answer(to="GET"))[0] == 200


def test_polls_among_other_messages_in_one_packet_are_answered_in_their_order(live: Live):
    path = status_path(live)
    health, status = poll(live, "/healthz"), poll(live, path)
    with live.line() as line:
        line.say((status + health + status + status + health) * 5)
        answers = [told(line.answer(to="GET"))[1] for _ in range(25)]

    assert [b"queue_position" in body or b"completed" in body for body in answers] == [
        True,
        False,
        True,
        True,
        False,
    ] * 5


def test_a_poll_that_ends_the_connection_ends_it(live: Live):
    path = status_path(live)
    with live.line() as line:
        line.say(poll(live, path, "Connection: close"))

        assert told(line.answer(to="GET"))[0] == 200
        assert line.answer(to="GET") is None


def test_a_poll_with_two_hosts_is_refused(live: Live):
    with live.line() as line:
        line.say(poll(live, status_path(live), "Host: other.example"))

        assert told(line.answer(to="GET"))[0] == 400
