"""Kept files in a folder, by key. What `put` has returned survives a power cut."""

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from gesso.core.errors import ResourceNotFound, Unavailable

_KEY = re.compile(r"[0-9a-f]{32}")
_FAN_OUT = tuple(f"{number:02x}" for number in range(256))


def new_key() -> str:
    """A key that nobody has: 128 random bits, as 32 hexadecimal digits."""
    return secrets.token_hex(16)


class FolderBlobs:
    """Blobs in a folder of the local file system; several processes may share it.

    Every method blocks: call it in a thread. Each raises `ResourceNotFound` for a key that is none or that has no blob
    (`put` and `delete`: only for one that is none), and `Unavailable` when the disk is full, read-only or broken.

    Args:
        root: made when it is missing, with 256 folders in it. They are made here and not by the first `put` into
            each, because a second writer must not rely on a folder whose maker has not synced it yet.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        with _disk():
            _make_durable(root)
            for name in _FAN_OUT:
                (root / name).mkdir(mode=0o700, exist_ok=True)
            _sync_folder(root)

    def put(self, key: str, data: bytes) -> str:
        """Keep *data* under *key*, which is new; durable on return.

        Written under its own name at once: nobody reads a blob before its row is there, and the row comes after this.
        A rename would only make the disk sync its journal twice (docs/decisions/0004-own-blobs.md).

        Returns:
            Its SHA-256, in hexadecimal.
        """
        _checked(key)
        with self._folder(key) as folder:
            blob = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            try:
                _write(blob, data)
                os.fsync(folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(key, dir_fd=folder)
                raise
            finally:
                os.close(blob)
        return hashlib.sha256(data).hexdigest()

    def read(self, key: str, sha256: str | None = None) -> bytes:
        """The whole blob.

        Raises:
            Unavailable: also when *sha256* is given and the bytes are no longer those.
        """
        with self._open(key) as blob:
            data = _read_at(blob, 0, os.fstat(blob).st_size)
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise Unavailable
        return data

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """At most *length* bytes from *start* on; fewer where the blob ends."""
        with self._open(key) as blob:
            return _read_at(blob, start, length)

    def size(self, key: str) -> int:
        """Its length in bytes."""
        with self._open(key) as blob:
            return os.fstat(blob).st_size

    def delete(self, key: str) -> None:
        """Forget the blob; a missing one is fine."""
        _checked(key)
        with self._folder(key) as folder, suppress(FileNotFoundError):
            os.unlink(key, dir_fd=folder)

    def keys_older_than(self, age: timedelta) -> Iterator[str]:
        """Keys last written more than *age* ago, in no order; for the collector."""
        limit = time.time() - age.total_seconds()
        for name in _FAN_OUT:
            with _disk():
                old = [entry.name for entry in os.scandir(self._root / name) if _written(entry) < limit]
            yield from filter(_KEY.fullmatch, old)

    @contextmanager
    def _folder(self, key: str) -> Iterator[int]:
        with _disk():
            folder = os.open(self._root / key[:2], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                yield folder
            finally:
                os.close(folder)

    @contextmanager
    def _open(self, key: str) -> Iterator[int]:
        _checked(key)
        with self._folder(key) as folder:
            try:
                blob = os.open(key, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
            except FileNotFoundError:
                raise ResourceNotFound from None
            try:
                yield blob
            finally:
                os.close(blob)


@contextmanager
def _disk() -> Iterator[None]:
    """Turns a fault of the disk into ours; its own text names paths."""
    try:
        yield
    except OSError as error:
        raise Unavailable from error


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ResourceNotFound
    return key


def _write(blob: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(blob, rest) :]
    os.fsync(blob)


def _read_at(blob: int, start: int, length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0 and (part := os.pread(blob, length, start)):
        parts.append(part)
        start, length = start + len(part), length - len(part)
    return b"".join(parts)


def _make_durable(folder: Path) -> None:
    """Make *folder* and what is missing above it, each synced into its parent."""
    if folder.is_dir():
        return
    _make_durable(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _written(entry: os.DirEntry[str]) -> float:
    """When it was last written; the end of time for one that has just gone."""
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return float("inf")
