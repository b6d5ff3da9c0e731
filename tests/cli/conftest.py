"""The command line in this process and as real processes, against the stand-in server of the client's tests."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

sys.path.append(str(Path(__file__).parents[1] / "client"))
from standin import TOKEN, Standin, listening

# SIGINT is set anew: a shell that starts jobs in the background has them ignore it.
START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from gesso.cli.main import main
main()
"""


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("GESSO_", "RUNCOMFY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[Standin]:
    with listening() as standin:
        yield standin


@dataclass
class Line:
    """A command line with a good token for the stand-in."""

    url: str
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(self, *words: str, token: str | None = TOKEN, stdin: str | None = None) -> Result:
        """What a command says, run in this process."""
        from gesso.cli.main import main

        environment = {"GESSO_BASE_URL": self.url, "GESSO_TOKEN": token}
        return CliRunner().invoke(main, words, input=stdin, env=environment, prog_name="gesso")

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """A process of its own."""
        environment = os.environ | {"GESSO_BASE_URL": self.url, "GESSO_TOKEN": TOKEN}
        command = [sys.executable, "-c", START, *words]
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        process = subprocess.Popen(command, env=environment, text=True, **streams)
        self.started.append(process)
        return process

    def interrupt(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        """What a process says when Ctrl-C is pressed."""
        process.send_signal(signal.SIGINT)
        return process.communicate(timeout=20)


@pytest.fixture
def gesso(server: Standin) -> Iterator[Line]:
    line = Line(server.url)
    yield line
    for process in line.started:
        process.kill()
        process.communicate()
