"""Following a request by its live events, against canned streams and a clock of our own."""

import base64
import json
from typing import Any

import pytest
from standin import ID, NO_REQUEST

from gesso.client.errors import ClientTimeout, RequestCancelled, Unreachable
from gesso.client.events import Cancelled, Completed, Event, Failed, Frames, InProgress, Preview, Queued
from gesso.client.exchange import Call, Open, Pause, Read, Reply
from gesso.client.flows import Flows, Ticket
from gesso.core.errors import EngineFailed, QueueDeadline

BASE = "http://api.example.org"
TICKET = Ticket.of(ID)
STREAM = Reply(200, {"content-type": "text/event-stream"}, None)
GONE = Unreachable(url=BASE, reason="cut off")
DONE = {"request_id": ID, "status": "succeeded", "output": {"image": "u", "images": ["u"]}}
QUEUED = {"request_id": ID, "status": "in_queue", "queue_position": 2, "eta_seconds": 31.5}
RUNS = {"request_id": ID, "status": "in_progress"}


def frame(id: int, name: str, data: Any) -> list[str]:
    return [f"id: {id}", f"event: {name}", f"data: {json.dumps(data)}", ""]


class Server:
    """Answers flows: with streams in turn, each a list of lines after which it ends, and with replies to calls.

    Args:
        silence_s: passes with every line that is read.
    """

    def __init__(self, *streams: Any, replies: list[Any] | None = None, silence_s: float = 0.0) -> None:
        self.streams, self.replies, self.silence_s = list(streams), list(replies or []), silence_s
        self.opened: list[Call] = []
        self.calls: list[Call] = []
        self.pauses: list[float] = []
        self.lines: list[Any] = []
        self.now = 0.0
        self.flows = Flows(BASE, clock=lambda: self.now)

    def events(self, **waiting: Any) -> list[Event]:
        """Every event that the request's follower is told."""
        told: list[Event] = []
        self.play(self.flows.wait(TICKET, on_update=told.append, **waiting))
        return told

    def play(self, flow: Any) -> Any:
        try:
            step = next(flow)
            while True:
                step = flow.send(self.answer(step))
        except StopIteration as end:
            return end.value

    def answer(self, step: Any) -> Any:
        match step:
            case Pause(seconds):
                self.now += seconds
                self.pauses.append(seconds)
            case Open(call):
                self.opened.append(call)
                stream = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
                if not isinstance(stream, list):
                    return stream
                self.lines = list(stream)
                return STREAM
            case Read():
                self.now += self.silence_s
                return self.lines.pop(0) if self.lines else None
            case Call():
                self.calls.append(step)
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                return reply if isinstance(reply, Reply | Unreachable) else Reply(200, {}, reply)
        return None


def test_every_event_of_a_stream_is_told_in_order():
    preview = {"content_type": "image/jpeg", "width": 4, "height": 3, "data": base64.b64encode(b"jpeg").decode()}
    server = Server(
        frame(1002, "status", QUEUED)
        + frame(10, "status", RUNS)
        + [": a comment", ""]
        + frame(12, "progress", {"fraction": 0.35, "step": 14, "steps": 40, "eta_seconds": 6.2})
        + frame(13, "preview", preview)
        + frame(14, "something new", {})
        + frame(31, "result", DONE)
    )

    at = InProgress(0.35, 14, 40, 6.2)
    shown = InProgress(0.35, 14, 40, 6.2, Preview("image/jpeg", 4, 3, b"jpeg"))
    assert server.events() == [Queued(2, 31.5), InProgress(), at, shown, Completed(DONE)]
    assert server.calls == []
    assert server.opened[0].url == f"/v1/requests/{ID}/events"


def test_a_stream_that_breaks_off_is_taken_up_behind_the_last_event():
    first = [*frame(7, "status", QUEUED), "id: 8", "event: status"]  # cut off in the middle of a frame
    server = Server(first, [*frame(9, "status", RUNS)], frame(31, "result", DONE))

    assert server.events() == [Queued(2, 31.5), InProgress(), Completed(DONE)]
    assert [each.headers.get("Last-Event-ID") for each in server.opened] == [None, "7", "9"]


def test_a_stream_that_ends_again_and_again_is_opened_with_growing_pauses():
    server = Server(*[[]] * 8, frame(31, "result", DONE))

    server.events()

    assert server.pauses[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert max(server.pauses) == 2.0


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(404, {}, {"code": 404000}), Reply(404, {}, None), Reply(405, {}, None), Reply(200, {}, {"a": "page"}),
        Reply(429, {}, None), Reply(503, {}, None), GONE,
    ],
)  # fmt: skip
def test_without_a_stream_it_is_polled(refusal: Any):
    server = Server(refusal, replies=[QUEUED, RUNS, {"status": "completed"}, DONE])

    assert server.events() == [Queued(2, 31.5), InProgress(), Completed(DONE)]


def test_a_server_that_has_no_events_is_asked_for_them_once():
    server = Server(
        Reply(404, {}, {"code": 404000}), replies=[{"status": "completed"}, DONE, {"status": "completed"}, DONE]
    )
    server.events()
    server.events()

    assert len(server.opened) == 1


@pytest.mark.parametrize("passing", [Reply(404, {}, NO_REQUEST), Reply(429, {}, None), Reply(503, {}, None), GONE])
def test_a_server_that_could_not_give_a_stream_just_now_is_asked_again(passing: Any):
    server = Server(passing, replies=[{"status": "completed"}, DONE, {"status": "completed"}, DONE])
    server.events()
    server.events()

    assert len(server.opened) == 2


def test_an_interval_asks_for_polls():
    server = Server([], replies=[RUNS, {"status": "completed"}, DONE])

    assert server.events(interval=7) == [InProgress(), Completed(DONE)]
    assert server.opened == []
    assert server.pauses == [7]


def test_a_stream_that_cannot_be_opened_again_is_replaced_by_polls():
    server = Server(frame(7, "status", QUEUED), GONE, replies=[GONE, RUNS, {"status": "completed"}, DONE])

    assert server.events() == [Queued(2, 31.5), InProgress(), Completed(DONE)]


def test_the_end_is_told_as_it_is():
    failed = {"request_id": ID, "status": "failed", "error": {"code": 502001, "message": "The engine failed."}}
    cancelled = {"request_id": ID, "status": "cancelled"}

    (event,) = Server(frame(1, "result", failed)).events()
    assert isinstance(event, Failed)
    assert isinstance(event.error, EngineFailed)
    assert event.result == failed
    assert Server(frame(1, "result", cancelled)).events() == [Cancelled(cancelled)]


def test_what_was_never_run_raises_why():
    late = {"request_id": ID, "status": "cancelled", "error": {"code": 408001, "message": "Not started in time."}}

    for result, kind in (({"request_id": ID, "status": "cancelled"}, RequestCancelled), (late, QueueDeadline)):
        server = Server(frame(1, "result", result))
        with pytest.raises(kind):
            server.play(server.flows.get(TICKET))


def test_a_silent_stream_does_not_stretch_the_client_timeout():
    """Under a deadline a read in mid-stream may last a second at most; then the stream is opened anew."""
    server = Server([GONE], silence_s=1.0)

    with pytest.raises(ClientTimeout, match=ID):
        server.events(client_timeout=5)
    assert all(0 < (each.timeout_s or 60) <= 1 for each in server.opened)
    assert 5 <= server.now < 6.2
    assert server.calls == []


def test_without_a_timeout_of_its_own_a_stream_may_be_silent_as_any_exchange():
    server = Server(frame(31, "result", DONE))
    server.events()

    assert server.opened[0].timeout_s is None


def test_broken_frames_are_passed_over():
    frames = Frames()
    lines = ["data: {", "", "event: x", "", "nonsense", "id: 5", "data: 1", "", "data: [1,", "data: 2]", ""]

    told = [frame for line in lines if (frame := frames.feed(line))]

    assert [(each.id, each.name, each.data) for each in told] == [("5", "message", 1), ("5", "message", [1, 2])]
