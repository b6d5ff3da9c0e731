"""Polls answered where their header ends: without an ASGI message, a task and a cycle, which cost more than the answer.

Only the plainest of messages are taken: the next on a connection that owes no answer, HTTP/1.1, kept alive, without a
body. Whatever else comes goes the usual way, and is answered alike.
"""

import re
from collections.abc import Coroutine
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gesso.api.framing import Stage, StrictProtocol

POLL = re.compile(rb"/v1/requests/[0-9A-Za-z-]{1,128}/status")
BODILY = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})


class Polled(Protocol):
    """An application that can answer some messages at once.

    Attributes:
        polls_at_once: whether `poll` never pauses; else every message goes the usual way.
    """

    polls_at_once: bool

    async def poll(self, scope: Scope) -> Response:
        """The answer to a status poll; the scope has what the answer depends on."""


class PollingProtocol(StrictProtocol):
    """The strict protocol with the short cut."""

    app: Polled

    _answer: Response | None = None

    def _begin(self) -> None:
        """The header is sound: answer a poll, or begin the message as usual."""
        if self._is_plain_poll():
            path = self.url.decode("ascii")
            scope = {"type": "http", "method": "GET", "path": path, "headers": self.headers, "client": self.client}
            self._answer = _at_once(self.app.poll(scope))
        else:
            super()._begin()

    def on_message_complete(self) -> None:
        """The whole message has come: give the answer that is ready."""
        if self._answer is None:
            super().on_message_complete()
            return
        answer, self._answer = self._answer, None
        self._disarm()
        self._stage = Stage.NOTHING
        self._received = 0
        self._give(answer)

    def _is_plain_poll(self) -> bool:
        return (
            self.app.polls_at_once
            and POLL.fullmatch(self.url) is not None
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and (self.cycle is None or self.cycle.response_complete)
            and BODILY.isdisjoint([name for name, _ in self.headers])
        )

    def _give(self, answer: Response) -> None:
        lines = [STATUS_LINE[answer.status_code]]
        for name, value in (*self.server_state.default_headers, *answer.raw_headers):
            lines += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join((*lines, b"\r\n", answer.body)))
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )


def _at_once(asked: Coroutine[Any, Any, Response]) -> Response:
    """What a coroutine answers that never pauses."""
    try:
        asked.send(None)
    except StopIteration as told:
        answer: Response = told.value
        return answer
    asked.close()
    raise RuntimeError("a poll paused")
