"""`Client` and `AsyncClient`: the conversations of `flows.py`, carried out over HTTP. None is written here."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx2

from gesso.client import credentials
from gesso.client.downloads import download, output_urls
from gesso.client.events import Event
from gesso.client.exchange import Flow, Heard
from gesso.client.flows import Flows, Ticket
from gesso.client.following import Following
from gesso.client.line import AsyncLine, Line, Messages
from gesso.client.urls import DIRECT, is_runcomfy
from gesso.core.wire import JSON

P = ParamSpec("P")
T = TypeVar("T")
Later = Coroutine[Any, Any, T]


def _played(flow: Callable[Concatenate[Flows, P], Flow[T]]) -> Callable[Concatenate["Client", P], T]:
    @wraps(flow)
    def method(self: "Client", /, *args: P.args, **options: P.kwargs) -> T:
        return self.play(flow(self.flows, *args, **options))

    return method


def _awaited(flow: Callable[Concatenate[Flows, P], Flow[T]]) -> Callable[Concatenate["AsyncClient", P], Later[T]]:
    @wraps(flow)
    async def method(self: "AsyncClient", /, *args: P.args, **options: P.kwargs) -> T:
        return await self.play(flow(self.flows, *args, **options))

    return method


def _asked(flow: Callable[Concatenate[Flows, Ticket, P], Flow[T]]) -> Callable[Concatenate["Handle", P], T]:
    @wraps(flow)
    def method(self: "Handle", /, *args: P.args, **options: P.kwargs) -> T:
        return self.client.play(flow(self.client.flows, self.ticket, *args, **options))

    return method


def _asked_later(
    flow: Callable[Concatenate[Flows, Ticket, P], Flow[T]],
) -> Callable[Concatenate["AsyncHandle", P], Later[T]]:
    @wraps(flow)
    async def method(self: "AsyncHandle", /, *args: P.args, **options: P.kwargs) -> T:
        return await self.client.play(flow(self.client.flows, self.ticket, *args, **options))

    return method


class Handle:
    """A submitted request, to be asked after."""

    def __init__(self, client: "Client", ticket: Ticket) -> None:
        self.client, self.ticket, self.request_id = client, ticket, ticket.request_id

    status = _asked(Flows.status)
    outcome = _asked(Flows.outcome)
    result = _asked(Flows.result)
    wait = _asked(Flows.wait)
    get = _asked(Flows.get)
    cancel = _asked(Flows.cancel)

    def iter_events(self, **waiting: Any) -> Iterator[Event]:
        """Every event as it comes, to `Completed`, `Failed` or `Cancelled`; arguments and errors as for `get`."""
        return self.client.tell(self.client.flows.events(self.ticket, **waiting))


class AsyncHandle:
    """As `Handle`, to be awaited."""

    def __init__(self, client: "AsyncClient", ticket: Ticket) -> None:
        self.client, self.ticket, self.request_id = client, ticket, ticket.request_id

    status = _asked_later(Flows.status)
    outcome = _asked_later(Flows.outcome)
    result = _asked_later(Flows.result)
    wait = _asked_later(Flows.wait)
    get = _asked_later(Flows.get)
    cancel = _asked_later(Flows.cancel)

    def iter_events(self, **waiting: Any) -> AsyncIterator[Event]:
        return self.client.tell(self.client.flows.events(self.ticket, **waiting))


class _Server:
    """Where a client speaks to and as whom.

    Args:
        base_url: with or without `/v1`; by default, as for *token*, what `credentials.find` finds.
        timeout: seconds for which a single exchange may be silent.
        patience: seconds for which a call that may be repeated is repeated while the server is away or busy.
    """

    def __init__(self, base_url: str | None = None, token: str | None = None, *, timeout: float = 60.0,
                 patience: float = 30.0) -> None:  # fmt: skip
        self.credentials = credentials.find(base_url, token)
        # There, a lost submit that is sent again may be paid twice: nothing says that keys are known.
        theirs = is_runcomfy(self.credentials.base_url)
        self.flows = Flows(self.credentials.base_url, patience_s=patience, knows_keys=not theirs, is_runcomfy=theirs)
        self._messages = Messages(self.credentials, timeout)


class Client(_Server):
    """A model API for plain code. Close it, or use it in a `with`; the arguments are those of the base class."""

    def __init__(self, base_url: str | None = None, token: str | None = None, **options: float) -> None:
        super().__init__(base_url, token, **options)
        self._http = httpx2.Client(mounts=DIRECT)

    run = _played(Flows.run)
    subscribe = _played(Flows.subscribe)
    upload = _played(Flows.upload)
    upload_file = _played(Flows.upload_file)
    upload_image = _played(Flows.upload_image)
    requests = _played(Flows.requests)
    models = _played(Flows.models)
    model = _played(Flows.model)
    categories = _played(Flows.categories)
    balance = _played(Flows.balance)

    def submit(self, model_id: str, input: Mapping[str, Any], **options: Any) -> Handle:
        """Submit and do not wait; options as for `run`."""
        return Handle(self, self.play(self.flows.submit(model_id, input, **options)))

    def handle(self, request_id: str) -> Handle:
        """The handle of a request that was submitted before."""
        return Handle(self, Ticket.of(request_id))

    def download_outputs(self, result: JSON, folder: str | Path = ".") -> list[Path]:
        """Fetch the files of a /result body; raises `DownloadFailed`."""
        return download(output_urls(result), Path(folder))

    def play(self, flow: Flow[T]) -> T:
        """Carry out a flow to its end."""
        with Line(self._http, self._messages) as carry_out:
            try:
                step = next(flow)
                while True:
                    step = flow.send(carry_out(step))
            except StopIteration as end:
                value: T = end.value
                return value

    def tell(self, following: Following) -> Iterator[Event]:
        """Carry out *following*, event by event."""
        with Line(self._http, self._messages) as carry_out, closing(following):
            heard: Heard = None
            try:
                while True:
                    step = following.send(heard)
                    heard = None
                    if isinstance(step, Event):
                        yield step
                    else:
                        heard = carry_out(step)
            except StopIteration:
                return

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Server):
    """As `Client`, to be awaited, on asyncio.

    Args:
        transport: carries the messages in place of the network, such as `httpx2.ASGITransport(app)`. Give an `interval`
            then: such a transport tells a stream of events only once it has ended.
    """

    def __init__(self, base_url: str | None = None, token: str | None = None, *,
                 transport: httpx2.AsyncBaseTransport | None = None, **options: float) -> None:  # fmt: skip
        super().__init__(base_url, token, **options)
        self._http = httpx2.AsyncClient(transport=transport) if transport else httpx2.AsyncClient(mounts=DIRECT)

    run = _awaited(Flows.run)
    subscribe = _awaited(Flows.subscribe)
    upload = _awaited(Flows.upload)
    upload_file = _awaited(Flows.upload_file)
    upload_image = _awaited(Flows.upload_image)
    requests = _awaited(Flows.requests)
    models = _awaited(Flows.models)
    model = _awaited(Flows.model)
    categories = _awaited(Flows.categories)
    balance = _awaited(Flows.balance)

    async def submit(self, model_id: str, input: Mapping[str, Any], **options: Any) -> AsyncHandle:
        return AsyncHandle(self, await self.play(self.flows.submit(model_id, input, **options)))

    def handle(self, request_id: str) -> AsyncHandle:
        return AsyncHandle(self, Ticket.of(request_id))

    async def download_outputs(self, result: JSON, folder: str | Path = ".") -> list[Path]:
        return await asyncio.to_thread(download, output_urls(result), Path(folder))

    async def play(self, flow: Flow[T]) -> T:
        """Carry out a flow to its end."""
        async with AsyncLine(self._http, self._messages) as carry_out:
            try:
                step = next(flow)
                while True:
                    step = flow.send(await carry_out(step))
            except StopIteration as end:
                value: T = end.value
                return value

    async def tell(self, following: Following) -> AsyncIterator[Event]:
        """Carry out *following*, event by event."""
        async with AsyncLine(self._http, self._messages) as carry_out:
            with closing(following):
                heard: Heard = None
                try:
                    while True:
                        step = following.send(heard)
                        heard = None
                        if isinstance(step, Event):
                            yield step
                        else:
                            heard = await carry_out(step)
                except StopIteration:
                    return

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
