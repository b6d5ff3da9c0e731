"""What the server library lets through: the framing of HTTP/1.1 messages, the size of their headers, and their pace.

Judged on the connection, below the application: what cannot be read as one message is refused and the connection is
closed, so that nothing can be smuggled behind it. Header and body have a time to arrive in; who drips bytes is cut off,
and so is who does not take its answer.
"""

import asyncio
from enum import Enum, auto
from typing import Any

import msgspec
from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gesso.core.errors import BadHost, BadMessage, GessoError, HeadersTooLarge, RequestTimeout
from gesso.core.texts import DEFAULT_LANGUAGE, Texts
from gesso.core.wire import Wire

MOST_HEADER_BYTES = 32 * 1024
MOST_HEADERS = 100
HEADER_S = 10.0
BODY_S = 20.0
BYTES_A_SECOND = 256 * 1024
TAKE_S = 20.0
LEAST_TAKEN = 64 * 1024  # in that time, of an answer that waits to be taken
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
        self._since_body = 0
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._untaken = 0
        self._take_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing is cut off too."""
        super().connection_made(transport)
        self._arm(HEADER_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._disarm()
        super().connection_lost(exc)  # says `resume_writing`

    def pause_writing(self) -> None:
        """The answer is given faster than it is taken; who takes none of it must not keep it in our memory."""
        super().pause_writing()
        self._untaken = self.transport.get_write_buffer_size()
        self._take_timer = self.loop.call_later(TAKE_S, self._look_at_taker)

    def resume_writing(self) -> None:
        """Taken."""
        super().resume_writing()
        if self._take_timer is not None:
            self._take_timer.cancel()
            self._take_timer = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a message that is not complete after that has a time to become so."""
        if self._refusal is not None:
            return
        self._received += len(data)
        self._since_body += len(data)
        super().data_received(data)
        if self._refusal is None:
            self._wait()

    def on_message_begin(self) -> None:
        """A new message on this connection."""
        self._stage = Stage.HEADER
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Behind the body it is a trailer, which is dropped: it may say what a proxy has taken out of the header."""
        if self._stage is Stage.HEADER:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Judge the header; raising refuses the connection."""
        fault = self._fault()
        if fault is not None:
            self._refusal = fault
            raise HttpParserError
        self._begin()
        self._disarm()
        self._stage = Stage.BODY
        self._received = self._since_body = 0

    def _begin(self) -> None:
        """Hand the message on; raises for a URL that is none."""
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body; what comes between two of them is as limited as a header."""
        self._since_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The message has come whole."""
        self._disarm()
        self._stage = Stage.NOTHING
        self._received = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """After the last answer that is owed, say what was wrong with the message behind it."""
        is_last = not self.pipeline
        super().on_response_complete()
        if is_last and self._refusal is not None:
            self._tell(self._refusal)

    def send_400_response(self, msg: str) -> None:
        """What the library or we could not read."""
        self._refuse(self._refusal or BadMessage())

    def _unsupported_upgrade_warning(self) -> None:
        """Some clients offer HTTP/2 with every message: that is no news."""

    def _fault(self) -> GessoError | None:
        """What is wrong with the header as a whole."""
        if len(self.headers) > MOST_HEADERS or (self._received > MOST_HEADER_BYTES and self._is_large()):
            return HeadersTooLarge()
        once = [name for name, _ in self.headers if name in ONCE]
        if once.count(b"host") != 1:
            return BadHost()
        length, coding = once.count(b"content-length"), once.count(b"transfer-encoding")
        if length + coding > 1 or (coding and not self._is_chunked()) or self.parser.get_http_version() not in VERSIONS:
            return BadMessage()
        return None

    def _is_large(self) -> bool:
        return sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > MOST_HEADER_BYTES

    def _is_chunked(self) -> bool:
        if self.parser.get_http_version() != "1.1":
            return False  # HTTP/1.0 knows no chunks: who relays it may see another end (RFC 9112, 6.1)
        return all(value.lower() == b"chunked" for name, value in self.headers if name == b"transfer-encoding")

    def _wait(self) -> None:
        """There is always a timer, unless it is our turn: an answer is owed, or uvicorn's own keep-alive runs."""
        behind_a_body = self._stage is Stage.BODY and self._since_body > MOST_HEADER_BYTES
        if behind_a_body or (self._stage is Stage.HEADER and self._received > MOST_HEADER_BYTES):
            self._refuse(HeadersTooLarge())
        elif self._timer is None and (self._stage is not Stage.NOTHING or self._is_idle()):
            self._arm(BODY_S if self._stage is Stage.BODY else HEADER_S)

    def _is_idle(self) -> bool:
        """Whether all is answered and uvicorn waits for no more: any byte ends its keep-alive, a bare line end too."""
        return (self.cycle is None or self.cycle.response_complete) and self.timeout_keep_alive_task is None

    def _refuse(self, error: GessoError) -> None:
        """Take in nothing more: what follows on this connection cannot be trusted to begin where it seems to."""
        self._refusal = error
        self._disarm()
        if self._stage is Stage.BODY and self.pipeline:
            self.pipeline.popleft()  # the broken message itself; it is never begun
        elif self._stage is Stage.BODY or self.cycle is None or self.cycle.response_complete:
            self._tell(error)
        # Else, and behind the first of them: answers keep their order, or a client takes this one for another's.

    def _tell(self, error: GessoError) -> None:
        """Answer, and close."""
        if self._stage is Stage.BODY and self.cycle.response_started:
            self.transport.close()
            return
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

    def _look_at_taker(self) -> None:
        left = self.transport.get_write_buffer_size()
        if left > self._untaken - LEAST_TAKEN:
            self.transport.abort()
            return
        self._untaken = left
        self._take_timer = self.loop.call_later(TAKE_S, self._look_at_taker)

    def _look(self) -> None:
        """The time is over: for a header in any case, for a body unless it kept its pace or we are the slow ones."""
        left = self._began + BODY_S + self._received / BYTES_A_SECOND - self.loop.time()
        if self._stage is Stage.BODY and (left > 0 or self.flow.read_paused):
            self._timer = self.loop.call_later(max(left, 1.0), self._look)
        else:
            self._timer = None
            self._refuse(RequestTimeout())
