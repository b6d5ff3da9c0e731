"""The conversation with a model API, without I/O: a flow yields what is to be done and is sent what came of it."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack
from urllib.parse import quote
from uuid import uuid4

from gesso.client.errors import BadAnswer, ClientTimeout
from gesso.client.events import Event, succeeded
from gesso.client.exchange import Call, Deadline, Encode, Flow, Heard, ask
from gesso.client.files import content_type, encode, image_bytes
from gesso.client.following import Follower, Following
from gesso.client.urls import origin
from gesso.core.errors import GessoError, MethodNotAllowed, NoSuchRoute, ResourceNotFound
from gesso.core.wire import JSON

NOT_THERE = (ResourceNotFound, NoSuchRoute, MethodNotAllowed)
WAIT_PATIENCE_S = 60.0  # with a request under way it pays to sit out a restart of the server


class Waiting(TypedDict, total=False):
    """How to wait.

    Attributes:
        interval: seconds between two polls. By default a server with live events is not polled; another one is, at
            short intervals first, growing to 2.
        client_timeout: seconds, after which ClientTimeout is raised and the request left alone.
        on_update: is told every event: see `client.events`.
    """

    interval: float | None
    client_timeout: float | None
    on_update: Callable[[Event], None] | None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A submitted request: its id, and where to ask after it."""

    request_id: str
    status_url: str
    result_url: str
    cancel_url: str

    @property
    def events_url(self) -> str:
        """Where its live events are, on a server that has them."""
        return f"{self.status_url.removesuffix('/status')}/events"

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
        knows_keys: whether the server knows idempotency keys: then each submit gets one, and a lost one is repeated.
        is_runcomfy: whether it is RunComfy's own: it has no live events, and pictures go there as data URIs.
        clock: seconds, growing.
    """

    def __init__(self, base_url: str, *, patience_s: float = 30.0, knows_keys: bool = False, is_runcomfy: bool = False,
                 clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        self._base_url, self._patience_s, self._clock, self._knows_keys = base_url, patience_s, clock, knows_keys
        self._takes_files = not is_runcomfy
        self.follower = Follower(self._ask, has_events=not is_runcomfy)

    def submit(self, model_id: str, input: Mapping[str, Any], *, idempotency_key: str | None = None,
               **query: Any) -> Flow[Ticket]:  # fmt: skip
        """Upload the `Path` values in *input* and submit it; only with a key is a lost submit repeated."""
        body = yield from self._with_uploads(input)
        key = idempotency_key or (str(uuid4()) if self._knows_keys else None)
        headers = {"Idempotency-Key": key} if key else {}
        call = Call("POST", _path(model_id), body, None, headers, _known(query), repeatable=bool(key))
        return Ticket.told((yield from self._ask(call)), self._base_url)

    def run(self, /, model_id: str, input: Mapping[str, Any], **options: Any) -> Flow[JSON]:
        """Submit and wait: the /result body of a success. Options and errors as for `submit` and `get`."""
        return (yield from self.get((yield from self.submit(model_id, input, **options))))

    def subscribe(self, /, model_id: str, input: Mapping[str, Any], *, on_enqueue: Callable[[str], None] | None = None,
                  on_queue_update: Callable[[Event], None] | None = None, interval: float | None = None,
                  client_timeout: float | None = None, **options: Any) -> Flow[JSON]:  # fmt: skip
        """As `run`, and tell the request id and each event."""
        ticket = yield from self.submit(model_id, input, **options)
        if on_enqueue:
            on_enqueue(ticket.request_id)
        waiting = Waiting(interval=interval, client_timeout=client_timeout, on_update=on_queue_update)
        return (yield from self.get(ticket, **waiting))

    def upload_file(self, path: str | Path) -> Flow[str]:
        """Upload a picture: its URL, good in any image field of this server; a data URI where it takes no uploads."""
        return (yield from self.upload(Path(path), content_type(path)))

    def upload_image(self, image: Any, format: str = "png") -> Flow[str]:
        """Upload a Pillow image: its URL, as of `upload_file`."""
        return (yield from self.upload(image_bytes(image, format), f"image/{format}"))

    def upload(self, data: bytes | Path, content_type: str) -> Flow[str]:
        """Upload a picture's bytes: its URL, as of `upload_file`."""
        if not self._takes_files:
            return (yield from _encoded(data, content_type))
        try:
            answer = yield from self._ask(Call("POST", "/v1/files", body=data, headers={"Content-Type": content_type}))
        except NOT_THERE as error:
            raise BadAnswer(
                url=self._base_url, reason="it takes no uploads; give an https URL or a data URI"
            ) from error
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

    def wait(self, ticket: Ticket, *, on_update: Callable[[Event], None] | None = None, interval: float | None = None,
             client_timeout: float | None = None) -> Flow[JSON]:  # fmt: skip
        """As `get`, but the /result body whatever the outcome."""
        following = self.events(ticket, interval=interval, client_timeout=client_timeout)
        return (yield from _hearing(following, on_update or (lambda _: None)))

    def events(self, ticket: Ticket, *, interval: float | None = None,
               client_timeout: float | None = None) -> Following:  # fmt: skip
        """Every event of the request, the last of which tells how it ended; arguments and errors as for `wait`."""
        deadline = Deadline(client_timeout, self._clock)
        try:
            return (yield from self.follower.follow(ticket, deadline, interval))
        except GessoError as error:
            if client_timeout is not None and deadline.left_s == 0:
                raise ClientTimeout(request_id=ticket.request_id, seconds=client_timeout) from error
            error.add_note(f"request_id: {ticket.request_id}")
            raise

    def requests(self, /, **query: Any) -> Flow[JSON]:
        """A page of your own requests, newest first: `limit`, `cursor`, `status`, `model_id`, `all`."""
        return self._read("/v1/requests", **query)

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


def _hearing(following: Following, on_update: Callable[[Event], None]) -> Flow[JSON]:
    """Carry out *following*, its events told to *on_update*."""
    heard: Heard = None
    try:
        step = next(following)
        while True:
            if isinstance(step, Event):
                on_update(step)
                heard = None
            else:
                heard = yield step
            step = following.send(heard)
    except StopIteration as end:
        result: JSON = end.value
        return result


def _encoded(data: bytes | Path, content_type: str) -> Flow[str]:
    if isinstance(data, Path):
        return str((yield Encode(data, content_type)))
    return encode(data, content_type)


def _path(model_id: str) -> str:
    return f"/v1/models/{quote(model_id.strip('/'), safe='/')}"


def _known(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
