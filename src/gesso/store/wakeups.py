"""Wakes the processes that wait for rows. It only shortens the wait: every waiter polls as well.

Each waiting process keeps one named pipe open in a folder beside the database; a byte in it means "look again". The
pipe has no reader once its process is gone, however it went: so it also tells whether a holder of leases still lives.
"""

import asyncio
import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

SUFFIX = ".pipe"
LONGEST_TICK_NS = 50_000_000
log = logging.getLogger(__name__)


class Waiter:
    """One process's pipe. Belongs to the event loop in which it was made; close it there.

    Attributes:
        name: the process's name among the waiters; new each time.
        on_wake: called at each wake-up; to be set by whoever waits.
    """

    def __init__(self, folder: Path) -> None:
        self.name = uuid4().hex
        self._path = folder / f"{self.name}{SUFFIX}"
        self.on_wake: Callable[[], None] = _nothing
        # Opened before it has its name: a pipe that nobody has open is taken for a dead process's, and removed.
        unnamed = folder / self.name
        os.mkfifo(unnamed, 0o600)
        # Opened for both directions: a pipe without a writer would report its end for ever.
        self._pipe = os.open(unnamed, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        unnamed.rename(self._path)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pipe, self._woken)

    def _woken(self) -> None:
        os.read(self._pipe, 65536)
        self.on_wake()

    def close(self) -> None:
        """Stop listening; the pipe goes away."""
        self._loop.remove_reader(self._pipe)
        self._path.unlink(missing_ok=True)
        os.close(self._pipe)


class Wakeups:
    """The waiters in one folder. `wake` may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._pipes: dict[str, int] = {}
        self._seen = -1
        self._lock = threading.Lock()

    def listen(self) -> Waiter:
        """A new waiter in the running event loop."""
        return Waiter(self._folder)

    def wake(self) -> None:
        """Wake every waiter; one that cannot be reached finds out by polling."""
        with self._lock:
            try:
                self._look()
            except OSError as fault:
                log.warning("those who wait cannot be looked up: %s", fault)
            for name, pipe in list(self._pipes.items()):
                try:
                    os.write(pipe, b"!")
                except BlockingIOError:
                    pass  # full: it is being woken already
                except OSError:
                    self._forget(name)
                    self._path(name).unlink(missing_ok=True)

    def anyone(self) -> bool:
        """Whether any waiter lives."""
        return any(self.is_alive(path.stem) for path in self._folder.glob(f"*{SUFFIX}"))

    def is_alive(self, name: str) -> bool:
        """Whether the waiter *name* still lives."""
        pipe = _open(self._path(name))
        if pipe is not None:
            os.close(pipe)
        return pipe is not None

    def close(self) -> None:
        """Let go of the pipes of the others."""
        with self._lock:
            for name in list(self._pipes):
                self._forget(name)

    def _look(self) -> None:
        """Open the pipes that came since the last look."""
        changed = self._folder.stat().st_mtime_ns
        if changed == self._seen:
            return
        # A folder's time goes in ticks: until this one is over, another pipe may come without changing it.
        self._seen = changed if time.time_ns() - changed > LONGEST_TICK_NS else -1
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path.stem not in self._pipes:
                pipe = _open(path)
                if pipe is None:
                    path.unlink(missing_ok=True)  # its process was killed
                else:
                    self._pipes[path.stem] = pipe

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def _forget(self, name: str) -> None:
        os.close(self._pipes.pop(name))


def _nothing() -> None:
    """Until somebody waits."""


def _open(path: Path) -> int | None:
    """The pipe for writing, or None when nobody reads it any more."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as fault:
        if fault.errno in (errno.ENXIO, errno.ENOENT):
            return None
        raise
