"""`/mcp` beside the API. What is behind it is imported at the first message: most servers never see one."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

LARGEST_MESSAGE = 16 * 2**20  # a picture as a data URI; more of them are better uploaded
Hold = Callable[[Scope, Receive, int], AbstractAsyncContextManager[Receive]]
"""Reads a body of at most so many bytes, keeps account of it while the message is served, and gives it out again."""


class Door:
    """Serves messages to `/mcp`, in the event loop of the first.

    Args:
        public_url: what the API calls itself.
        hold: bounds the bodies of all messages that are served.
    """

    def __init__(self, public_url: str, hold: Hold) -> None:
        self._public_url = public_url
        self._hold = hold
        self.api: ASGIApp
        """The API, which the tools call."""
        self._opening: asyncio.Future[ASGIApp] | None = None
        self._open: asyncio.Task[None] | None = None
        self._send_home: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Have whoever waits for pictures answered now: the server stops."""
        self._send_home()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one message."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_future()
            self._open = asyncio.create_task(self._hold_open(self._opening))
        app = await asyncio.shield(self._opening)
        async with self._hold(scope, receive, LARGEST_MESSAGE) as held:
            await app(scope, held, send)

    async def _hold_open(self, opening: asyncio.Future[ASGIApp]) -> None:
        """Until the event loop ends."""
        try:
            serving: Any = await asyncio.to_thread(import_module, "gesso.agents.serving")
            tools, server, app = serving.over_http(self.api, self._public_url)
            self._send_home = tools.stop
            async with server.session_manager.run():
                opening.set_result(app)
                await asyncio.Event().wait()
        except Exception as fault:
            self._opening = None  # the next message tries again
            opening.set_exception(fault)
            raise
