"""Disks that can be taken away: a small one that fills up, and one whose power can be cut. They need root."""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D  # the ioctl behind xfstests' "godown"
NOLOGFLUSH = 2
MAKE_EXT4 = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
NO_ROOT = "it needs root, loop devices and mkfs.ext4"


def may_mount() -> bool:
    """Whether this process may make file systems at all; a container's root may not."""
    if os.geteuid() != 0 or MAKE_EXT4 is None or not Path("/dev/loop-control").exists():
        return False
    done = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    return done.returncode == 0


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        _unmount(folder)


class Disk:
    """An ext4 file system in a file; `cut` takes its power away, `restore` brings it back, `close` ends it."""

    def __init__(self, folder: Path, name: str, megabytes: int) -> None:
        self._image, self.root = folder / f"{name}.img", folder / name
        self.root.mkdir(parents=True)
        with self._image.open("wb") as image:
            image.truncate(megabytes << 20)
        subprocess.run([str(MAKE_EXT4), "-q", "-F", str(self._image)], check=True)
        self._mount()

    def cut(self) -> None:
        """What no sync has forced to the device by now is gone."""
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def restore(self) -> None:
        _unmount(self.root)
        self._mount()  # ext4 replays its journal here

    def close(self) -> None:
        _unmount(self.root)
        self._image.unlink()

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.root)], check=True)


def _unmount(folder: Path) -> None:
    ends = time.monotonic() + 20
    while (
        os.path.ismount(folder) and subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode
    ):
        assert time.monotonic() < ends, f"{folder} cannot be unmounted"
        time.sleep(0.05)
