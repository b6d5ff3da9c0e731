"""A Gesso of our own for one measurement: started as users start it, in a folder of its own, and gone afterwards."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).parent
MODEL = "bench/noop/text-to-image"
START_S = 30
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; `folder` is its data folder, `announced_s` how long it took to name its address."""

    pid: int
    url: str
    token: str
    folder: Path
    announced_s: float

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0


@contextmanager
def running(command: str, *, record: Path | None = None) -> Iterator[Server]:
    """`gesso up` or `gesso serve`, with the no-op model; its engine writes its runs to *record*."""
    with tempfile.TemporaryDirectory(prefix="gesso-bench-", ignore_cleanup_errors=True) as folder:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "gesso", command, "--data-dir", folder, "--port", "0"],
            stdout=subprocess.PIPE, text=True, env=_environment(record),
        )  # fmt: skip
        try:
            yield _announced(process, Path(folder), began)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(START_S)


@contextmanager
def working(server: Server, record: Path) -> Iterator[None]:
    """A worker for `gesso serve`; its engine writes its runs to *record*."""
    command = [sys.executable, "-m", "gesso", "work", "--data-dir", str(server.folder)]
    process = subprocess.Popen(command, env=_environment(record))
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_S)


def _environment(record: Path | None) -> dict[str, str]:
    paths = [str(HERE / "engines"), os.environ.get("PYTHONPATH", "")]
    added = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "GESSO_MODELS_DIR": str(HERE / "definitions")}
    return os.environ | added | {"GESSO_LOG_LEVEL": "error"} | ({"NOOP_RECORD": str(record)} if record else {})


def _announced(process: "subprocess.Popen[str]", folder: Path, began: float) -> Server:
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line
        url, token = re.search(r"http://\S+", told), re.search(r"gesso_\w+", told)
        if url and token:
            return Server(process.pid, url[0], token[0], folder, time.monotonic() - began)
    raise SystemExit(f"the server did not start: {told}")


def family(pid: int) -> list[int]:
    """The process and all that it has started, and they."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def cpu_s(pid: int) -> float:
    """Seconds of CPU that one process has used so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def resident_mb(pid: int) -> float:
    """Its resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6
