"""`/mcp` beside the API. What is behind it is imported at the first message: most servers never see one."""

import asyncio
from importlib import import_module
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send


class Door:
    """Serves messages to `/mcp`, in the event loop of the first.

    Args:
        public_url: what the API calls itself.
    """

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url
        self.api: ASGIApp
        """The API, which the tools call."""
        self._opening: asyncio.Future[ASGIApp] | None = None
        self._open: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one message."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_future()
            self._open = asyncio.create_task(self._hold_open(self._opening))
        app = await asyncio.shield(self._opening)
        await app(scope, receive, send)

    async def _hold_open(self, opening: asyncio.Future[ASGIApp]) -> None:
        """Until the event loop ends."""
        try:
            serving: Any = await asyncio.to_thread(import_module, "gesso.agents.serving")
            server, app = serving.over_http(self.api, self._public_url)
            async with server.session_manager.run():
                opening.set_result(app)
                await asyncio.Event().wait()
        except Exception as fault:
            self._opening = None  # the next message tries again
            opening.set_exception(fault)
            raise
