"""Live events of one request, as server-sent events: a snapshot, then what changes, then the result.

An event's id says what it tells, so that any process can go on where a stream broke off, without a log of events. To
each attempt belong SPAN ids: its start, its steps and previews by their number, the result. Before the first attempt an
id holds the time since the submit, and the position.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gesso.api.errors import encode
from gesso.api.query import flag
from gesso.api.waiting import Live, Watched, leaves, wait_for
from gesso.core import wire
from gesso.core.errors import ResourceNotFound, Unavailable
from gesso.core.ports import Clock
from gesso.core.request import Request
from gesso.core.states import FINAL, State
from gesso.core.wire import JSON
from gesso.store.progress import Mark, Progress
from gesso.store.queue import Queue

SPAN, PLACES = 10**12, 1000
TICK = timedelta(milliseconds=10)
COMMENT_S, PLACE_S = 15.0, 1.0
LONGEST_ID = 16
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
log = logging.getLogger(__name__)
Render = Callable[[Request, str], JSON]


@dataclass(frozen=True, slots=True)
class Event:
    """What is told: its id, its name, its data."""

    id: int
    name: str
    data: JSON

    def frame(self) -> bytes:
        """As it goes over the wire; JSON has no line ends, so the data is one line."""
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self.id, self.name.encode(), encode(self.data))


class Events:
    """`GET /v1/requests/{request_id}/events`.

    Args:
        render: a request and a language to the body of /result.
    """

    def __init__(self, queue: Queue, progress: Progress, live: Live, render: Render, now: Clock) -> None:
        self._queue = queue
        self._progress = progress
        self._pace = live.pace
        self._lines = live.lines
        self._render = render
        self._now = now

    async def serve(self, http: HTTPRequest) -> Response:
        """Follow the request to its end.

        Raises:
            ResourceNotFound: when it is unknown or another owner's.
            TooManyStreams: when too many are open.
        """
        owner: str = http.scope["gesso.owner"]
        language: str = http.scope["gesso.language"]
        wants_previews = flag(http.query_params, "previews", absent=True)
        request = await self._queue.get(http.path_params["request_id"], owner)
        headers = {**HEADERS, "Content-Language": language, "Vary": "Accept-Language"}
        if http.method == "HEAD":
            return Response(headers=headers)
        told = Told(request, _last_id(http.headers.get("last-event-id", "")))
        held = ExitStack()  # too many is an answer; what is held until then is given back by the stream
        held.enter_context(self._lines.hold(owner))
        return Stream(headers, lambda: self._follow(told, language, wants_previews=wants_previews), held)

    async def _follow(self, told: "Told", language: str, *, wants_previews: bool) -> AsyncGenerator[bytes]:
        """The stream's frames, and comments so that nobody takes it for dead."""
        comment_at = time.monotonic() + COMMENT_S
        watch = self._lines.watch
        with watch.on(told.request.id) as watched:
            while not watch.is_stopping:
                for event in await self._news(told, watched, language, wants_previews=wants_previews):
                    yield event.frame()
                if told.is_over:
                    return
                if time.monotonic() >= comment_at:
                    yield b": still here\n\n"
                    comment_at += COMMENT_S
                pause_s = comment_at - time.monotonic()
                await wait_for(watched.news, min(pause_s, PLACE_S) if told.is_waiting else pause_s)

    async def _news(self, told: "Told", watched: Watched, language: str, *, wants_previews: bool) -> list[Event]:
        """What the client does not know yet; while the database is away, nothing."""
        watched.news.clear()
        request = told.request
        mark = watched.mark if watched.is_seen else Mark(request.state, request.attempt, 0)
        try:
            if mark is None or mark.state in FINAL:
                request = await self._queue.get(request.id, request.owner)
                return told.ends(request.attempt, self._render(request, language))
            if mark.state is State.IN_QUEUE:
                return await self._place(told)
            return await self._steps(told, mark, wants_previews=wants_previews)
        except ResourceNotFound:  # it was forgotten meanwhile
            told.is_over = True
        except Unavailable as fault:
            log.warning("request %s: its followers are not told: %s", request.id, fault)
        return []

    async def _place(self, told: "Told") -> list[Event]:
        request = told.request
        place = await self._queue.place(request.id, request.owner)
        if place.position is None:  # it has just begun: its mark comes
            return []
        eta_s = await self._pace.waiting_s(request.model_id, place.position)
        return told.waits(place.position, self._now(), wire.standing(request.id, State.IN_QUEUE, place.position, eta_s))

    async def _steps(self, told: "Told", mark: Mark, *, wants_previews: bool) -> list[Event]:
        """The start of the attempt, how far it is, and what it looks like."""
        request_id, attempt = told.request.id, mark.attempt
        run_s = await self._pace.run_s(told.request.model_id)
        events = [Event(attempt * SPAN, "status", wire.standing(request_id, State.IN_PROGRESS, None, run_s))]
        step = await self._progress.step(request_id, attempt)
        if step is not None:
            left_s = step.left_s if step.left_s is not None or run_s is None else run_s * (1 - step.fraction)
            body = wire.progress(step.fraction, step.step, step.steps, left_s)
            events.append(Event(attempt * SPAN + 2 * step.event, "progress", body))
        if step is not None and wants_previews:
            preview = await self._progress.preview(request_id, attempt, after=told.preview(attempt))
            if preview is not None and preview.event <= step.event:  # else it came between the two looks
                body = wire.preview(preview.jpeg, preview.width, preview.height)
                events.append(Event(attempt * SPAN + 2 * preview.event + 1, "preview", body))
        return told.goes_on(events)


class Told:
    """What one client knows: all up to the event that it was sent last.

    Args:
        last_id: of that event; one that cannot be yet counts as none.
    """

    def __init__(self, request: Request, last_id: int) -> None:
        self.request = request
        self.is_waiting = request.state is State.IN_QUEUE
        self.is_over = False
        self._last_id = last_id if last_id < (request.attempt + 1) * SPAN else 0
        place = self._last_id % PLACES
        self._place = place if 0 < self._last_id < SPAN and place < PLACES - 1 else None

    def waits(self, position: int, now: datetime, body: JSON) -> list[Event]:
        """The request waits at *position*."""
        if position == self._place:
            return []
        self._place = position
        tick = max((now - self.request.created_at) // TICK, self._last_id // PLACES + 1)
        return self._unknown([Event(tick * PLACES + min(position, PLACES - 1), "status", body)])

    def goes_on(self, events: Iterable[Event]) -> list[Event]:
        """The request runs."""
        self.is_waiting = False
        return self._unknown(events)

    def ends(self, attempt: int, body: JSON) -> list[Event]:
        """The request has ended in this attempt: nothing comes after that."""
        self.is_over = True
        return self._unknown([Event((attempt + 1) * SPAN - 1, "result", body)])

    def preview(self, attempt: int) -> int:
        """The number of the last preview of *attempt* that the client may know; 0 for none."""
        return max(0, (self._last_id - attempt * SPAN - 1) // 2)

    def _unknown(self, events: Iterable[Event]) -> list[Event]:
        new = sorted((each for each in events if each.id > self._last_id), key=lambda each: each.id)
        self._last_id = new[-1].id if new else self._last_id
        return new


class Stream(Response):
    """Sends frames as they come, for as long as the client listens.

    Args:
        held: given back at the end.
    """

    def __init__(self, headers: dict[str, str], frames: Callable[[], AsyncGenerator[bytes]], held: ExitStack) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._frames = frames
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        with self._held:
            sending = asyncio.create_task(self._send(send))
            gone = asyncio.create_task(leaves(receive))
            try:
                await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
            finally:
                sending.cancel()
                gone.cancel()
                await asyncio.gather(sending, gone, return_exceptions=True)
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._frames()) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _last_id(text: str) -> int:
    """Of a Last-Event-ID header; what is no id of ours is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_ID else 0
