"""A foreign server on this machine that answers as it was told, counts what it was asked, and can hang up."""

import io
import json
import logging
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from gesso.core.errors import Stopped
from gesso.core.inputs import Inputs, Size
from gesso.engines import remote

KEY = "sk-canary-5f1d"
KEY_ENV = "AN_UPSTREAMS_KEY"
LOST = "lost"  # instead of an answer: the message was read, and the connection closed


@dataclass
class Seen:
    """One message that came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def form(self) -> list[tuple[str, bytes]]:
        """The parts of a multipart body in their order."""
        boundary = self.headers["content-type"].partition("boundary=")[2].encode()
        parts = [each.removeprefix(b"\r\n") for each in self.body.split(b"--" + boundary)[1:-1]]
        heads = [part.partition(b"\r\n\r\n") for part in parts]
        return [(head.split(b'name="')[1].split(b'"')[0].decode(), rest[:-2]) for head, _, rest in heads]


@dataclass
class Foreign:
    """What the server says, and what it has seen.

    Attributes:
        answers: "METHOD /path" -> bodies, (status, body) or LOST in turn, or what makes one; the last one stays.
    """

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    answers: dict[str, list[Any]] = field(default_factory=dict)

    def tell(self, what: str, *answers: Any) -> None:
        self.answers[what] = list(answers)

    def calls(self, what: str) -> list[Seen]:
        return [each for each in self.seen if f"{each.method} {each.path}" == what]

    def answer(self, seen: Seen) -> Any:
        self.seen.append(seen)
        turns = self.answers.get(f"{seen.method} {seen.path}") or [(404, {})]
        told = turns.pop(0) if len(turns) > 1 else turns[0]
        return told() if callable(told) else told


@contextmanager
def listening() -> Iterator[Foreign]:
    """A foreign server on a free port."""
    foreign = Foreign()

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            told = foreign.answer(Seen(self.command, self.path, headers, body))
            if told == LOST:
                self.close_connection = True
                return
            status, content = told if isinstance(told, tuple) else (200, told)
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    foreign.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield foreign
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Foreign]:
    """A foreign server, our key for it in the environment, and short pauses; no log may hold the key."""
    monkeypatch.setenv(KEY_ENV, KEY)
    monkeypatch.setattr(remote, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(remote, "BEAT_S", 0.02)
    caplog.set_level(logging.DEBUG)
    with listening() as server:
        yield server
    assert KEY not in caplog.text


class Listener:
    """The host's side of a run.

    Attributes:
        steps, remembered: what it was told.

    Args:
        on_step: called at every report; may raise Stopped, as `remember` does when *stops_at_remember*.
    """

    def __init__(self, on_step: Callable[[], None] = lambda: None, *, stops_at_remember: bool = False) -> None:
        self.steps: list[tuple[int, int]] = []
        self.remembered: list[str] = []
        self._on_step, self._stops_at_remember = on_step, stops_at_remember

    def __call__(self, step: int, of: int, preview: Image.Image | None = None) -> None:  # noqa: ARG002
        self.steps.append((step, of))
        self._on_step()

    def remember(self, text: str) -> None:
        self.remembered.append(text)
        if self._stops_at_remember:
            raise Stopped


def stop() -> None:
    raise Stopped


def picture(size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (10, 120, 200)).save(file, "PNG")
    return file.getvalue()


def b64(content: bytes) -> str:
    return b64encode(content).decode()


def asked(**more: Any) -> Inputs:
    """Two references, red and green, and everything else that an engine may be given."""
    images = (Image.new("RGB", (40, 30), (255, 0, 0)), Image.new("RGB", (30, 40), (0, 255, 0)))
    given = {"images": images, "prompt": "image 2 like image 1: «кот», 猫", "negative_prompt": "blur", "seed": 0}
    return Inputs(**{**given, "size": Size(64, 48), "expand_prompt": True, **more})


def colours(files: list[bytes]) -> list[Any]:
    """The colour of each picture: which reference it is."""
    return [Image.open(io.BytesIO(each)).convert("RGB").getpixel((0, 0)) for each in files]


RED_GREEN = [(255, 0, 0), (0, 255, 0)]
