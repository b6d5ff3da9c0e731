"""Turns of the writers: a lock of our own in front of SQLite's, because its waiters are woken, and SQLite's sleep."""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from gesso.core.errors import Unavailable

GLANCE_S = 0.002
log = logging.getLogger(__name__)


def open_lock(path: Path) -> int:
    """The lock of the database at *path*, as a descriptor that is not inherited; whoever opens it closes it."""
    return os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def taken(lock: int) -> Iterator[None]:
    """Hold *lock*; waits for it without an end."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


def take(lock: int, within_s: float) -> None:
    """Take *lock* until it is closed.

    Raises:
        Unavailable: when somebody else holds it for so long.
    """
    ends = time.monotonic() + within_s
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            if time.monotonic() > ends:
                log.error("another process holds the lock of the database")
                raise Unavailable from held
            time.sleep(GLANCE_S)
