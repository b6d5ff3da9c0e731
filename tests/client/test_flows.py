"""The conversation with a server, played against canned replies: no transport, and a clock of our own."""

from pathlib import Path
from typing import Any

import pytest
from standin import AWAY, BAD_TOKEN, BROKEN, ID, INVALID, MODEL, NO_MODEL, TOO_MANY

from gesso.client.errors import BadAnswer, ClientTimeout, Rejected, RequestCancelled, Unreachable
from gesso.client.events import Completed, Event, InProgress, Queued
from gesso.client.exchange import Call, Open, Pause, Reply
from gesso.client.flows import Flows, Ticket
from gesso.core.errors import (
    BadToken,
    BalanceUsedUp,
    FetchFailed,
    Forbidden,
    InternalError,
    InvalidInput,
    TooMany,
    Unavailable,
    UnknownModel,
)

BASE = "http://api.example.org"
SUBMITTED = {
    "request_id": ID,
    "status_url": f"{BASE}/v1/requests/{ID}/status",
    "result_url": f"{BASE}/v1/requests/{ID}/result",
    "cancel_url": f"{BASE}/v1/requests/{ID}/cancel",
}
SUCCEEDED = {"request_id": ID, "model_id": MODEL, "status": "succeeded", "output": {"image": "u", "images": ["u"]}}
TICKET = Ticket.told(SUBMITTED, BASE)


class Play:
    """Plays flows: hands out canned replies in turn, notes every step, and lets pauses pass on its own clock.

    The server has no live events.
    """

    def __init__(self, *replies: Any, call_s: float = 0.0) -> None:
        self.replies, self.calls, self.pauses, self.now, self.call_s = list(replies), [], [], 0.0, call_s
        self.flows = Flows(BASE, patience_s=30, clock=lambda: self.now)

    def __call__(self, flow: Any) -> Any:
        try:
            step = next(flow)
            while True:
                step = flow.send(self._answer(step))
        except StopIteration as end:
            return end.value

    def _answer(self, step: Any) -> Any:
        if isinstance(step, Pause):
            self.now += step.seconds
            self.pauses.append(step.seconds)
            return None
        if isinstance(step, Open):
            return Reply(404, {}, {"code": 404000})
        self.calls.append(step)
        self.now += self.call_s
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply if isinstance(reply, Reply | Unreachable) else Reply(200, {}, reply)


def status(word: str, **more: Any) -> dict[str, Any]:
    return {"request_id": ID, "status": word, **more}


REFUSED = Unreachable(url=BASE, reason="refused")


def test_a_submit_posts_the_input_to_the_model_and_follows_the_urls_it_is_told():
    play = Play(SUBMITTED | {"status_url": f"{BASE}/v1/elsewhere"})

    ticket = play(play.flows.submit(MODEL, {"prompt": "a cat", "image_urls": ["https://x.org/a.png"]}))

    assert play.calls == [
        Call("POST", f"/v1/models/{MODEL}", {"prompt": "a cat", "image_urls": ["https://x.org/a.png"]})
    ]
    assert (ticket.request_id, ticket.status_url) == (ID, f"{BASE}/v1/elsewhere")


@pytest.mark.parametrize("foreign", ["http://evil.example/x", "https://api.example.org/x", f"{BASE}:81/x", "ftp:x", 5])
def test_a_url_of_another_origin_is_not_followed_but_built_from_the_id(foreign):
    ticket = Ticket.told(SUBMITTED | {"status_url": foreign, "result_url": None}, BASE)

    assert ticket.status_url == f"/v1/requests/{ID}/status"
    assert ticket.result_url == f"/v1/requests/{ID}/result"


@pytest.mark.parametrize("request_id", [None, 5, "", "../../x", "a" * 129])
def test_an_answer_without_a_proper_request_id_is_no_answer(request_id):
    with pytest.raises(BadAnswer):
        Ticket.told(SUBMITTED | {"request_id": request_id}, BASE)


def test_paths_at_any_depth_are_uploaded_and_replaced_by_their_url():
    play = Play({"url": f"{BASE}/files/1.png"}, {"url": f"{BASE}/files/2.jpg"}, SUBMITTED)

    input = {"image_urls": [Path("a.png"), "https://x.org/b.png"], "mask": {"image": Path("c.jpg")}}
    play(play.flows.submit(MODEL, input))

    assert [(each.url, each.body, each.headers) for each in play.calls[:2]] == [
        ("/v1/files", Path("a.png"), {"Content-Type": "image/png"}),
        ("/v1/files", Path("c.jpg"), {"Content-Type": "image/jpeg"}),
    ]
    assert play.calls[2].json == {
        "image_urls": [f"{BASE}/files/1.png", "https://x.org/b.png"],
        "mask": {"image": f"{BASE}/files/2.jpg"},
    }


@pytest.mark.parametrize("reply", [REFUSED, Reply(503, {}, AWAY), Reply(429, {"retry-after": "1"}, TOO_MANY)])
def test_a_submit_without_a_key_is_never_repeated(reply):
    play = Play(reply)

    with pytest.raises((Unreachable, Unavailable, TooMany)):
        play(play.flows.submit(MODEL, {}))
    assert len(play.calls) == 1


def test_a_submit_with_a_key_is_repeated_with_that_key():
    play = Play(REFUSED, Reply(503, {}, AWAY), SUBMITTED)

    play(play.flows.submit(MODEL, {}, idempotency_key="once"))

    assert [each.headers for each in play.calls] == [{"Idempotency-Key": "once"}] * 3


def test_where_keys_are_known_every_submit_has_its_own_and_is_repeated_with_it():
    play = Play(REFUSED, SUBMITTED, SUBMITTED)
    flows = Flows(BASE, knows_keys=True, clock=lambda: play.now)

    play(flows.submit(MODEL, {}))
    play(flows.submit(MODEL, {}))

    first, again, other = [each.headers["Idempotency-Key"] for each in play.calls]
    assert first == again != other


def test_submit_options_go_into_the_query():
    play = Play(SUBMITTED)

    play(play.flows.submit(MODEL, {}, priority="low", webhook=None))

    assert play.calls[0].query == {"priority": "low"}


def test_waiting_polls_until_the_end_and_then_reads_the_result():
    play = Play(status("in_queue", queue_position=1), status("in_progress"), status("completed"), SUCCEEDED)

    result = play(play.flows.get(TICKET))

    assert result == SUCCEEDED
    assert [each.url for each in play.calls] == [TICKET.status_url] * 3 + [TICKET.result_url]


def test_polls_are_quick_at_first_and_then_grow_to_two_seconds():
    play = Play(*[status("in_progress")] * 40, status("completed"), SUCCEEDED)

    play(play.flows.get(TICKET))

    assert play.pauses[:3] == pytest.approx([0.02, 0.03, 0.045])
    assert max(play.pauses) == play.pauses[-1] == 2.0


def test_polls_keep_the_interval_that_is_asked_for():
    play = Play(*[status("in_progress")] * 3, status("completed"), SUCCEEDED)

    play(play.flows.get(TICKET, interval=7))

    assert play.pauses == [7, 7, 7]


def test_each_change_of_state_or_position_is_told_once():
    told: list[Event] = []
    waiting = [status("in_queue", queue_position=n) for n in (2, 2, 1)]
    play = Play(*waiting, status("in_progress"), status("in_progress"), status("completed"), SUCCEEDED)

    play(play.flows.get(TICKET, on_update=told.append))

    assert told == [Queued(2), Queued(1), InProgress(), Completed(SUCCEEDED)]


def test_a_read_is_repeated_while_the_server_is_away_or_broken():
    play = Play(REFUSED, Reply(500, {}, BROKEN), Reply(502, {}, None), {"balance_usd": 1.0})

    assert play(play.flows.balance()) == {"balance_usd": 1.0}
    assert play.pauses == pytest.approx([0.2, 0.4, 0.8])


def test_retry_after_is_honoured():
    play = Play(Reply(429, {"retry-after": "7"}, TOO_MANY), {"balance_usd": 1.0})

    play(play.flows.balance())

    assert play.pauses == [7]


def test_a_pause_that_outlasts_the_patience_is_not_begun():
    play = Play(Reply(429, {"retry-after": "31"}, TOO_MANY))

    with pytest.raises(TooMany) as caught:
        play(play.flows.balance())
    assert caught.value.retry_after_s == 31
    assert play.pauses == []


def test_repeating_ends_with_the_patience():
    play = Play(REFUSED)

    with pytest.raises(Unreachable):
        play(play.flows.balance())
    assert sum(play.pauses) <= 30


def test_waiting_sits_out_a_server_that_is_away_for_a_while():
    play = Play(status("in_progress"), *[REFUSED] * 8, status("completed"), SUCCEEDED)

    assert play(play.flows.get(TICKET)) == SUCCEEDED
    assert play.now > 30


def test_when_waiting_fails_the_error_names_the_request():
    play = Play(status("in_progress"), REFUSED)

    with pytest.raises(Unreachable) as caught:
        play(play.flows.get(TICKET))
    assert caught.value.__notes__ == [f"request_id: {ID}"]


def test_a_client_timeout_names_the_request_and_leaves_it_alone():
    play = Play(status("in_progress"))

    with pytest.raises(ClientTimeout, match=ID) as caught:
        play(play.flows.get(TICKET, client_timeout=5))
    assert caught.value.request_id == ID
    assert play.now == pytest.approx(5)
    assert {each.method for each in play.calls} == {"GET"}


@pytest.mark.parametrize("reply", [REFUSED, Reply(429, {"retry-after": "40"}, TOO_MANY)])
def test_a_server_that_is_away_does_not_stretch_the_client_timeout(reply):
    play = Play(status("in_progress"), reply)

    with pytest.raises(ClientTimeout):
        play(play.flows.get(TICKET, client_timeout=5))
    assert play.now == pytest.approx(5)


def test_no_exchange_may_last_longer_than_what_is_left_of_the_client_timeout():
    play = Play(status("in_progress"), call_s=2)

    with pytest.raises(ClientTimeout):
        play(play.flows.get(TICKET, client_timeout=5))
    assert play.calls[0].timeout_s == 5
    assert play.calls[-1].timeout_s <= 1


def test_a_failed_request_raises_the_class_that_its_code_names():
    failed = SUCCEEDED | {"status": "failed", "error": {"code": 422002, "message": "An image could not be fetched."}}
    play = Play(status("completed"), failed)

    with pytest.raises(FetchFailed, match="could not be fetched"):
        play(play.flows.get(TICKET))


def test_a_cancelled_request_raises_that_it_never_ran():
    play = Play(status("cancelled"), SUCCEEDED | {"status": "cancelled"})

    with pytest.raises(RequestCancelled, match="never ran"):
        play(play.flows.get(TICKET))


def test_an_outcome_is_read_without_raising():
    failed = SUCCEEDED | {"status": "failed", "error": {"code": 502001, "message": "The engine failed."}}
    play = Play(status("completed"), failed)

    assert play(play.flows.wait(TICKET)) == failed


def test_the_result_of_an_unfinished_request_is_told_as_it_is():
    play = Play(status("in_progress"))

    assert play(play.flows.result(TICKET))["status"] == "in_progress"


def test_a_cancel_is_repeated_because_twice_does_no_more_than_once():
    play = Play(REFUSED, {"request_id": ID, "status": "cancelled", "outcome": "cancelled"})

    assert play(play.flows.cancel(TICKET))["outcome"] == "cancelled"
    assert [each.method for each in play.calls] == ["POST", "POST"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(401, {}, BAD_TOKEN), BadToken),
        (Reply(401, {}, None), BadToken),
        (Reply(403, {}, {"message": "no"}), Forbidden),
        (Reply(403, {}, None), Forbidden),
        (Reply(402, {}, {"error_code": 400002, "error_message": "The balance is used up."}), BalanceUsedUp),
        (Reply(402, {}, None), BalanceUsedUp),
        (Reply(418, {}, {"message": "no"}), Rejected),
        (Reply(404, {}, NO_MODEL), UnknownModel),
        (Reply(404, {}, None), BadAnswer),
        (Reply(422, {}, INVALID), InvalidInput),
        (Reply(302, {"location": "https://elsewhere.example"}, None), BadAnswer),
        (Reply(200, {}, None), BadAnswer),
        (Reply(200, {}, ["a list"]), BadAnswer),
        (Reply(200, {}, BROKEN), InternalError),
    ],
)
def test_every_refusal_comes_out_as_its_own_class(reply, kind):
    play = Play(reply)

    with pytest.raises(kind) as caught:
        play(play.flows.model(MODEL))
    assert type(caught.value) is kind


def test_an_invalid_input_names_every_problem():
    play = Play(Reply(422, {}, INVALID))

    with pytest.raises(InvalidInput) as caught:
        play(play.flows.submit(MODEL, {}))
    assert [each.loc for each in caught.value.problems] == [("body", "image_urls"), ("body", "seed")]


def test_ids_cannot_lead_out_of_their_path():
    assert Ticket.of("../models?x#y").status_url == "/v1/requests/..%2Fmodels%3Fx%23y/status"
