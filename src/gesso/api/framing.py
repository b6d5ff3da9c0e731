"""What the server library lets through: the framing of HTTP/1.1 messages, the size of their headers, and their pace.

Judged on the connection, below the application: what cannot be read as one message is refused and the connection is
closed, so that nothing can be smuggled behind it. Header and body have a time to arrive in; who drips bytes is cut off.
"""

import asyncio
from enum import Enum, auto
from typing import Any

import msgspec
from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gesso.core.errors import BadHost, BadRequest, GessoError, HeadersTooLarge, RequestTimeout
from gesso.core.texts import DEFAULT_LANGUAGE, Texts
from gesso.core.wire import Wire

MOST_HEADER_BYTES = 32 * 1024
MOST_HEADERS = 100
HEADER_S = 10.0
BODY_S = 20.0
BYTES_A_SECOND = 256 * 1024
VERSIONS = frozenset({"1.0", "1.1"})
ONCE = frozenset({b"host", b"content-length", b"transfer-encoding"})
_wire = Wire("", Texts({}))


class Stage(Enum):
    """What a connection is waiting for."""

    HEADER = auto()
    BODY = auto()
    NOTHING = auto()


class StrictProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with the checks in front."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stage = Stage.HEADER
        self._refusal: GessoError | None = None
        self._received = 0
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing is cut off too."""
        super().connection_made(transport)
        self._arm(HEADER_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a message that is not complete after that has a time to become so."""
        if self._refusal is not None:
            return
        self._received += len(data)
        super().data_received(data)
        if self._refusal is not None or self._stage is Stage.NOTHING:
            self._disarm()
        elif self._stage is Stage.HEADER and self._received > MOST_HEADER_BYTES:
            self._refuse(HeadersTooLarge())
        elif self._timer is None:
            self._arm(HEADER_S if self._stage is Stage.HEADER else BODY_S)

    def on_message_begin(self) -> None:
        """A new message on this connection."""
        self._stage = Stage.HEADER
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Judge the header; raising refuses the connection."""
        fault = self._fault()
        if fault is not None:
            self._refusal = fault
            raise HttpParserError
        self._disarm()
        self._stage = Stage.BODY
        self._received = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The message has come whole."""
        self._stage = Stage.NOTHING
        self._received = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What the library or we could not read."""
        self._refuse(self._refusal or BadRequest())

    def _fault(self) -> GessoError | None:
        """What is wrong with the header as a whole."""
        size = sum(len(name) + len(value) for name, value in self.headers) + len(self.url)
        if size > MOST_HEADER_BYTES or len(self.headers) > MOST_HEADERS:
            return HeadersTooLarge()
        once = [name for name, _ in self.headers if name in ONCE]
        if once.count(b"host") != 1:
            return BadHost()
        length, coding = once.count(b"content-length"), once.count(b"transfer-encoding")
        if length + coding > 1 or (coding and not self._is_chunked()) or self.parser.get_http_version() not in VERSIONS:
            return BadRequest()
        return None

    def _is_chunked(self) -> bool:
        return all(value.lower() == b"chunked" for name, value in self.headers if name == b"transfer-encoding")

    def _refuse(self, error: GessoError) -> None:
        """Answer, and close: what follows on this connection cannot be trusted to begin where it seems to."""
        self._refusal = error
        self._disarm()
        body = msgspec.json.encode(_wire.error(error, DEFAULT_LANGUAGE))
        head = f"HTTP/1.1 {error.status} \r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _arm(self, seconds: float) -> None:
        self._began = self.loop.time()
        self._timer = self.loop.call_later(seconds, self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """The time is over: for a header in any case, for a body unless it kept its pace or we are the slow ones."""
        left = self._began + BODY_S + self._received / BYTES_A_SECOND - self.loop.time()
        if self._stage is Stage.BODY and (left > 0 or self.flow.read_paused):
            self._timer = self.loop.call_later(max(left, 1.0), self._look)
        else:
            self._timer = None
            self._refuse(RequestTimeout())
