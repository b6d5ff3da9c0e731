"""The sync gate: at the moment of every acknowledgement, nothing that it depends on may be unsynced.

It reads what `strace -f -y` wrote. A file is dirty from a write until its fsync or fdatasync, a folder from a create,
rename or mkdir in it until its fsync; a write to anything outside the data folder is speech. The idea is ALICE's
(https://www.usenix.org/system/files/conference/osdi14/osdi14-paper-pillai.pdf).

Not seen: mmap, io_uring, O_DSYNC. Exempt: SQLite's -shm, which is rebuilt; pipes and the lock, which hold nothing.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

WRITES = frozenset({"write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "ftruncate",
                    "fallocate", "sendto", "sendmsg"})  # fmt: skip
OTHERS = "openat,creat,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat"
EXEMPT = re.compile(r"-shm$|\.pipe$|\.lock$|/(waiters|watchers)(/|$)")


def strace(trace: Path, *more: str) -> list[str]:
    """The words before a command that have it watched."""
    calls = ",".join(sorted(WRITES)) + "," + OTHERS
    return ["strace", "-f", "-y", "-qq", "-s", "700", "-o", str(trace), "-e", f"trace={calls}", *more]


@dataclass
class Verdict:
    """How many acknowledgements there were, how many over unsynced state, and what was unsynced."""

    acknowledged: int = 0
    too_early: int = 0
    unsynced: Counter[str] = field(default_factory=Counter)


def judge(trace: Path, folder: Path, acknowledgement: str) -> Verdict:
    """Read *trace*: what was unsynced below *folder* whenever somebody said what matches *acknowledgement*."""
    dirt, verdict = Dirt(folder), Verdict()
    for call in whole_calls(trace):
        if dirt.see(call) and re.search(acknowledgement, call):
            verdict.acknowledged += 1
            verdict.too_early += bool(dirt.dirty)
            verdict.unsynced.update(f"{os.path.relpath(path, folder)} after {why}" for path, why in dirt.dirty.items())
    return verdict


def whole_calls(trace: Path) -> Iterator[str]:
    """The calls that succeeded, in the order of their ends; those that were cut in two are joined."""
    begun: dict[str, str] = {}
    with trace.open(errors="replace") as lines:
        for line in lines:
            pid, _, call = line.rstrip("\n").partition(" ")
            call = call.lstrip()
            if call.endswith("<unfinished ...>"):
                begun[pid] = call.removesuffix("<unfinished ...>")
                continue
            if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
                call = begun.pop(pid, "") + resumed.group(1)
            if "(" in call and not re.search(r"= -1 E", call):
                yield call


class Dirt:
    """What is unsynced below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.realpath(folder)
        self.dirty: dict[str, str] = {}  # path -> the call that made it dirty
        self._known: set[str] = set()

    def see(self, call: str) -> bool:
        """Take one call into account; True when it speaks to somebody outside."""
        name = call.split("(", 1)[0]
        descriptors = [
            each.removesuffix(" (deleted)") for each in re.findall(r"\d+<([^>]*)>", call.rsplit(" = ", 1)[0])
        ]
        if name in WRITES and descriptors:
            return self._written(name, descriptors[-1] if name == "copy_file_range" else descriptors[0])
        if name in ("fsync", "fdatasync") and descriptors:
            self.dirty.pop(descriptors[0], None)
        elif name == "creat" or (name == "openat" and "O_CREAT" in call):
            if opened := re.search(r"= \d+<([^>]*)>", call):
                self._created(opened.group(1), "create")
        else:
            self._named(name, self._paths(call, descriptors))
        return False

    def _written(self, name: str, target: str) -> bool:
        if not target.startswith("/"):
            return True
        if target.startswith(self._folder + "/"):
            self._mark(target, name)
        return not target.startswith(self._folder)

    def _named(self, name: str, paths: list[str]) -> None:
        if name.startswith(("rename", "link")) and len(paths) >= 2:
            old, new = paths[:2]
            self._known.discard(new)
            self._created(new, "rename")
            if old in self.dirty:
                self._mark(new, self.dirty.pop(old))
        elif name.startswith("mkdir") and paths:
            self._created(paths[0], "mkdir")
        elif name.startswith("unlink") and paths:
            # An unlink does not make its folder dirty: what comes back after a power cut is the collector's work (I13).
            self.dirty.pop(paths[0], None)
            self._known.discard(paths[0])

    @staticmethod
    def _paths(call: str, descriptors: list[str]) -> list[str]:
        names = re.findall(r'"([^"]*)"', call)
        return [str(Path(descriptors[0] if descriptors else "/") / each) for each in names]

    def _mark(self, path: str, why: str) -> None:
        inside = path == self._folder or path.startswith(self._folder + "/")
        if inside and not EXEMPT.search(path):
            self.dirty[path] = why

    def _created(self, path: str, why: str) -> None:
        if path not in self._known and not EXEMPT.search(path):
            self._known.add(path)
            self._mark(str(Path(path).parent), why)
