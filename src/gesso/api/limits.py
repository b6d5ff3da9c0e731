"""How much is read: bodies within their limits, large ones within a budget, JSON strictly."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

import msgspec
from starlette.requests import Request as HTTPRequest
from starlette.types import Message, Receive, Scope

from gesso.api.rates import Rate
from gesso.core.errors import BadRequest, PayloadTooLarge, TooManyBytes, Unavailable, UnsupportedMediaType
from gesso.store.usage import Usage

_decode = msgspec.json.Decoder().decode
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|(?P<half>u[dD][89a-fA-F][\da-fA-F]{2})|.)", re.DOTALL
)
KIB, MIB = 2**10, 2**20


class Budget:
    """Bytes of large bodies that are in flight at once: a sum for all, half of it for one owner.

    Args:
        total: bytes.
        small: a body up to this size does not draw on the budget; what is no picture must fit into it.
        largest: the longest body that is read at all.
    """

    def __init__(self, total: int, *, small: int, largest: int) -> None:
        self.small = small
        self.largest = largest
        self._total = total
        self._used: Counter[str] = Counter()

    @contextmanager
    def hold(self, owner: str) -> Iterator["Held"]:
        """Draw on the budget as bytes come; all is given back at the end."""
        held = Held(self, owner)
        try:
            yield held
        finally:
            if held.bytes:
                self._used[owner] -= held.bytes
                self._used += Counter()  # forget owners that hold nothing

    def draw(self, owner: str, held: int, more: int) -> None:
        """Raises TooManyBytes or Unavailable when *more* bytes are too many."""
        if held + more <= self.small:
            return
        if self._used[owner] + more > self._total // 2:
            raise TooManyBytes(limit=_told(self._total // 2))
        if self._used.total() + more > self._total:
            raise Unavailable
        self._used[owner] += more


class Held:
    """What one message holds of a budget."""

    def __init__(self, budget: Budget, owner: str) -> None:
        self.bytes = 0
        self._budget = budget
        self._owner = owner

    def grow(self, size: int) -> None:
        """The body is now *size* bytes long, or says that it will be."""
        if size > max(self.bytes, self._budget.small):
            self._budget.draw(self._owner, self.bytes, size - self.bytes)
            self.bytes = size


@dataclass(frozen=True, slots=True)
class Limits:
    """What one owner may take: bytes in flight, how often it may submit or upload, and how much it may keep."""

    budget: Budget
    submits: Rate
    usage: Usage

    async def admit(self, owner: str) -> None:
        """Before anything of a submit or an upload is read; raises TooMany."""
        self.submits.take(owner)
        await self.usage.require_room(owner)


def headers_of(http: HTTPRequest) -> dict[str, str]:
    """The headers of a message, read once, names in lower case; of equal ones the first."""
    known: dict[str, str] | None = http.scope.get("gesso.headers")
    if known is None:
        pairs = reversed(http.scope["headers"])
        known = http.scope["gesso.headers"] = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
    return known


async def read_body(http: HTTPRequest, held: Held, limit: int) -> bytes:
    """The body.

    Raises:
        PayloadTooLarge: when it is longer than *limit*; told by its Content-Length, nothing of it is read.
        TooManyBytes, Unavailable: when the budget is used up.
        BadRequest: when it ends early.
    """
    declared = headers_of(http).get("content-length", "0")
    size = int(declared) if declared.isascii() and declared.isdigit() else 0
    parts: list[bytes] = []
    received = 0
    _admit(held, size, limit)
    is_whole = False
    while not is_whole:
        message = await http.receive()
        if message["type"] == "http.disconnect":
            raise BadRequest
        part = message.get("body", b"")
        received += len(part)
        if received > size:
            _admit(held, received, limit)
        parts.append(part)
        is_whole = not message.get("more_body", False)
    return b"".join(parts)


@asynccontextmanager
async def held_body(budget: Budget, scope: Scope, receive: Receive, limit: int) -> AsyncIterator[Receive]:
    """For an application that reads bodies itself: what it receives from instead gives the body whole, and judged. The
    body draws on *budget* until the message is answered.

    Raises:
        PayloadTooLarge, TooManyBytes, Unavailable, BadRequest: as `read_body`.
    """
    with budget.hold(scope["gesso.owner"]) as held:
        unread = [await read_body(HTTPRequest(scope, receive), held, limit)]

        async def again() -> Message:
            return {"type": "http.request", "body": unread.pop(), "more_body": False} if unread else await receive()

        yield again


def _admit(held: Held, size: int, limit: int) -> None:
    if size > limit:
        raise PayloadTooLarge(limit=_told(limit))
    held.grow(size)


def require_json(http: HTTPRequest) -> None:
    """Raises UnsupportedMediaType when the body is not declared as JSON in UTF-8."""
    declared = headers_of(http).get("content-type", "")
    if declared == "application/json":
        return
    kind, *parameters = [part.strip().lower() for part in declared.split(";")]
    charsets = {part.partition("=")[2].strip('"') for part in parameters if part.startswith("charset=")}
    if kind != "application/json" or not charsets <= {"utf-8", "utf8"}:
        raise UnsupportedMediaType(expected="application/json")


def parse_json(body: bytes) -> dict[str, Any]:
    """The object in *body*, strictly: no NaN, no Infinity, no broken UTF-8; of equal keys the last.

    Raises:
        BadRequest: when it is not one JSON object.
    """
    try:
        told = _decoded(body)
    except (ValueError, RecursionError):
        raise BadRequest from None
    if not isinstance(told, dict):
        raise BadRequest
    return told


def _decoded(body: bytes) -> Any:
    try:
        return _decode(body)
    except msgspec.DecodeError:
        if b"\\u" not in body:
            raise
        # Half of a surrogate pair spoils the whole body for the parser. As U+0000, which no field takes either, it is
        # the problem of one field, and is told with its place.
        return _decode(_ESCAPE.sub(lambda escape: b"\\u0000" if escape["half"] else escape[0], body))


def _told(limit: int) -> str:
    return f"{ceil(limit / MIB)} MiB" if limit >= MIB else f"{ceil(limit / KIB)} KiB"
