"""Kept files: what `put` has returned survives."""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from gesso.core.errors import ResourceNotFound, Unavailable
from gesso.files.blobs import FolderBlobs, new_key

BAD_KEYS = [
    "",
    "..",
    "../../etc/passwd",
    "a" * 31,
    "A" * 32,
    "a" * 33,
    "a" * 31 + "/",
    "a" * 31 + "\n",
    "\0" * 32,
    "-" * 32,
]


@pytest.fixture
def blobs(tmp_path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "data" / "blobs")


@pytest.fixture
def kept(blobs) -> str:
    key = new_key()
    blobs.put(key, b"0123456789")
    return key


def path_of(blobs: FolderBlobs, key: str) -> Path:
    return blobs._root / key[:2] / key


def test_a_blob_comes_back_as_it_was(blobs):
    key, data = new_key(), os.urandom(3_000_000)
    sha256 = blobs.put(key, data)

    assert sha256 == hashlib.sha256(data).hexdigest()
    assert blobs.read(key, sha256) == data
    assert blobs.size(key) == len(data)


def test_keys_have_128_random_bits_and_fit_into_a_url():
    keys = {new_key() for _ in range(1000)}

    assert len(keys) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in keys)


@pytest.mark.parametrize(
    ("start", "length", "part"), [(0, 3, b"012"), (8, 99, b"89"), (10, 1, b""), (99, 1, b""), (3, 0, b"")]
)
def test_a_range_ends_where_the_blob_does(blobs, kept, start, length, part):
    assert blobs.read_range(kept, start, length) == part


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_is_none_touches_no_path(blobs, key):
    for use in (
        blobs.read,
        blobs.size,
        blobs.delete,
        lambda key: blobs.put(key, b""),
        lambda key: blobs.read_range(key, 0, 1),
    ):
        with pytest.raises(ResourceNotFound):
            use(key)


def test_a_missing_blob_is_not_found_and_deleted_without_complaint(blobs, kept):
    blobs.delete(kept)
    blobs.delete(kept)

    with pytest.raises(ResourceNotFound):
        blobs.read(kept)


def test_bytes_that_have_changed_are_not_handed_out(blobs, kept):
    path_of(blobs, kept).write_bytes(b"0123456780")

    with pytest.raises(Unavailable):
        blobs.read(kept, hashlib.sha256(b"0123456789").hexdigest())


def test_a_link_is_not_followed(blobs, kept, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path_of(blobs, kept).unlink()
    path_of(blobs, kept).symlink_to(secret)

    with pytest.raises(Unavailable):
        blobs.read(kept)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_fault_of_the_disk_is_unavailable_and_leaves_nothing(blobs, monkeypatch, fault):
    key = new_key()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(fault, "disk")))
    with pytest.raises(Unavailable) as raised:
        blobs.put(key, b"x")

    assert raised.value.__cause__.errno == fault
    assert list(path_of(blobs, key).parent.iterdir()) == []


def test_the_collector_sees_what_is_old(blobs):
    old, young = (key + new_key()[2:] for key in ("aa", "bb"))
    for key in (old, young):
        blobs.put(key, b"x")
    os.utime(path_of(blobs, old), (1, 1))

    assert set(blobs.keys_older_than(timedelta(hours=1))) == {old}


def test_a_key_is_written_once(blobs):
    key = new_key()
    blobs.put(key, b"first")

    with pytest.raises(Unavailable):
        blobs.put(key, b"second")
    assert blobs.read(key) == b"first"


PROGRAM = """
import os, sys
from pathlib import Path
from gesso.files.blobs import FolderBlobs, new_key
blobs = FolderBlobs(Path(sys.argv[1]))
os.write(2, b"READY")
for _ in range(5):
    blobs.put(new_key(), b"x" * 1000)
    os.write(2, b"KEPT")
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
def test_a_blob_is_durable_before_put_returns_and_costs_two_fsyncs(tmp_path):
    seen = trace(tmp_path / "blobs")
    ready = seen.index("READY")

    assert seen[ready + 1 :] == ["write", "fsync", "fsync folder", "KEPT"] * 5
    assert seen[:ready].count("mkdir") == 257
    assert seen[ready - 1] == "fsync folder"
