"""The conversation with a model API, without I/O: a flow yields what is to be done and is sent what came of it."""

import mimetypes
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack
from urllib.parse import quote

from gesso.client.errors import BadAnswer, ClientTimeout, RequestCancelled
from gesso.client.exchange import Call, Deadline, Flow, Pause, ask, growing
from gesso.client.urls import origin
from gesso.core import wire
from gesso.core.errors import GessoError
from gesso.core.states import FINAL
from gesso.core.wire import JSON

FIRST_POLL_S, LONGEST_POLL_S = 0.02, 2.0
WAIT_PATIENCE_S = 60.0  # with a request under way it pays to sit out a restart of the server
FINAL_WORDS = frozenset({*FINAL, "succeeded", "failed", "canceled"})  # other servers' words beside ours


class Waiting(TypedDict, total=False):
    """How to wait.

    Attributes:
        interval: seconds between two polls; by default short at first, growing to 2.
        client_timeout: seconds, after which ClientTimeout is raised and the request left alone.
        on_update: is told every /status body in which the state or the position is new.
    """

    interval: float | None
    client_timeout: float | None
    on_update: Callable[[JSON], None] | None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A submitted request: its id, and where to ask after it."""

    request_id: str
    status_url: str
    result_url: str
    cancel_url: str

    @classmethod
    def of(cls, request_id: str) -> Self:
        """The ticket of a request of which only the id is known."""
        path = f"/v1/requests/{quote(request_id, safe='')}"
        return cls(request_id, f"{path}/status", f"{path}/result", f"{path}/cancel")

    @classmethod
    def told(cls, answer: JSON, base_url: str) -> Self:
        """The ticket in the answer to a submit.

        A URL of another origin is not followed, because the token must not go there; it is built from the id instead.

        Raises:
            BadAnswer: there is no request id in it.
        """
        request_id = answer.get("request_id")
        if not isinstance(request_id, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", request_id):
            raise BadAnswer(url=base_url, reason="it took the request without giving an id")
        told = {part: answer.get(part) for part in ("status_url", "result_url", "cancel_url")}
        return replace(cls.of(request_id), **{k: v for k, v in told.items() if v and origin(v) == origin(base_url)})


class Flows:
    """The conversations that a client can have.

    Args:
        base_url: of the server; calls name paths below it.
        patience_s: how long a call that may be repeated is repeated while the server is away, busy or broken.
        clock: seconds, growing.
    """

    def __init__(self, base_url: str, *, patience_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._base_url, self._patience_s, self._clock = base_url, patience_s, clock

    def submit(self, model_id: str, input: Mapping[str, Any], *, idempotency_key: str | None = None,
               **query: Any) -> Flow[Ticket]:  # fmt: skip
        """Upload the `Path` values in *input* and submit it; only with a key is a lost submit repeated."""
        body = yield from self._with_uploads(input)
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        call = Call("POST", _path(model_id), body, None, headers, _known(query), repeatable=bool(idempotency_key))
        return Ticket.told((yield from self._ask(call)), self._base_url)

    def run(self, /, model_id: str, input: Mapping[str, Any], **options: Any) -> Flow[JSON]:
        """Submit and wait: the /result body of a success. Options and errors as for `submit` and `get`."""
        return (yield from self.get((yield from self.submit(model_id, input, **options))))

    def subscribe(self, /, model_id: str, input: Mapping[str, Any], *, on_enqueue: Callable[[str], None] | None = None,
                  on_queue_update: Callable[[JSON], None] | None = None, interval: float | None = None,
                  client_timeout: float | None = None, **options: Any) -> Flow[JSON]:  # fmt: skip
        """As `run`, and tell the request id and each change of state or position."""
        ticket = yield from self.submit(model_id, input, **options)
        if on_enqueue:
            on_enqueue(ticket.request_id)
        waiting = Waiting(interval=interval, client_timeout=client_timeout, on_update=on_queue_update)
        return (yield from self.get(ticket, **waiting))

    def upload_file(self, path: str | Path) -> Flow[str]:
        """Upload a picture: its URL, good in any image field of this server."""
        kind = mimetypes.guess_type(str(path), strict=False)[0] or "application/octet-stream"
        answer = yield from self._ask(Call("POST", "/v1/files", body=Path(path), headers={"Content-Type": kind}))
        if not isinstance(answer.get("url"), str):
            raise BadAnswer(url=self._base_url, reason="it took the upload without giving a URL")
        return str(answer["url"])

    def status(self, ticket: Ticket) -> Flow[JSON]:
        """The /status body."""
        return self._read(ticket.status_url)

    def outcome(self, ticket: Ticket) -> Flow[JSON]:
        """The /result body, whatever state and outcome it tells of."""
        return self._read(ticket.result_url)

    def result(self, ticket: Ticket) -> Flow[JSON]:
        """The /result body as it is now, finished or not; raises what the request failed of."""
        return succeeded((yield from self.outcome(ticket)))

    def cancel(self, ticket: Ticket) -> Flow[JSON]:
        """Cancel a request that still waits: `outcome` is `cancelled` or `not_cancellable`."""
        return self._ask(Call("POST", ticket.cancel_url, repeatable=True))

    def get(self, ticket: Ticket, **waiting: Unpack[Waiting]) -> Flow[JSON]:
        """Wait for the end: the /result body of a success.

        Raises:
            GessoError: of the class that the failure's code names; RequestCancelled when it never ran.
            ClientTimeout: the time given is over; the request was left alone.
        """
        return succeeded((yield from self.wait(ticket, **waiting)))

    def wait(self, ticket: Ticket, **waiting: Unpack[Waiting]) -> Flow[JSON]:
        """As `get`, but the /result body whatever the outcome."""
        timeout_s = waiting.get("client_timeout")
        deadline = Deadline(timeout_s, self._clock)
        try:
            yield from self._until_final(ticket, deadline, waiting)
            return (yield from self._ask(Call("GET", ticket.result_url, repeatable=True), deadline))
        except GessoError as error:
            if timeout_s is not None and deadline.left_s == 0:
                raise ClientTimeout(request_id=ticket.request_id, seconds=timeout_s) from error
            error.add_note(f"request_id: {ticket.request_id}")
            raise

    def models(self, /, **query: Any) -> Flow[JSON]:
        """A page of the catalogue: `search`, `category`, `kind`, `include_schema`, `limit`, `offset`."""
        return self._read("/v1/models", **query)

    def model(self, model_id: str) -> Flow[JSON]:
        """One model with its schemas."""
        return self._read(_path(model_id))

    def categories(self) -> Flow[list[str]]:
        """The categories in use."""
        return list((yield from self._read("/v1/models/categories")).get("categories", ()))

    def balance(self) -> Flow[JSON]:
        """The nominal balance; the usual way to see whether a token is good."""
        return self._read("/v1/balance")

    def _read(self, url: str, **query: Any) -> Flow[JSON]:
        return self._ask(Call("GET", url, query=_known(query), repeatable=True))

    def _ask(self, call: Call, deadline: Deadline | None = None) -> Flow[JSON]:
        patience_s = self._patience_s if deadline is None else max(self._patience_s, WAIT_PATIENCE_S)
        patience = Deadline(patience_s, self._clock)
        return ask(call, self._base_url, patience, deadline or Deadline(None, self._clock))

    def _until_final(self, ticket: Ticket, deadline: Deadline, waiting: Waiting) -> Flow[None]:
        told = waiting.get("on_update") or (lambda _: None)
        seen: Any = None
        for pause_s in _pauses(waiting.get("interval")):
            body = yield from self._ask(Call("GET", ticket.status_url, repeatable=True), deadline)
            if (state := (body.get("status"), body.get("queue_position"))) != seen:
                told(body)
            if state[0] in FINAL_WORDS:
                return
            if deadline.left_s == 0:
                raise ClientTimeout(request_id=ticket.request_id, seconds=waiting["client_timeout"] or 0)
            seen = state
            yield Pause(min(pause_s, deadline.left_s))

    def _with_uploads(self, value: Any) -> Flow[Any]:
        """*value* with the URL of its upload in place of every path, at any depth."""
        match value:
            case Path():
                return (yield from self.upload_file(value))
            case Mapping():
                values = yield from self._with_uploads(list(value.values()))
                return dict(zip(value, values, strict=True))
            case list() | tuple():
                items: list[Any] = []
                for item in value:
                    items.append((yield from self._with_uploads(item)))  # noqa: PERF401 (comprehensions cannot yield)
                return items
            case _:
                return value


def succeeded(result: JSON) -> JSON:
    """*result*, a /result body, unless it tells of a failure or a cancellation; an unfinished one passes.

    Raises:
        GessoError: of the class that the failure's code names.
        RequestCancelled: it never ran.
    """
    state, error = result.get("status"), result.get("error")
    if isinstance(error, Mapping) and error:
        raise wire.parse_failure(error)
    if state == "failed":
        raise GessoError.told(str(error or "The request failed; the server does not say why."))
    if state in {"cancelled", "canceled"}:
        raise RequestCancelled(request_id=result.get("request_id"))
    return result


def _pauses(interval: float | None) -> Iterable[float]:
    return growing(FIRST_POLL_S, 1.5, LONGEST_POLL_S) if interval is None else repeat(interval)


def _path(model_id: str) -> str:
    return f"/v1/models/{quote(model_id.strip('/'), safe='/')}"


def _known(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
