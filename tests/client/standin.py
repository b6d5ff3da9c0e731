"""A small foreign server that answers with the example bodies of the wire contract, and remembers what it was asked."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ID = "0b9f0f7e-5d0c-4a8e-9d25-2f1f6f0f9c11"
MODEL = "wan-ai/wan-2-6/image-to-image"
TOKEN = "a-good-token"
PNG = b"\x89PNG\r\n\x1a\n not a real picture, but nobody looks"
IN_QUEUE = {"status": "in_queue", "queue_position": 2}
IN_PROGRESS = {"status": "in_progress"}
COMPLETED = {"status": "completed"}
CANCELLED = {"status": "cancelled"}
SCHEMA = {
    "type": "object",
    "title": "Input",
    "required": ["prompt", "image_urls"],
    "properties": {
        "prompt": {"title": "Prompt", "type": "string"},
        "image_urls": {"title": "Images", "type": "array", "items": {"type": "string", "format": "image_uri"}},
        "seed": {"title": "Seed", "type": "integer", "default": 0},
        "image_size": {"title": "Size", "type": "string", "enum": ["1280*720 (16:9)", "720*1280 (9:16)"]},
    },
}
ENTRY = {
    "model_id": MODEL,
    "display_name": "Wan 2.6 Image-to-Image",
    "description": "Edits 1 to 3 reference images by instruction.",
    "categories": ["image-to-image"],
}


def error(code: int, name: str, message: str, detail: list[Any] | None = None) -> dict[str, Any]:
    """A body of section 9."""
    return {"code": code, "error_code": code, "error": name, "error_message": message, "detail": detail or []}


BAD_TOKEN = error(400004, "UserAccountError", "A valid token is required: send it as 'Authorization: Bearer <token>'.")
NO_MODEL = error(400001, "InvalidResourceIdentifier", "There is no such model; GET /v1/models lists them.")
NO_REQUEST = error(404001, "ResourceNotFound", "There is no such request.")
TOO_MANY = error(429001, "TooManyRequests", "Too many requests; try again in 1 seconds.")
AWAY = error(503001, "ServiceUnavailable", "The service is not available right now; try again in 2 seconds.")
BROKEN = error(500001, "InternalError", "Something went wrong on our side; it has been logged.")
INVALID = error(422001, "ValidationError", "The input does not match the model's schema.", [
    {"loc": ["body", "image_urls"], "msg": "Field required.", "type": "missing"},
    {"loc": ["body", "seed"], "msg": "Must be an integer.", "type": "int_type"},
])  # fmt: skip


@dataclass
class Seen:
    """One message that came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Standin:
    """What the server will say, and what it has seen.

    Attributes:
        polls: status bodies in turn; the last one stays.
        canned: "METHOD /path" -> (status, headers, body) in turn, before anything else; the last one stays.
    """

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    polls: deque[dict[str, Any]] = field(default_factory=lambda: deque([COMPLETED]))
    result: dict[str, Any] = field(default_factory=dict)
    cancel: dict[str, Any] = field(default_factory=lambda: {"status": "cancelled", "outcome": "cancelled"})
    canned: dict[str, deque[tuple[int, dict[str, str], Any]]] = field(default_factory=dict)
    polled: threading.Event = field(default_factory=threading.Event)

    def can(self, what: str, *answers: tuple[int, dict[str, str], Any]) -> None:
        """Answer *what* with *answers* in turn."""
        self.canned[what] = deque(answers)

    def calls(self, method: str = "", path: str = "") -> list[Seen]:
        """What was asked, of this method and with this in the path."""
        return [each for each in self.seen if method in each.method and path in each.path]

    def succeed(self, *names: str, **metadata: Any) -> None:
        """Let the request end with files of these names."""
        urls = [f"{self.url}/files/hV3/{name}?expires=1795851909&signature=9c" for name in names]
        self.result = {"status": "succeeded", "output": {"image": urls[0], "images": urls}, "metadata": metadata}

    def fail(self, code: int, message: str) -> None:
        """Let the request end as failed."""
        self.result = {"status": "failed", "error": {"code": code, "message": message}}

    def answer(self, seen: Seen) -> tuple[int, dict[str, str], Any]:
        """The answer to one message."""
        if turns := self.canned.get(f"{seen.method} {seen.path}"):
            return turns.popleft() if len(turns) > 1 else turns[0]
        if seen.path.startswith("/files/"):
            return 200, {"Content-Type": "image/png"}, PNG
        if seen.headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"WWW-Authenticate": "Bearer"}, BAD_TOKEN
        return self._route(seen)

    def _route(self, seen: Seen) -> tuple[int, dict[str, str], Any]:
        times = {"created_at": "2026-11-21T07:45:00.000000+00:00", "finished_at": "2026-11-21T07:45:09.120344+00:00"}
        requests, asked = f"/v1/requests/{ID}", f"{seen.method} {seen.path}"
        if asked == f"GET {requests}/status":
            return 200, {}, {"request_id": ID, **(self.polls.popleft() if len(self.polls) > 1 else self.polls[0])}
        bodies: dict[str, Any] = {
            "GET /v1/models": {"models": [ENTRY], "total": 1, "limit": 100, "offset": 0},
            "GET /v1/models/categories": {"categories": ["image-to-image"]},
            "GET /v1/balance": {"balance_usd": 1000.0, "balance_microdollars": 1000000000, "currency": "USD"},
            "POST /v1/files": {"file_id": "7c0d", "url": f"{self.url}/files/Qm4/{len(self.seen)}.png?signature=1"},
            f"GET /v1/models/{MODEL}": ENTRY | {"input_schema": SCHEMA, "output_schema": {}},
            f"POST /v1/models/{MODEL}": {
                "request_id": ID,
                **{f"{part}_url": f"{self.url}{requests}/{part}" for part in ("status", "result", "cancel")},
            },
            f"GET {requests}/result": {"request_id": ID, "model_id": MODEL, **times, **self.result},
            f"POST {requests}/cancel": {"request_id": ID, **self.cancel},
        }
        if asked in bodies:
            return 200, {}, bodies[asked]
        return 404, {}, NO_MODEL if seen.path.startswith("/v1/models/") else NO_REQUEST


@contextmanager
def listening(standin: Standin | None = None) -> Iterator[Standin]:
    """A stand-in on a free port of this machine."""
    standin = standin or Standin()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            url, length = urlsplit(self.path), int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, url.path, parse_qs(url.query), headers, self.rfile.read(length))
            standin.seen.append(seen)
            status, more, body = standin.answer(seen)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            told = {"Content-Type": "application/json", "Content-Length": str(len(content)), **more}
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            if url.path.endswith("/status"):
                standin.polled.set()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    standin.url = f"http://127.0.0.1:{server.server_address[1]}"
    standin.succeed("0b9f0f7e-1.png")
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
