"""A ComfyUI server for tests: it plays back what a real one was recorded to say (`recordings/`, made by us).

Each posted graph gets the next recorded job: its answer, its messages, its history and its files, with the ids of the
post in place of the recorded ones. It waits where the recording waited for its client: for an interrupt of the running
job, and for a second socket; then it drops the first.
"""

import asyncio
import io
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image, PngImagePlugin

FOLDER = Path(__file__).parent
RECORDINGS = FOLDER / "recordings"
COLOURS = {"JPEG": (10, 200, 30), "PNG": (200, 30, 10)}
Json = dict[str, Any]


def recorded(name: str) -> list[Json]:
    """What was said in a scenario, in order."""
    exchange: list[Json] = json.loads((RECORDINGS / f"{name}.json").read_text())["exchange"]
    return exchange


def workflow(name: str) -> Json:
    """One of the two workflows of the fixtures."""
    graph: Json = json.loads((FOLDER / f"{name}_api.json").read_text())
    return graph


@dataclass
class Job:
    """One recorded job: the answer to its post, what followed, and what is kept of it."""

    post: Json
    answer: Json
    then: list[Json] = field(default_factory=list)
    is_playing: bool = False
    is_done: bool = False
    id: str = ""

    @property
    def graph(self) -> Json:
        graph: Json = self.post["prompt"]
        return graph

    def answers(self, path: str) -> list[Json]:
        """The recorded answers of a path, this job's history if it is `/history/`."""
        path = path + self.post.get("prompt_id", "") if path == "/history/" else path
        return [each["answer"] for each in self.then if "http" in each and each["http"]["path"] == path]


def jobs(name: str) -> list[Job]:
    """The jobs of a recording."""
    found: list[Job] = []
    for entry in recorded(name):
        http = entry.get("http", {})
        if (http.get("method"), http.get("path")) == ("POST", "/prompt"):
            if (
                not found or "client_id" in http["json"] or entry["answer"]["status"] != 200
            ):  # else nobody listens to it
                found.append(Job(http["json"], entry["answer"]))
        elif found:
            found[-1].then.append(entry)
    return found


def picture(described: Json) -> bytes:
    """A picture of the recorded format, size and text chunks."""
    chunks = PngImagePlugin.PngInfo()
    for name in described.get("text_chunks", ()):
        chunks.add_text(name, "the whole workflow")
    file = io.BytesIO()
    more = {"pnginfo": chunks} if described["format"] == "PNG" else {}
    Image.new("RGB", tuple(described["size"]), COLOURS[described["format"]]).save(file, described["format"], **more)
    return file.getvalue()


class FakeComfyUI:
    """The server's state; `calls` and `files` are what came in."""

    def __init__(self, *recordings: str) -> None:
        self.next = [job for name in recordings for job in jobs(name)]
        self.jobs: dict[str, Job] = {}
        self.calls: list[tuple[str, str, Any]] = []
        self.flags: list[Any] = []
        self.files: dict[str, bytes] = {}
        self.lacks: set[str] = set()
        self.offers: dict[str, str] = {}
        self.token: str | None = None
        self.away = 0  # so many calls are answered as by a proxy whose server is gone
        self.url = ""
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._opened = asyncio.Event()
        self._stopped: dict[str, asyncio.Event] = {}
        self._playing: set[asyncio.Task[None]] = set()

    def posts(self) -> list[Json]:
        """The graphs that came in, whole."""
        return [body for _, path, body in self.calls if path == "/prompt"]

    def said(self, path: str) -> list[Any]:
        """The bodies that were posted to *path*."""
        return [body for method, each, body in self.calls if each == path and method == "POST"]

    def queued(self, id: str, recording: str) -> None:
        """An earlier attempt's job: it waits, and runs as soon as its client listens."""
        self.jobs[id] = jobs(recording)[0]
        self.jobs[id].id = id

    def ended(self, id: str, recording: str) -> None:
        """The same, ended unheard."""
        self.queued(id, recording)
        self.jobs[id].is_playing = self.jobs[id].is_done = True

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[self._noted], client_max_size=2**28)
        app.add_routes([
            web.get("/ws", self._ws), web.post("/prompt", self._prompt), web.post("/upload/image", self._upload),
            web.get("/history/{id}", self._history), web.get("/queue", self._queue), web.post("/queue", self._delete),
            web.post("/interrupt", self._interrupt), web.get("/view", self._view),
            web.get("/system_stats", self._stats), web.get("/object_info/{kind}", self._info),
        ])  # fmt: skip
        return app

    @web.middleware
    async def _noted(self, http: web.Request, handler: Any) -> web.StreamResponse:
        if self.token and http.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        if self.away:
            self.away -= 1
            return web.Response(status=503)
        is_json = http.content_type == "application/json"
        self.calls.append((http.method, http.path, await http.json() if is_json else dict(http.query)))
        told: web.StreamResponse = await handler(http)
        return told

    async def _ws(self, http: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(http)
        client = http.query["clientId"]
        self._sockets[client] = socket
        self._opened.set()
        if client in self.jobs and not self.jobs[client].is_playing:
            self._start(self.jobs[client])
        async for message in socket:
            self.flags.append(json.loads(message.data))
        return socket

    async def _prompt(self, http: web.Request) -> web.Response:
        body = await http.json()
        job = self.next.pop(0)
        if job.answer["status"] != 200:
            return web.json_response(job.answer["json"], status=job.answer["status"])
        assert body["client_id"] in self._sockets, "posted before the socket was open"
        job.id = body["prompt_id"]
        self.jobs[job.id] = job
        self._start(job)
        return web.json_response({"prompt_id": job.id, "number": 1, "node_errors": {}})

    def _start(self, job: Job) -> None:
        job.is_playing = True
        self._stopped[job.id] = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._play(job))
        self._playing.add(task)

    async def _play(self, job: Job) -> None:
        recorded_id = job.post["prompt_id"]
        for entry in job.then:
            socket = self._sockets[job.id]
            if entry.get("http", {}).get("json") == {"prompt_id": recorded_id}:
                await self._stopped[job.id].wait()
            elif "ws_open" in entry:
                if "comment" not in entry:  # another client's job follows
                    break
                self._opened.clear()
                await socket.close()
                await self._opened.wait()
            elif "ws_text" in entry and entry["ws_text"]["data"].get("prompt_id", recorded_id) == recorded_id:
                await _to(socket, json.dumps(entry["ws_text"]).replace(recorded_id, job.id))
            elif "ws_binary" in entry:
                await _to(socket, _binary(entry["ws_binary"], recorded_id, job.id))
            await asyncio.sleep(0.002)
        job.is_done = True

    async def _upload(self, http: web.Request) -> web.Response:
        form = await http.post()
        assert form["overwrite"] == "true"
        folder, image = str(form["subfolder"]), form["image"]
        assert isinstance(image, web.FileField)
        self.files[f"{folder}/{image.filename}"] = image.file.read()
        return web.json_response({"name": image.filename, "subfolder": folder, "type": "input"})

    async def _history(self, http: web.Request) -> web.Response:
        id = http.match_info["id"]
        job = self.jobs.get(id)
        kept = job.answers("/history/") if job and job.is_done else []
        if not job or not kept:
            return web.json_response({})
        told = kept[0]
        if len(kept) > 1:
            job.then.remove(next(each for each in job.then if each.get("answer") is told))
        return web.json_response(text=json.dumps(told["json"]).replace(job.post["prompt_id"], id))

    async def _queue(self, _: web.Request) -> web.Response:
        waiting = [[1, each.id, {}, {}, []] for each in self.jobs.values() if not each.is_playing]
        running = [[0, each.id, {}, {}, []] for each in self.jobs.values() if each.is_playing and not each.is_done]
        return web.json_response({"queue_running": running, "queue_pending": waiting})

    async def _delete(self, http: web.Request) -> web.Response:
        for id in (await http.json())["delete"]:
            if id in self.jobs and not self.jobs[id].is_playing:
                del self.jobs[id]
        return web.Response()

    async def _interrupt(self, http: web.Request) -> web.Response:
        id = (await http.json())["prompt_id"]
        if id in self._stopped:
            self._stopped[id].set()
        return web.Response()

    async def _view(self, _: web.Request) -> web.Response:
        told = [answer for job in self.jobs.values() for answer in job.answers("/view")]
        answer = told[-1] if told else {"status": 200, "image": {"format": "PNG", "size": [64, 64]}}
        if answer["status"] != 200:
            return web.Response(status=answer["status"])
        return web.Response(body=picture(answer["image"]), content_type="image/png")

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response(recorded("server_info")[0]["answer"]["json"])

    async def _info(self, http: web.Request) -> web.Response:
        kind = http.match_info["kind"]
        known = {each["http"]["path"]: each["answer"]["json"] for each in recorded("server_info")}
        told = known.get(http.path, {kind: {"input": {"required": {}}}})
        if kind in self.lacks:
            told = {}
        files = [self.offers[kind]] if kind in self.offers else []
        spoken = json.dumps(told).replace('["<empty list>"]', json.dumps([files]))
        return web.json_response(text=spoken.replace('["<choices>"]', '["WHICH"]'))


@contextmanager
def serving(fake: FakeComfyUI) -> Iterator[FakeComfyUI]:
    """*fake* on a port of the loopback, in a thread of its own."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(fake.app(), shutdown_timeout=0)
    ready = threading.Event()

    def serve() -> None:
        loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        loop.run_until_complete(site.start())
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(10)
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _to(socket: web.WebSocketResponse, message: str | bytes) -> None:
    if not socket.closed:
        await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))


def _binary(told: Json, recorded_id: str, id: str) -> bytes:
    content = picture(told["image"])
    if told["event"] == 1:
        return struct.pack(">II", 1, told["image_type"]) + content
    about = json.dumps(told["metadata"]).replace(recorded_id, id).encode()
    return struct.pack(">II", 4, len(about)) + about + content
