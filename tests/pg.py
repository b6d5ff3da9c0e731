"""A real PostgreSQL server of the tests' own: started, killed and thrown away by them."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from gesso.store.postgres import schema

DURABLE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on")
INSTALL = "no PostgreSQL server programs here: install Debian's package postgresql, or set PG_BIN to their folder"
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""Where a server may lie of which no power is cut: its syncs cost nothing there, also those of a recovery."""


def programs() -> Path:
    """The folder of initdb and pg_ctl; skips the test where there is none, unless NO_SKIPS is set."""
    candidates = [os.environ.get("PG_BIN", "")]
    if config := shutil.which("pg_config"):
        candidates.append(subprocess.check_output([config, "--bindir"], text=True).strip())
    candidates += map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    for candidate in candidates:
        if candidate and Path(candidate, "initdb").exists():
            return Path(candidate)
    if os.environ.get("NO_SKIPS"):
        pytest.fail(INSTALL)
    pytest.skip(INSTALL)


def free_port() -> int:
    """A port of the loopback address that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One cluster on a free port of the loopback address.

    Args:
        settings: lines of its configuration, beside those that make it durable.
    """

    def __init__(self, *settings: str, parent: Path | None = None) -> None:
        self._programs, self.port = programs(), free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="gesso-pg-", dir=parent))
        self._user = {}
        if os.geteuid() == 0:  # PostgreSQL refuses root
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": self.folder}
        self._run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "-N")
        lines = [f"port={self.port}", "listen_addresses='127.0.0.1'", f"unix_socket_directories='{self.folder}'",
                 "max_connections=200", *DURABLE, *settings]  # fmt: skip
        with (self.folder / "data" / "postgresql.conf").open("a") as configuration:
            configuration.write("\n".join(lines) + "\n")
        self._templates: set[str] = set()
        self._count = 0

    def url(self, name: str = "postgres", *, port: int | None = None) -> str:
        """How clients reach a database of it, as they would be told."""
        return f"postgresql://postgres:not-needed@127.0.0.1:{port or self.port}/{name}"

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        self._run("pg_ctl", "-l", str(self.folder / "log"), "-w", "-t", "60", "start")

    def crash(self) -> None:
        """Stop it at once: no checkpoint, no goodbye; the next start recovers from the write-ahead log."""
        self._run("pg_ctl", "-m", "immediate", "-w", "-t", "60", "stop")

    def pid(self) -> int:
        """The process id of its postmaster."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def remove(self) -> None:
        """Stop it, and leave nothing."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, sql: str, name: str = "postgres") -> list[tuple[object, ...]]:
        """What it answers to somebody else; nothing, where the statement answers nothing."""
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def make_database(self, *, empty: bool = False) -> str:
        """The URL of a fresh database: with its tables, or empty."""
        self._count += 1
        name = f"gesso_{self._count}"
        if empty:
            self.ask(f"CREATE DATABASE {name}")
            return self.url(name)
        if not self._templates:
            self.ask("CREATE DATABASE gesso_template")
            schema.upgrade(self.url("gesso_template"))
            self._templates.add("gesso_template")
        self.ask(f"CREATE DATABASE {name} TEMPLATE gesso_template STRATEGY file_copy")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove it, whoever is still connected."""
        self.ask(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        # Not a pipe: the server would inherit it, and reading it would never end.
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=90,
            check=True, **self._user,
        )  # fmt: skip


@contextlib.contextmanager
def serving(*settings: str, parent: Path | None = None) -> Iterator[Server]:
    """A server that runs."""
    server = Server(*settings, parent=parent)
    try:
        server.start()
        yield server
    finally:
        server.remove()
