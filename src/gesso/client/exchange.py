"""One exchange with the server: what is to be done, what came of it, and when it is repeated. Without I/O."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from gesso.client.errors import BadAnswer, Rejected, Unreachable
from gesso.core import wire
from gesso.core.errors import GessoError, InternalError
from gesso.core.wire import JSON

FIRST_RETRY_S, LONGEST_RETRY_S = 0.2, 10.0


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP exchange to be made.

    Attributes:
        url: a path below the base URL, or an absolute URL of its origin.
        body: bytes, or the file whose bytes are to be sent.
        repeatable: whether asking twice does no more than asking once.
        timeout_s: at most so long, where that is less than the client's own limit.
    """

    method: str
    url: str
    json: JSON | None = None
    body: bytes | Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    repeatable: bool = False
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Encode:
    """A file that is to be made a data URI. Answered by that."""

    path: Path
    content_type: str


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which nothing is to be done."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Open:
    """A call whose answer may be a stream of lines. Answered by a `Reply`; the one that was open before is closed."""

    call: Call


@dataclass(frozen=True, slots=True)
class Read:
    """The next line of the open stream, without its end. Answered by a text, None at the end, or `Unreachable`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: header names in lower case; *json* is None where the body was none."""

    status: int
    headers: Mapping[str, str]
    json: Any


T = TypeVar("T")
Step = Call | Encode | Pause | Open | Read
Heard = Reply | Unreachable | str | None
Flow = Generator[Step, Heard, T]  # Unreachable is sent, not thrown: it is an answer, too


class Deadline:
    """So many seconds from now by *clock*; None is for ever."""

    def __init__(self, seconds: float | None, clock: Callable[[], float]) -> None:
        self.seconds = seconds or 0.0
        self._clock, self._end = clock, None if seconds is None else clock() + seconds

    @property
    def left_s(self) -> float:
        """Seconds left, at least 0."""
        return float("inf") if self._end is None else max(0.0, self._end - self._clock())

    def cap(self, call: Call) -> Call:
        """*call*, to be given up when this deadline is over."""
        return call if self._end is None else replace(call, timeout_s=max(self.left_s, 0.001))


def ask(call: Call, server: str, patience: Deadline, deadline: Deadline) -> Flow[JSON]:
    """The JSON object of a good answer. A call that may be repeated is, while the server is away, busy or broken.

    Args:
        server: its base URL, for messages.
        patience: when to stop repeating; a pause that would outlast it is not begun.
        deadline: when to stop at once.

    Raises:
        GessoError: what the last answer told.
    """
    pauses = growing(FIRST_RETRY_S, 2.0, LONGEST_RETRY_S)
    while True:
        answer = yield deadline.cap(call)
        told = read(answer, server)
        if not isinstance(told, GessoError):
            return told
        pause_s = max(next(pauses), told.retry_after_s or 0)
        may_pass = not isinstance(answer, Reply) or answer.status == 429 or answer.status >= 500
        if not (call.repeatable and may_pass) or pause_s > patience.left_s or deadline.left_s == 0:
            raise told
        yield Pause(min(pause_s, deadline.left_s))


def read(answer: Heard, server: str) -> JSON | GessoError:
    """The JSON object of an answer, or the error that it tells."""
    if isinstance(answer, Unreachable):
        return answer
    if not isinstance(answer, Reply):
        return BadAnswer(url=server, reason="there is no answer")
    # Upstream tells some errors with a 200 and an `error_code` in the body.
    if 200 <= answer.status < 300 and isinstance(answer.json, dict) and answer.json.get("error_code") is None:
        return answer.json
    error = _error(answer, server)
    seconds = answer.headers.get("retry-after", "")
    if seconds.isascii() and seconds.isdigit():
        error.retry_after_s = int(seconds)
    return error


def growing(first: float, factor: float, most: float) -> Iterator[float]:
    """Pauses that grow, without end."""
    while True:
        yield first
        first = min(first * factor, most)


def _error(reply: Reply, server: str) -> GessoError:
    told = isinstance(reply.json, dict)
    if 300 <= reply.status < 400:
        where = reply.headers.get("location", "elsewhere")
        return BadAnswer(url=server, reason=f"it redirects to {where}; if you trust that, make it the base URL")
    error = wire.parse_error(reply.status, reply.json)
    if type(error) is not GessoError and (told or reply.status not in {404, 405}):  # those two: not an API at all
        return error
    if told:
        return (Rejected if 400 <= reply.status < 500 else InternalError).told(str(error))
    return BadAnswer(url=server, reason=f"it answers HTTP {reply.status} without a JSON object")
