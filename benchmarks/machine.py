"""The machine under the figures: without it they say little."""

import os
import platform
import sqlite3
import tempfile
import time
from pathlib import Path
from statistics import median

BLOCK = b"x" * 4096
SYNCS = 300


def words() -> str:
    """One line: cores, system, Python, SQLite, the median fsync, and how busy it was."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"fsync {fsync_ms():.2f} ms, load before the start {os.getloadavg()[0]:.1f}"
    )


def fsync_ms() -> float:
    """The median of appending 4 KiB and syncing them, in the folder where the servers keep theirs."""
    waits = []
    with tempfile.TemporaryFile() as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.write(file.fileno(), BLOCK)
            os.fsync(file.fileno())
            waits.append(time.perf_counter() - began)
    return median(waits) * 1000


def flushes(folder: Path) -> int | None:
    """How often the disk below *folder* was told to flush, by anybody; None where the kernel does not say."""
    device = folder.stat().st_dev
    try:
        fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
        return int(fields[15])
    except (OSError, IndexError):
        return None
