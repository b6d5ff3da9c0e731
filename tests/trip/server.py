"""A server of real processes, as its users and its enemies see it."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from script import eventually_now

JSON = dict[str, Any]
ENDED = ("succeeded", "failed", "cancelled")
SCRIPTED, ECHO = "tests/scripted", "gesso/echo/image-to-image"


class Server:
    """`gesso up` on a data folder.

    Args:
        token: of an earlier server on the same folder; the first one of a folder tells it.
    """

    def __init__(self, data_dir: Path, token: str | None = None, port: int = 0) -> None:
        self.data_dir = data_dir
        self._log = (data_dir.parent / f"log-{len(list(data_dir.parent.glob('log-*')))}").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gesso", "up", "--data-dir", str(data_dir), "--port", str(port)],
            stdout=subprocess.PIPE, stderr=self._log, text=True, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self._told("Gesso listens on ")
        self.token = token or self._told("Your first token, shown this once:").strip()

    def _told(self, words: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if words in line:
                return str(line.split(words)[1].strip())
        raise AssertionError(self.log())

    def log(self) -> str:
        """What its processes have logged."""
        return Path(self._log.name).read_text()

    def admin_url(self) -> str:
        """Where /metrics is told, once it is."""
        found = re.search(r"metrics are told on (\S+) port (\d+)", self.log())
        return f"http://{found[1]}:{found[2]}" if found else ""

    def ask(self, path: str, body: JSON | None = None, *, method: str | None = None) -> JSON:
        """The JSON that it answers."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        url = path if path.startswith("http") else self.url + path
        message = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(message, timeout=10) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as refused:
            raise AssertionError(refused.read().decode()) from None

    def fetch(self, url: str) -> bytes:
        """A file, as anybody may fetch it who has its URL."""
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bytes(answer.read())

    def submit(self, prompt: str) -> str:
        """The id of a new request for the scripted engine."""
        return str(self.ask(f"/v1/models/{SCRIPTED}", {"prompt": prompt})["request_id"])

    def result(self, request_id: str) -> JSON:
        return self.ask(f"/v1/requests/{request_id}/result")

    def ended(self, request_id: str, within_s: float = 15) -> JSON:
        """Its result, once it has ended."""
        return eventually_now(lambda: self._ended(request_id), within_s)

    def _ended(self, request_id: str) -> JSON:
        result = self.result(request_id)
        return result if result["status"] in ENDED else {}

    def rows(self) -> dict[str, sqlite3.Row]:
        """What the database says: request id -> row."""
        with closing(sqlite3.connect(self.data_dir / "gesso.db")) as database:
            database.row_factory = sqlite3.Row
            query = "SELECT lower(hex(id)) AS key, * FROM requests"
            return {row["key"]: row for row in database.execute(query)}

    def row(self, request_id: str) -> sqlite3.Row:
        return self.rows()[request_id.replace("-", "")]

    def worker(self) -> int:
        """The process id of its worker, once there is one."""
        return eventually_now(lambda: next(iter(children(self.process.pid, "work")), 0))

    def kill(self) -> None:
        """Kill `gesso up`, and nothing else."""
        self.process.kill()
        self.process.wait()

    def kill_all(self) -> None:
        """Kill it and all that it has started."""
        with suppress(ProcessLookupError):
            below = family(self.process.pid) if self.process.poll() is None else []
            self.process.kill()
            for pid in below:
                kill(pid)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


def family(pid: int) -> list[int]:
    """All processes below *pid*."""
    direct = children(pid)
    return direct + [each for child in direct for each in family(child)]


def children(pid: int, word: str = "") -> list[int]:
    """The processes that *pid* has started; only those with *word* among their arguments."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            arguments = (status.parent / "cmdline").read_text().split("\0")
            if parent == pid and (not word or word in arguments):
                found.append(int(status.parent.name))
    return found


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
