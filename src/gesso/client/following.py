"""Following a request to its end: by its live events where the server has them, else by polling. Without I/O."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Protocol

from gesso.client.errors import ClientTimeout
from gesso.client.events import Event, Frames, Reader, ended, standing
from gesso.client.exchange import Call, Deadline, Flow, Heard, Open, Pause, Read, Reply, Step, growing
from gesso.core.states import FINAL
from gesso.core.wire import JSON

FIRST_POLL_S, LONGEST_POLL_S = 0.02, 2.0
QUIET_S = 1.0  # under a deadline a silent stream is opened anew so often: a read in mid-stream knows no deadline
FINAL_WORDS = frozenset({*FINAL, "succeeded", "failed", "canceled"})  # other servers' words beside ours
REQUEST_UNKNOWN = 404001
STREAM = "text/event-stream"

Following = Generator[Step | Event, Heard, JSON]
"""As a flow, with what is told to the caller among its steps; in the end it returns the /result body."""


class Ask(Protocol):
    """Makes a call, repeated as may be."""

    def __call__(self, call: Call, deadline: Deadline) -> Flow[JSON]: ...


@dataclass(slots=True)
class Follower:
    """How one server's requests are followed.

    Attributes:
        has_events: whether it may have live events; once it has shown that it has none, it is not asked again.
    """

    ask: Ask
    has_events: bool = True

    def follow(self, ticket: "Asked", deadline: Deadline, interval: float | None) -> Following:
        """Every event of the request.

        Args:
            interval: seconds between two polls; given, it is polled whatever the server has.

        Raises:
            ClientTimeout: when the *deadline* is over.
        """
        result = (yield from self._stream(ticket, deadline)) if self.has_events and interval is None else None
        if result is None:
            result = yield from self._poll(ticket, deadline, interval)
        event = ended(result)
        if event is not None:
            yield event
        return result

    def _stream(self, ticket: "Asked", deadline: Deadline) -> Generator[Step | Event, Heard, JSON | None]:
        """Tell what the stream tells, and return the result; None where it has to be polled."""
        frames, reader, pauses = Frames(), Reader(), growing(0.1, 2.0, LONGEST_POLL_S)
        while deadline.left_s > 0:
            headers = {"Accept": STREAM} | ({"Last-Event-ID": frames.last_id} if frames.last_id else {})
            quiet_s = None if deadline.left_s == float("inf") else min(QUIET_S, max(deadline.left_s, 0.001))
            reply = yield Open(Call("GET", ticket.events_url, headers=headers, timeout_s=quiet_s))
            if not isinstance(reply, Reply) or not _is_stream(reply):
                self._learn(reply)
                return None
            known = frames.last_id
            result = yield from _told(frames, reader, deadline)
            if result is not None:
                return result
            if frames.last_id == known:
                yield Pause(min(next(pauses) if quiet_s is None else 0.05, deadline.left_s))
        raise ClientTimeout(request_id=ticket.request_id, seconds=deadline.seconds)

    def _learn(self, reply: Heard) -> None:
        """A server that has no such route is not asked again; an unknown request says nothing of the route."""
        code = reply.json.get("code") if isinstance(reply, Reply) and isinstance(reply.json, dict) else None
        if isinstance(reply, Reply) and reply.status < 500 and reply.status != 429 and code != REQUEST_UNKNOWN:
            self.has_events = False

    def _poll(self, ticket: "Asked", deadline: Deadline, interval: float | None) -> Following:
        seen: Any = None
        for pause_s in _pauses(interval):
            body = yield from self.ask(Call("GET", ticket.status_url, repeatable=True), deadline)
            event = standing(body)
            if event is not None and event != seen:
                yield event
            if body.get("status") in FINAL_WORDS:
                break
            if deadline.left_s == 0:
                raise ClientTimeout(request_id=ticket.request_id, seconds=deadline.seconds)
            seen = event
            yield Pause(min(pause_s, deadline.left_s))
        return (yield from self.ask(Call("GET", ticket.result_url, repeatable=True), deadline))


class Asked(Protocol):
    """A submitted request, and where to ask after it."""

    @property
    def request_id(self) -> str: ...
    @property
    def status_url(self) -> str: ...
    @property
    def result_url(self) -> str: ...
    @property
    def events_url(self) -> str: ...


def _told(frames: Frames, reader: Reader, deadline: Deadline) -> Generator[Step | Event, Heard, JSON | None]:
    """Tell the events of an open stream; the result, or None where it breaks off before that."""
    while isinstance(line := (yield Read()), str):
        frame = frames.feed(line)
        if frame is not None and frame.name == "result" and isinstance(frame.data, dict):
            return frame.data
        event = reader.event(frame) if frame is not None else None
        if event is not None:
            yield event
        if deadline.left_s < QUIET_S:
            return None  # to be opened anew, with less patience
    return None


def _is_stream(reply: Reply) -> bool:
    return reply.status == 200 and reply.headers.get("content-type", "").startswith(STREAM)


def _pauses(interval: float | None) -> Iterable[float]:
    return growing(FIRST_POLL_S, 1.5, LONGEST_POLL_S) if interval is None else repeat(interval)
