"""Kept files in a folder, by key. What `put` has returned survives a power cut."""

import asyncio
import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from gesso.core.errors import BlobDamaged, ConfigError, ResourceNotFound, StorageBroken, Unavailable
from gesso.core.ports import OnFatal

log = logging.getLogger(__name__)
_KEY = re.compile(r"[0-9a-f]{32}(\.[a-z0-9]{2,5})?")
MARK = ".database"  # no key, so the collector leaves it alone
LISTED_AT_ONCE = 32  # folders
_FAN_OUT = tuple(f"{number:02x}" for number in range(256))


def new_key(extension: str = "") -> str:
    """A key that nobody has: 128 random bits as 32 hexadecimal digits, then *extension* where one is given."""
    return secrets.token_hex(16) + (f".{extension}" if extension else "")


def checked_key(key: str) -> str:
    """*key*, if it is one.

    Raises:
        ResourceNotFound: when it is none.
    """
    if not _KEY.fullmatch(key):
        raise ResourceNotFound
    return key


def require_own(found: str, database: str) -> None:
    """Refuse the blobs of another database: its collector would take ours for orphans, and ours its own.

    Raises:
        ConfigError: when *found*, the name that they bear, is not *database*.
    """
    if found != database:
        raise ConfigError(
            reason="the pictures belong to another database: choose another place for yours, or restore that database"
        )


def just_log(fault: Exception) -> None:
    """For processes that end soon anyway."""
    log.critical("a sync failed: %s", fault)


def is_key(text: str) -> bool:
    """Whether *text* has the form of a key."""
    return _KEY.fullmatch(text) is not None


def checked_bytes(data: bytes, sha256: str | None) -> bytes:
    """*data*, if it is what was kept; None asks nothing.

    Raises:
        BlobDamaged: when a byte has changed or is missing.
    """
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise BlobDamaged
    return data


class FolderBlobs:
    """Blobs in a folder of the local file system, as `core.ports.Blobs` says; several processes may share it.

    Args:
        root: made when it is missing, with 256 folders in it. They are made here and not by the first `put` into
            each, because a second writer must not rely on a folder whose maker has not synced it yet.
        on_fatal: told of a sync that failed. From then on nothing is kept any more: the next sync of the same bytes
            might succeed over lost ones (https://wiki.postgresql.org/wiki/Fsync_Errors).

    Raises:
        Unavailable: when the folder cannot be made.
    """

    def __init__(self, root: Path, on_fatal: OnFatal = just_log) -> None:
        self._root = root
        self._on_fatal = on_fatal
        self._is_broken = False
        with _disk():
            _make_durable(root)
            for name in _FAN_OUT:
                (root / name).mkdir(mode=0o700, exist_ok=True)
            _sync(root)

    def new_key(self, extension: str) -> str:  # noqa: ARG002 - the name in our URLs has it
        """A key that nobody has."""
        return new_key()

    async def put(self, key: str, data: bytes, *, name: str = "", content_type: str = "") -> str:  # noqa: ARG002 - likewise
        """Keep *data* under *key*; durable on return.

        Written under its own name at once: nobody reads a blob before its row is there, and the row comes after this.
        A rename would only make the disk sync its journal twice (docs/decisions/0004-own-blobs.md).
        """
        return await asyncio.to_thread(self._put, checked_key(key), data)

    async def read(self, key: str, sha256: str | None = None) -> bytes:
        """The whole blob."""
        return await asyncio.to_thread(self._read, checked_key(key), sha256)

    async def delete(self, *keys: str) -> None:
        """Forget the blobs; missing ones are fine."""
        await asyncio.to_thread(self._delete, [checked_key(key) for key in keys])

    async def keys_older_than(self, age: timedelta) -> AsyncIterator[list[str]]:
        """Keys last written more than *age* ago, in no order."""
        limit = time.time() - age.total_seconds()
        for start in range(0, len(_FAN_OUT), LISTED_AT_ONCE):
            yield await asyncio.to_thread(self._old_keys, _FAN_OUT[start : start + LISTED_AT_ONCE], limit)

    async def belong_to(self, database: str) -> None:
        """Leave the database's name in the folder, unless one is there already.

        Raises:
            ConfigError: when it is another's.
        """
        require_own(await asyncio.to_thread(self._mark, database), database)

    def url(self, key: str, lives: timedelta) -> str | None:  # noqa: ARG002 - the socket gives them
        """None: a folder has no URLs of its own."""
        return None

    def key_in(self, url: str) -> str | None:  # noqa: ARG002 - likewise
        """None, likewise."""
        return None

    def _put(self, key: str, data: bytes) -> str:
        if self._is_broken:
            raise StorageBroken
        with _disk(), self._folder(key) as folder:
            blob = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            try:
                _write(blob, data)
                self._sync(blob)
                self._sync(folder)
            except (OSError, StorageBroken):
                with suppress(OSError):
                    os.unlink(key, dir_fd=folder)
                raise
            finally:
                os.close(blob)
        return hashlib.sha256(data).hexdigest()

    def _sync(self, descriptor: int) -> None:
        try:
            os.fsync(descriptor)
        except OSError as fault:
            self._is_broken = True
            self._on_fatal(fault)
            raise StorageBroken from fault

    def _mark(self, database: str) -> str:
        """Whose it is by now: several may come at once, and the first one's name stays."""
        mark = self._root / MARK
        with _disk():
            if not mark.exists():
                draft = self._root / f"{MARK}-{new_key()}"
                draft.write_text(database)
                _sync(draft)
                with suppress(FileExistsError):
                    mark.hardlink_to(draft)
                draft.unlink()
                _sync(self._root)
            return mark.read_text()

    def _read(self, key: str, sha256: str | None) -> bytes:
        with _disk(), self._folder(key) as folder:
            try:
                blob = os.open(key, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
            except FileNotFoundError:
                raise ResourceNotFound from None
            with os.fdopen(blob, "rb") as file:
                return checked_bytes(file.read(), sha256)

    def _delete(self, keys: list[str]) -> None:
        with _disk():
            for key in keys:
                with self._folder(key) as folder, suppress(FileNotFoundError):
                    os.unlink(key, dir_fd=folder)

    def _old_keys(self, names: Sequence[str], limit: float) -> list[str]:
        with _disk():
            found = [each for name in names for each in os.scandir(self._root / name)]
            return [each.name for each in found if is_key(each.name) and _written(each) < limit]

    @contextmanager
    def _folder(self, key: str) -> Iterator[int]:
        folder = os.open(self._root / key[:2], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            yield folder
        finally:
            os.close(folder)


@contextmanager
def _disk() -> Iterator[None]:
    """Turns a fault of the disk into ours; its own text names paths."""
    try:
        yield
    except OSError as error:
        raise Unavailable from error


def _write(blob: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(blob, rest) :]


def _make_durable(folder: Path) -> None:
    """Make *folder* and what is missing above it, each synced into its parent."""
    if folder.is_dir():
        return
    _make_durable(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
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
