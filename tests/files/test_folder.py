"""Blobs in a folder, beside what every store promises: links, old files, disks that fail, and the order of syncs."""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from gesso.core.errors import StorageBroken, Unavailable
from gesso.files.blobs import FolderBlobs, new_key

pytestmark = pytest.mark.anyio


@pytest.fixture
def told() -> list[Exception]:
    """What was told as fatal."""
    return []


@pytest.fixture
def blobs(tmp_path: Path, told: list[Exception]) -> FolderBlobs:
    return FolderBlobs(tmp_path / "data" / "blobs", told.append)


@pytest.fixture
async def kept(blobs: FolderBlobs) -> str:
    key = new_key()
    await blobs.put(key, b"0123456789")
    return key


def path_of(blobs: FolderBlobs, key: str) -> Path:
    return blobs._root / key[:2] / key


def failing(fault: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(fault, "disk")

    return fail


async def test_a_link_is_not_followed(blobs: FolderBlobs, kept: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path_of(blobs, kept).unlink()
    path_of(blobs, kept).symlink_to(secret)

    with pytest.raises(Unavailable):
        await blobs.read(kept)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
async def test_I17_a_write_that_fails_is_unavailable_and_leaves_nothing_and_the_next_one_is_tried(
    blobs: FolderBlobs, told: list[Exception], monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    key = new_key()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(fault))
        with pytest.raises(Unavailable) as raised:
            await blobs.put(key, b"x")
    left = list(path_of(blobs, key).parent.iterdir())

    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == fault
    assert (left, told) == ([], [])
    assert await blobs.put(key, b"x") == hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("nth", [1, 2])
async def test_I17_a_sync_that_fails_is_told_as_fatal_and_nothing_is_kept_ever_after(
    blobs: FolderBlobs, told: list[Exception], kept: str, monkeypatch: pytest.MonkeyPatch, fault: int, nth: int
) -> None:
    key, real, syncs = new_key(), os.fsync, []

    def fsync(descriptor: int) -> None:
        syncs.append(descriptor)
        if len(syncs) == nth:  # the next one succeeds, over lost bytes
            raise OSError(fault, "disk")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for _ in range(2):
        with pytest.raises(StorageBroken):
            await blobs.put(key, b"x")

    assert [each.errno for each in told if isinstance(each, OSError)] == [fault]
    assert len(syncs) == nth
    assert list(path_of(blobs, key).parent.iterdir()) == [path_of(blobs, kept)] * (key[:2] == kept[:2])
    assert await blobs.read(kept) == b"0123456789"


async def test_a_folder_that_cannot_be_read_is_unavailable(blobs: FolderBlobs, kept: str) -> None:
    folder = path_of(blobs, kept).parent
    shutil.rmtree(folder)
    folder.write_bytes(b"")

    for use in (blobs.read(kept), blobs.delete(kept), blobs.put(kept, b"x")):
        with pytest.raises(Unavailable):
            await use
    with pytest.raises(Unavailable):
        assert [keys async for keys in blobs.keys_older_than(timedelta())]


async def test_I13_the_collector_sees_what_was_last_written_long_ago(blobs: FolderBlobs) -> None:
    old, young = (key + new_key()[2:] for key in ("aa", "bb"))
    for key in (old, young):
        await blobs.put(key, b"x")
    os.utime(path_of(blobs, old), (1, 1))
    (path_of(blobs, old).parent / "README").write_text("no blob")
    os.utime(path_of(blobs, old).parent / "README", (1, 1))

    assert [key async for keys in blobs.keys_older_than(timedelta(hours=1)) for key in keys] == [old]


async def test_a_key_is_written_once(blobs: FolderBlobs) -> None:
    key = new_key()
    await blobs.put(key, b"first")

    with pytest.raises(Unavailable):
        await blobs.put(key, b"second")
    assert await blobs.read(key) == b"first"


PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from gesso.files.blobs import FolderBlobs, new_key
blobs = FolderBlobs(Path(sys.argv[1]))
async def keep():
    os.write(2, b"READY")
    for _ in range(5):
        await blobs.put(new_key(), b"x" * 1000)
        os.write(2, b"KEPT")
asyncio.run(keep())
"""


def trace(root: Path) -> list[str]:
    """The system calls on *root* by name, with the two cries of PROGRAM between them."""
    log = root.parent / "trace"
    calls = "trace=mkdir,openat,write,fsync,fdatasync,rename,renameat,renameat2"
    command = ["strace", "-f", "-y", "-qq", "-o", log, "-e", calls, sys.executable, "-c", PROGRAM, root]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env={"PYTHONPATH": os.pathsep.join(sys.path)})
    seen = []
    for line in log.read_text().splitlines():
        if cry := re.search('"(READY|KEPT)"', line):
            seen.append(cry[1])
        elif str(root) in line and (call := re.search(r"(mkdir|write|fsync|rename)\w*\(.*= \d", line)):
            folder = call[1] == "fsync" and not re.search(r"/[0-9a-f]{32}>", line)
            seen.append("fsync folder" if folder else call[1])
    return seen


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is missing")
def test_I12_a_blob_is_durable_before_put_returns_and_costs_two_fsyncs(tmp_path: Path) -> None:
    seen = trace(tmp_path / "blobs")
    ready = seen.index("READY")

    assert seen[ready + 1 :] == ["write", "fsync", "fsync folder", "KEPT"] * 5
    assert seen[:ready].count("mkdir") == 257
    assert seen[ready - 1] == "fsync folder"
