"""What happens to a request, as its follower is told; read off a stream of server-sent events, or off polled bodies."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gesso.client.errors import RequestCancelled
from gesso.core import wire
from gesso.core.errors import GessoError
from gesso.core.wire import JSON


@dataclass(frozen=True, slots=True)
class Queued:
    """It waits.

    Attributes:
        position: how many will start before it; 0 is next.
        eta_seconds: in how many seconds it is expected to have ended; None where that is not known.
    """

    position: int | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What the run has made so far: a small picture's file."""

    content_type: str
    width: int
    height: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InProgress:
    """It runs. What the server or the engine does not tell is None.

    Attributes:
        fraction: 0 to 1; within one attempt it does not fall.
        step, steps: what is done, of how many.
        eta_seconds: as of `Queued`.
        preview: only in the event that brings it.
    """

    fraction: float | None = None
    step: int | None = None
    steps: int | None = None
    eta_seconds: float | None = None
    preview: Preview | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """It made its output: the /result body."""

    result: JSON


@dataclass(frozen=True, slots=True)
class Failed:
    """It ended without an output: why, and the /result body."""

    error: GessoError
    result: JSON


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It never ran: the /result body."""

    result: JSON


Event = Queued | InProgress | Completed | Failed | Cancelled


def ended(result: JSON) -> Event | None:
    """The event that a /result body tells of; None while the request has not ended."""
    state, error = result.get("status"), result.get("error")
    if state in {"cancelled", "canceled"}:
        return Cancelled(result)
    if isinstance(error, Mapping) and error:
        return Failed(wire.parse_failure(error), result)
    if state == "failed":
        return Failed(GessoError.told(str(error or "The request failed; the server does not say why.")), result)
    return Completed(result) if state in {"succeeded", "completed"} else None


def succeeded(result: JSON) -> JSON:
    """*result*, a /result body, unless it tells of a failure or a cancellation; an unfinished one passes.

    Raises:
        GessoError: of the class that the failure's code names.
        RequestCancelled: it never ran.
    """
    match ended(result):
        case Failed(error=error):
            raise error
        case Cancelled() if result.get("error"):
            raise wire.parse_failure(result["error"])
        case Cancelled():
            raise RequestCancelled(request_id=result.get("request_id"))
    return result


def standing(body: JSON) -> Event | None:
    """The event that a /status body, or the data of a `status` event, tells of; None for an ended request."""
    match body.get("status"):
        case "in_queue":
            return Queued(body.get("queue_position"), body.get("eta_seconds"))
        case "in_progress":
            return InProgress(eta_seconds=body.get("eta_seconds"))
    return None


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event."""

    id: str
    name: str
    data: Any


class Frames:
    """Puts frames together, line by line; https://html.spec.whatwg.org/multipage/server-sent-events.html."""

    def __init__(self) -> None:
        self.last_id = ""
        self._fields: dict[str, str] = {}

    def feed(self, line: str) -> Frame | None:
        """The frame that *line* completes, if it does. What cannot be read is passed over."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            self._fields[name] = f"{self._fields[name]}\n{value}" if name == "data" in self._fields else value
            return None
        told, self._fields = self._fields, {}
        self.last_id = told.get("id", self.last_id)
        try:
            return Frame(self.last_id, told.get("event", "message"), json.loads(told["data"]))
        except (KeyError, ValueError):
            return None


class Reader:
    """Turns frames into events; it remembers how far the run was when it saw a preview."""

    def __init__(self) -> None:
        self._at = InProgress()

    def event(self, frame: Frame) -> Event | None:
        """The event that *frame* tells of; None for one that we do not know."""
        data = frame.data if isinstance(frame.data, dict) else {}
        match frame.name:
            case "status":
                self._at = InProgress()
                return standing(data)
            case "progress":
                known = {name: data.get(name) for name in ("fraction", "step", "steps", "eta_seconds")}
                self._at = InProgress(**known)
                return self._at
            case "preview":
                return replace(self._at, preview=_preview(data))
        return None


def _preview(data: JSON) -> Preview:
    picture = base64.b64decode(data.get("data", ""))
    return Preview(str(data.get("content_type")), data.get("width", 0), data.get("height", 0), picture)
