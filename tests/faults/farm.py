"""Deployments of real processes on one data folder, spoken to over HTTP, killed, stopped and starved."""

import asyncio
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from script import FOLDER as SCRIPTED
from script import Script, eventually_now
from server import family, kill

from gesso.store.database import Database
from gesso.store.tokens import Tokens

T = TypeVar("T")
JSON = dict[str, Any]
PLANTED = Path(__file__).parent / "planted"
MODEL, ECHO = Script.model, "gesso/echo/image-to-image"
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> JSON:
        return dict(json.loads(self.body))

    @property
    def request_id(self) -> str:
        return str(self.told["request_id"])


class Caller:
    """A client that believes nothing: what is not an answer is an OSError or an HTTPException, and means "unknown"."""

    def __init__(self, port: int, token: str, host: str = "127.0.0.1") -> None:
        self.port, self.host = port, host
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: JSON | None = None, *, within_s: float = 10, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=within_s)
        with closing(connection):
            data = None if body is None else json.dumps(body).encode()
            more = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, data, self.headers | more)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def submit(self, prompt: str, *, key: str = "", within_s: float = 10, image: str = "") -> Answer:
        body = {"prompt": prompt} | ({"image_urls": [image]} if image else {})
        headers = {"Idempotency_Key": key} if key else {}
        return self.ask("POST", f"/v1/models/{MODEL}", body, within_s=within_s, **headers)

    def status(self, request_id: str) -> str:
        return str(self.ask("GET", f"/v1/requests/{request_id}/status").told["status"])

    def result(self, request_id: str) -> JSON:
        return self.ask("GET", f"/v1/requests/{request_id}/result").told

    def cancel(self, request_id: str) -> Answer:
        return self.ask("POST", f"/v1/requests/{request_id}/cancel")

    def ended(self, request_id: str, within_s: float = 60) -> JSON:
        """The result, once it has ended; an API that is away for a moment is asked again."""

        def result() -> JSON:
            with suppress(OSError, http.client.HTTPException):
                told = self.result(request_id)
                return told if told.get("status") in ENDED else {}
            return {}

        return eventually_now(result, within_s)


class Process:
    """One of the house's processes.

    Attributes:
        log: the file of its stderr.
    """

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], log: Path, cwd: Path) -> None:
        self.log = log
        with log.open("w") as errors:
            self.popen = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
                cwd=cwd, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.popen.pid

    def logged(self) -> str:
        return self.log.read_text()

    def listens(self) -> None:
        """Wait until an API has said so; AssertionError with its log when it ends first."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            if "Gesso listens on" in line:
                return
        raise AssertionError(self.logged())

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """Kill it, and nothing else."""
        self.popen.kill()
        self.popen.wait()

    def kill_all(self) -> None:
        """Kill it and all below it, also when it or they are stopped."""
        below = family(self.pid) if self.popen.poll() is None else []
        with suppress(ProcessLookupError):
            self.popen.kill()
        for pid in below:
            kill(pid)
        self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()

    def ends(self, within_s: float = 60) -> int:
        """Its exit code, once it has ended."""
        return self.popen.wait(within_s)


class Farm:
    """Any number of processes on one data folder.

    Args:
        folder: empty; data, logs and the scripted engine's gates lie in it.
        settings: of all processes, by their names without GESSO_.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.script = Script(folder / "script")
        self.script.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.processes: list[Process] = []
        self.settings = {
            "models_dir": str(Script.definitions),
            "models": f"{MODEL},{ECHO}",
            "load_timeout": "60s",
        } | settings
        self.environment: dict[str, str] = {}
        self._token = ""

    @property
    def token(self) -> str:
        """Alice's. The first time that it is asked for, it is made, in a database that nobody uses yet."""
        self._token = self._token or self.token_of("alice")
        return self._token

    def token_of(self, owner: str) -> str:
        async def create() -> str:
            database = Database.open(self.data)
            try:
                return await Tokens(database).create(owner)
            finally:
                database.close()

        return asyncio.run(create())

    @property
    def caller(self) -> Caller:
        return Caller(self.port, self.token)

    def start(
        self,
        command: str,
        *flags: str,
        before: Sequence[str] = (),
        planted: str = "",
        also: dict[str, str] | None = None,
    ) -> Process:
        """Start `gesso COMMAND`.

        Args:
            before: words before the command, such as strace's.
            planted: a defect of planted/defects.py, in it and all that it starts.
            also: more of its environment.
        """
        log = self.folder / f"log-{len(self.processes)}-{command}"
        arguments = [*before, sys.executable, "-m", "gesso", command, "--data-dir", str(self.data), *flags]
        process = Process(arguments, self._environment(planted) | (also or {}), log, self.folder)
        self.processes.append(process)
        return process

    def api(self, *flags: str, port: int = 0, **how: Any) -> Process:
        """An API that listens, on the farm's port unless another is given."""
        process = self.start("serve", "--port", str(port or self.port), *flags, **how)
        process.listens()
        return process

    def up(self, *flags: str, **how: Any) -> Process:
        process = self.start("up", "--port", str(self.port), *flags, **how)
        process.listens()
        return process

    def worker(self, *flags: str, **how: Any) -> Process:
        return self.start("work", *flags, **how)

    def rows(self, query: str = "SELECT lower(hex(id)) AS key, * FROM requests") -> list[sqlite3.Row]:
        """What the file says."""
        with closing(sqlite3.connect(self.data / "gesso.db", timeout=20)) as database:
            database.row_factory = sqlite3.Row
            return database.execute(query).fetchall()

    def row(self, request_id: str) -> sqlite3.Row:
        return next(row for row in self.rows() if row["key"] == request_id.replace("-", ""))

    def kill_all(self) -> None:
        for process in self.processes:
            process.kill_all()

    def _environment(self, planted: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GESSO_")}
        paths = [str(SCRIPTED), *([str(PLANTED)] if planted else []), kept.get("PYTHONPATH", "")]
        told = {f"GESSO_{name.upper()}": value for name, value in self.settings.items()}
        planting = {"PLANTED": planted} if planted else {}
        more = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "SCRIPTED_FOLDER": str(self.script.folder)}
        return kept | told | planting | more | self.environment


def soon(condition: Callable[[], T], within_s: float = 60) -> T:
    """What *condition* gives once it is true; a machine that has much to do is given its time."""
    return eventually_now(condition, within_s)


def free_port() -> int:
    """A port that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(pid: int) -> None:
    """Stop a process as a suspended machine is stopped: it believes that no time passes."""
    os.kill(pid, signal.SIGSTOP)


def go_on(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def within(began: float, seconds: float) -> bool:
    return time.monotonic() - began < seconds
