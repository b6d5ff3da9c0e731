"""Whether the database lies where it can be kept, and is whole. This file reads only; it repairs nothing."""

import sqlite3
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from struct import Struct, iter_unpack

from gesso.core.errors import ConfigError
from gesso.store.migrating import TEXTS, texts

# Their locks and their shared memory do not hold between machines (https://www.sqlite.org/wal.html).
NETWORKS = frozenset({"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "9p", "fuse.sshfs"})
MOUNTS = Path("/proc/self/mountinfo")
LARGEST_FULL_CHECK, LARGEST_QUICK_CHECK = 64 * 2**20, 256 * 2**20
LARGEST_LOG_CHECK = 64 * 2**20
"""How much is looked through at each start: about half a second's worth, with indexes and without, and of the log."""
# Where a table's name is damaged, what SQLite says of it need not be UTF-8, and Python fails over its own message.
FAULTS = (sqlite3.DatabaseError, UnicodeDecodeError)
WAL_HEADER = Struct(">IIIIIIII")
FRAME_HEADER = Struct(">IIIIII")
WAL_MAGIC = 0x377F0682
Sums = tuple[int, int]


def require_local(folder: Path, mounts: Path = MOUNTS) -> None:
    """Refuse a folder of another machine.

    Raises:
        ConfigError: when *folder* lies on a network file system; where *mounts* is missing, nothing is known.
    """
    if not mounts.exists():
        return
    kind = _file_system(folder.resolve(), mounts.read_text().splitlines())
    if kind in NETWORKS:
        raise ConfigError(
            reason=f"{folder} lies on a network file system ({kind}), where SQLite loses rows: "
            "choose a folder on a local disk, or set GESSO_DATABASE to a PostgreSQL server"
        )


def require_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Look through the database at *path*, of this version's tables, for damage; of a large one only at what its tables
    are. Tables, indexes and triggers that are not ours are let be.

    Raises:
        ConfigError: when it is damaged.
    """
    # A changed letter in a column's name, or in a trigger, is sound SQL: no check of SQLite's sees it.
    if changed := texts() - {tuple(row) for row in connection.execute(TEXTS)}:
        raise damaged(path, f"{min(changed)[0]} is not as Gesso made it")
    size = path.stat().st_size
    if size > LARGEST_QUICK_CHECK:
        return
    how = "integrity_check" if size <= LARGEST_FULL_CHECK else "quick_check"
    answer = connection.execute(f"PRAGMA {how}(1)").fetchone()[0]
    if answer != "ok":
        raise damaged(path, answer)


def require_whole_log(path: Path) -> None:
    """Look through the write-ahead log beside the database at *path*; call it while nobody writes.

    SQLite takes the first frame that is not sound for the end of the log, and drops the commits behind it in silence.
    That is right after a power cut, which can only tear the one transaction that was not synced yet. Where whole
    transactions follow, synced ones were lost: the log was damaged later.

    Raises:
        ConfigError: when it is damaged.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size <= LARGEST_LOG_CHECK and _has_a_hole(log.read_bytes()):
        raise damaged(log, "a frame in the middle does not match its checksum")


def told(fault: Exception) -> str:
    """What SQLite says of *fault*; bytes of it that are no text are shown by a mark."""
    return fault.object.decode(errors="replace") if isinstance(fault, UnicodeDecodeError) else str(fault)


def damaged(path: Path, how: str) -> ConfigError:
    """What stops the start."""
    return ConfigError(reason=f"the database {path} is damaged and cannot be used ({how}): restore it from a backup")


def _file_system(folder: Path, mounts: Iterable[str]) -> str:
    """The type of the file system that *folder* lies on, by the lines of mountinfo; of mounts on one point the last."""
    best, kind = -1, ""
    for line in mounts:
        mounted, _, system = line.partition(" - ")
        point = Path(mounted.split()[4].encode().decode("unicode_escape"))
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), system.split()[0]
    return kind


def _has_a_hole(log: bytes) -> bool:
    """Whether a frame of the log is not sound although a later transaction was begun behind its own."""
    if len(log) < WAL_HEADER.size:
        return False
    magic, _, size, _, _, _, *told = WAL_HEADER.unpack_from(log)
    word = ">I" if magic & 1 else "<I"
    running = _checksum(log[:24], word, (0, 0))
    if magic & ~1 != WAL_MAGIC or running != tuple(told):
        return any(log[:32])  # it lies in one sector, which is written whole or not at all
    salts, length = log[16:24], FRAME_HEADER.size + size
    frames = [log[at : at + length] for at in range(WAL_HEADER.size, len(log) - length + 1, length)]
    for number, frame in enumerate(frames):
        running = _follow(frame, word, running)
        if frame[8:16] != salts or running != _checksum_in(frame):
            return any(_ends_one_and_another_begins(*pair, salts, word) for pair in pairwise(frames[number:]))
    return False


def _ends_one_and_another_begins(frame: bytes, behind: bytes, salts: bytes, word: str) -> bool:
    """Whether *frame* was the last of a transaction, and *behind* was written after its sync: not left from before."""
    ends = any(frame[4:8])
    mine = frame[8:16] == behind[8:16] == salts
    return ends and mine and _follow(behind, word, _checksum_in(frame)) == _checksum_in(behind)


def _follow(frame: bytes, word: str, running: Sums) -> Sums:
    return _checksum(frame[24:], word, _checksum(frame[:8], word, running))


def _checksum_in(frame: bytes) -> Sums:
    first, second = FRAME_HEADER.unpack_from(frame)[4:]
    return first, second


def _checksum(part: bytes, word: str, running: Sums) -> Sums:
    """The log's own running sums (https://www.sqlite.org/walformat.html#checksum_algorithm)."""
    first, second = running
    for one, other in iter_unpack(word + word[1], part):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
