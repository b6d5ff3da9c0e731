"""How the steps of a flow become HTTP, once plain and once to be awaited. Beside downloads, nothing else sends."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import httpx2

from gesso import __version__
from gesso.client.credentials import Credentials
from gesso.client.errors import Unreachable
from gesso.client.exchange import Call, Encode, Heard, Open, Pause, Read, Reply, Step
from gesso.client.files import encode
from gesso.client.urls import origin

STREAM = "text/event-stream"


class Messages:
    """What a call looks like as an HTTP message to one server.

    Args:
        timeout_s: for which a single exchange may be silent.
    """

    def __init__(self, credentials: Credentials, timeout_s: float) -> None:
        self._credentials = credentials
        self._timeout_s = timeout_s

    def message(self, call: Call, content: bytes | None) -> dict[str, Any]:
        """The arguments of the HTTP library. The token goes to the base URL's origin only."""
        base, token = self._credentials.base_url, self._credentials.token
        url = call.url if "://" in call.url else base + call.url
        headers = {"User-Agent": f"gesso/{__version__}", **call.headers}
        if token and origin(url) == origin(base):
            headers["Authorization"] = f"Bearer {token}"
        body = {"content": content} if call.json is None else {"json": call.json}
        timeout_s = min(self._timeout_s, call.timeout_s or self._timeout_s)
        return dict(method=call.method, url=url, headers=headers, params=call.query or None, timeout=timeout_s, **body)

    def unreachable(self, error: Exception) -> Unreachable:
        """*error* in our words."""
        return Unreachable(url=self._credentials.base_url, reason=str(error) or type(error).__name__)


class Line:
    """Carries out the steps of one flow; use it in a `with`, which closes the stream that is left open."""

    def __init__(self, http: httpx2.Client, messages: Messages) -> None:
        self._http, self._messages = http, messages
        self._open: httpx2.Response | None = None
        self._lines: Iterator[str] = iter(())

    def __call__(self, step: Step) -> Heard:
        try:
            match step:
                case Pause():
                    time.sleep(step.seconds)
                    return None
                case Encode():
                    return encode(step.path.read_bytes(), step.content_type)
                case Read():
                    return next(self._lines, None)
                case Open():
                    return self._opened(step.call)
                case Call():
                    content = step.body.read_bytes() if isinstance(step.body, Path) else step.body
                    return reply(self._http.request(**self._messages.message(step, content)))
        except httpx2.RequestError as error:
            return self._messages.unreachable(error)

    def _opened(self, call: Call) -> Reply:
        self.__exit__()
        request = self._http.build_request(**self._messages.message(call, None))
        response = self._http.send(request, stream=True)
        if not response.headers.get("content-type", "").startswith(STREAM):
            response.read()
            return reply(response)
        self._open, self._lines = response, response.iter_lines()
        return Reply(response.status_code, names(response), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.close()
        self._open, self._lines = None, iter(())


class AsyncLine:
    """As `Line`, to be awaited."""

    def __init__(self, http: httpx2.AsyncClient, messages: Messages) -> None:
        self._http, self._messages = http, messages
        self._open: httpx2.Response | None = None
        self._lines: AsyncIterator[str] | None = None

    async def __call__(self, step: Step) -> Heard:
        try:
            match step:
                case Pause():
                    await asyncio.sleep(step.seconds)
                    return None
                case Encode():
                    return encode(await asyncio.to_thread(step.path.read_bytes), step.content_type)
                case Read():
                    return await anext(self._lines, None) if self._lines is not None else None
                case Open():
                    return await self._opened(step.call)
                case Call():
                    body = step.body
                    content = await asyncio.to_thread(body.read_bytes) if isinstance(body, Path) else body
                    return reply(await self._http.request(**self._messages.message(step, content)))
        except httpx2.RequestError as error:
            return self._messages.unreachable(error)

    async def _opened(self, call: Call) -> Reply:
        await self.__aexit__()
        request = self._http.build_request(**self._messages.message(call, None))
        response = await self._http.send(request, stream=True)
        if not response.headers.get("content-type", "").startswith(STREAM):
            await response.aread()
            return reply(response)
        self._open, self._lines = response, response.aiter_lines()
        return Reply(response.status_code, names(response), None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._open is not None:
            await self._open.aclose()
        self._open, self._lines = None, None


def reply(response: httpx2.Response) -> Reply:
    """A whole answer; its JSON, if its body is some."""
    try:
        body = response.json()
    except ValueError:
        body = None
    return Reply(response.status_code, names(response), body)


def names(response: httpx2.Response) -> dict[str, str]:
    """The headers, names in lower case."""
    return {name.lower(): value for name, value in response.headers.items()}
