"""One who follows a request's events, frame by frame, as a server would let him: the messages of ASGI themselves."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self

from served import Served

PATIENCE_S = 5.0


@dataclass(frozen=True)
class Frame:
    """One event; a comment has the name ":"."""

    id: int
    name: str
    data: Any


class Follower:
    """Follows in a task of its own; use it in an `async with`."""

    def __init__(
        self, served: Served, path: str, *, token: str | None = None, query: str = "", last_id: int | None = None
    ) -> None:
        headers = {"host": "api.example.org", "authorization": f"Bearer {token or served.token}"}
        if last_id is not None:
            headers["last-event-id"] = str(last_id)
        self._scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "https",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("192.0.2.7", 1), "server": ("api.example.org", 443), "state": {},
        }  # fmt: skip
        self._served = served
        self._left = asyncio.Event()
        self._asked = False
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.may_take = asyncio.Event()
        """Cleared, the client takes nothing more in."""
        self.may_take.set()
        self.status = 0
        self.headers: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self._served.app(self._scope, self._receive, self._send))
        start = await asyncio.wait_for(self._sent.get(), PATIENCE_S)
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()
        await asyncio.wait_for(self.task, PATIENCE_S)

    def leave(self) -> None:
        """Close the connection."""
        self.may_take.set()
        self._left.set()

    async def frame(self) -> Frame | None:
        """The next frame; None at the end of the stream."""
        message = await asyncio.wait_for(self._sent.get(), PATIENCE_S)
        if not message.get("more_body"):
            return None
        text = message["body"].decode()
        assert text.endswith("\n\n")
        if text.startswith(":"):
            return Frame(0, ":", text[1:].strip())
        fields = dict(line.split(": ", 1) for line in text.strip().split("\n"))
        assert list(fields) == ["id", "event", "data"]
        return Frame(int(fields["id"]), fields["event"], json.loads(fields["data"]))

    async def named(self, name: str) -> Frame:
        """The next frame of that name."""
        while True:
            frame = await self.frame()
            assert frame is not None, "the stream has ended"
            if frame.name == name:
                return frame

    async def rest(self) -> list[Frame]:
        """All frames to the end of the stream."""
        frames = []
        while frame := await self.frame():
            frames.append(frame)
        return frames

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        await self.may_take.wait()
        self._sent.put_nowait(message)
