"""A real server process, and raw lines to it: nothing here helps a message to be well formed."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 10.0
WAN = "wan-ai/wan-2-6/image-to-image"
SUBMIT = f"/v1/models/{WAN}"
EXAMPLE = {"prompt": "a cat", "image_urls": ["https://images.example/a.png"]}
EXAMPLE_BODY = json.dumps(EXAMPLE).encode()
FIVE_KEYS = {"code", "error_code", "error", "error_message", "detail"}
HOSTILE = Path(__file__).parents[3] / "shared" / "hostile"


@dataclass(frozen=True)
class Answer:
    """One answer, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Line:
    """A connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._come = b""

    def say(self, data: bytes) -> None:
        """Send *data*; who is cut off in the middle of it has been answered."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def end(self) -> None:
        """Say that nothing more comes."""
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self, *, to: str = "POST") -> Answer | None:
        """The next answer; None where the connection is closed instead.

        Raises:
            TimeoutError: when neither comes.
        """
        while b"\r\n\r\n" not in self._come:
            if not self._hear():
                assert not self._come, self._come
                return None
        head, _, self._come = self._come.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = 0 if to == "HEAD" else int(headers.get("content-length", "0"))
        while len(self._come) < length:
            assert self._hear(), "cut off in the middle of an answer"
        body, self._come = self._come[:length], self._come[length:]
        return Answer(int(first.split()[1]), headers, body)

    def close(self) -> None:
        self.socket.close()

    def _hear(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self._come += data
        return bool(data)


class Live:
    """One server process."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path, url: str, token: str) -> None:
        self.process = process
        self.folder = folder
        self.url = url
        self.token = token
        self.port = int(url.rpartition(":")[2])
        self.said: list[str] = []

    @contextmanager
    def line(self) -> Iterator[Line]:
        """A new connection."""
        line = Line(self.port)
        try:
            yield line
        finally:
            line.close()

    def message(self, *lines: str, method: str = "POST", path: str = SUBMIT, body: bytes = EXAMPLE_BODY) -> bytes:
        """A sound message of the token's owner, plus *lines*; they come instead of ours of the same name."""
        mine = {
            "host": "Host: 127.0.0.1",
            "authorization": f"Authorization: Bearer {self.token}",
            "content-type": "Content-Type: application/json",
            "content-length": f"Content-Length: {len(body)}",
        }
        for line in lines:
            mine.pop(line.partition(":")[0].strip().lower(), None)
        if any(line.lower().startswith("transfer-encoding") for line in lines):
            mine.pop("content-length", None)
        return "\r\n".join([f"{method} {path} HTTP/1.1", *mine.values(), *lines, "", ""]).encode("latin-1") + body

    def asked(self, path: str, *, method: str = "GET", body: bytes = b"", lines: tuple[str, ...] = ()) -> Answer:
        """The answer to one message on a connection of its own."""
        with self.line() as line:
            line.say(self.message(*lines, method=method, path=path, body=body))
            answer = line.answer(to=method)
        assert answer is not None
        return answer

    def is_well(self) -> bool:
        """Whether a new connection is served."""
        return self.asked("/healthz").status == 200

    def left(self) -> tuple[int, int, int]:
        """What a refused message must not change: how many requests, files and blobs there are."""
        with sqlite3.connect(f"file:{self.folder / 'gesso.db'}?mode=ro", uri=True) as rows:
            counts = [rows.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("requests", "files")]
        blobs = [path for path in (self.folder / "blobs").glob("*/*") if path.is_file()]
        return counts[0], counts[1], len(blobs)

    def errors(self) -> str:
        """All that it has written to standard error."""
        return (self.folder.parent / "stderr").read_text()


@contextmanager
def running(command: str, folder: Path, **settings: str) -> Iterator[Live]:
    """A process of `gesso <command>` with its data below *folder*."""
    environment = os.environ | {f"GESSO_{name.upper()}": value for name, value in settings.items()}
    words = [sys.executable, "-m", "gesso", command, "--port", "0", "--data-dir", str(folder / "house")]
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder, env=environment)
    said: list[str] = []
    try:
        assert process.stdout is not None
        said += [process.stdout.readline(), process.stdout.readline()]
        url = re.search(r"http://\S+", said[0])
        token = re.search(r"gesso_\w+", said[1])
        assert url, (said, (folder / "stderr").read_text())
        assert token, said
        live = Live(process, folder / "house", url[0], token[0])
        live.said = said
        assert live.is_well()  # it speaks before it serves
        yield live
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            rest, _ = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        said.append(rest)
