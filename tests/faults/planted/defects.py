"""Defects to be planted: a suite that does not see each of them proves nothing. The words say what is spoilt.

They are planted in real processes by `sitecustomize.py` beside this file, and in the test's own process by `plant` with
pytest's monkeypatch. None of them imports more of the house than it spoils.
"""

import asyncio
import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Patch = Callable[[Any, str, Any], None]


def plant(name: str, patch: Patch = setattr) -> None:
    """Plant the defect, or several with a plus between."""
    for each in name.split("+"):
        DEFECTS[each](patch)


def acknowledged_too_early(patch: Patch) -> None:
    """A submit is answered before it is committed."""
    from gesso.store.queue import Queue

    sound, late = Queue.add, set()

    async def add(self: Any, request: Any, *more: Any) -> str:
        async def later() -> None:
            await asyncio.sleep(0.2)
            await sound(self, request, *more)

        task = asyncio.create_task(later())
        late.add(task)
        task.add_done_callback(late.discard)
        return str(request.id)

    patch(Queue, "add", add)


def answered_late(patch: Patch) -> None:
    """No defect: what is between a commit and its answer takes a while, so that a kill finds it."""
    from gesso.store.queue import Queue

    sound = Queue.add

    async def add(self: Any, *given: Any, **more: Any) -> str:
        known = await sound(self, *given, **more)
        await asyncio.sleep(0.05)
        return known

    patch(Queue, "add", add)


def rests_after_keeping(patch: Patch) -> None:
    """No defect: the first picture is stored, and its worker takes three seconds to finish the request."""
    from gesso.files.shelf import Shelf

    sound, resting = Shelf.keep_png, Path("resting")

    async def keep_png(self: Any, *given: Any, **more: Any) -> Any:
        kept = await sound(self, *given, **more)
        if not resting.exists():  # noqa: ASYNC240 - a moment
            resting.touch()  # noqa: ASYNC240
            await asyncio.sleep(3)
        return kept

    patch(Shelf, "keep_png", keep_png)


def stale_finish(patch: Patch) -> None:
    """A finish looks neither at the attempt nor at the state."""
    from gesso.store import moves

    blind = moves.FINISH.replace("attempt = ? AND", "? > 0 AND").partition("state IN")[0]
    patch(moves, "FINISH", f"{blind} 1 = 1 RETURNING owner")


def commits_without_sync(patch: Patch) -> None:
    """Commits are left to the page cache."""
    from gesso.store import database

    sound = database.connect

    def connect(path: Any) -> Any:
        connection = sound(path)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    patch(database, "connect", connect)


def keys_are_forgotten(patch: Patch) -> None:
    """An Idempotency-Key is not kept with its request."""
    from gesso.store import once

    patch(once, "keep", lambda *given: given[-1])


def keeps_before_it_judges(patch: Patch) -> None:
    """A picture that came with a body is kept before the body is judged."""
    from gesso.api.pictures import Pictures
    from gesso.files.blobs import new_key

    sound = Pictures.accept

    def accept(self: Any, *given: Any) -> Any:
        self._shelf.blobs._put(new_key(), b"too early")
        return sound(self, *given)

    patch(Pictures, "accept", accept)


def status_goes_back(patch: Patch) -> None:
    """Of a request that runs, every other answer is from before it was claimed."""
    from itertools import cycle

    from gesso.core.states import State
    from gesso.store import queue

    sound, is_old = queue.Queue.place, cycle([False, True])

    async def place(self: Any, request_id: str, owner: str) -> Any:
        told = await sound(self, request_id, owner)
        runs = told.state is State.IN_PROGRESS
        return queue.Place(State.IN_QUEUE, 0, told.seq) if runs and next(is_old) else told

    patch(queue.Queue, "place", place)


def cancel_looks_first(patch: Patch) -> None:
    """A cancel reads the state, and writes without looking again."""
    from gesso.core.states import State
    from gesso.store import queue

    blind = """UPDATE requests SET state = 'cancelled', outcome = NULL, lease_until = NULL, finished_at = now_us()
        WHERE id = ? RETURNING seq"""

    async def cancel(self: Any, request_id: str, owner: str) -> Any:
        if (await self.place(request_id, owner)).state is not State.IN_QUEUE:
            return (await self.place(request_id, owner)).state
        await asyncio.sleep(0.001)
        await self._one(blind, (queue.id_bytes(request_id),))
        return State.CANCELLED

    patch(queue.Queue, "cancel", cancel)


def files_without_sync(patch: Patch) -> None:
    """A blob's bytes are left to the page cache."""
    _syncs_only(patch, stat.S_ISDIR)


def folders_without_sync(patch: Patch) -> None:
    """A blob's name is left to the page cache."""
    _syncs_only(patch, stat.S_ISREG)


def _syncs_only(patch: Patch, kind: Callable[[int], bool]) -> None:
    from gesso.files import blobs

    sound = blobs.FolderBlobs._sync

    def sync(self: Any, descriptor: int) -> None:
        if kind(os.fstat(descriptor).st_mode):
            sound(self, descriptor)

    patch(blobs.FolderBlobs, "_sync", sync)


def row_before_blob(patch: Patch) -> None:
    """The end is committed while its picture is still being written."""
    from gesso.files.blobs import FolderBlobs

    sound, late = FolderBlobs.put, set()

    async def put(self: Any, key: str, data: bytes, **more: Any) -> str:
        import hashlib

        async def later() -> None:
            await asyncio.sleep(0.3)
            await sound(self, key, data, **more)

        task = asyncio.create_task(later())
        late.add(task)
        task.add_done_callback(late.discard)
        return hashlib.sha256(data).hexdigest()

    patch(FolderBlobs, "put", put)


def failed_sync_is_survived(patch: Patch) -> None:
    """A sync that failed is told to whoever waited, and then forgotten."""
    from gesso.store.database import Database

    patch(Database, "_break", lambda *_: None)


def faults_are_acknowledged(patch: Patch) -> None:
    """What the disk refuses is told as done."""
    from gesso.store import database

    sound = database.Database._commit

    def commit(self: Any, connection: Any, batch: Any) -> None:
        sound(self, connection, batch)
        for job in batch:
            job.fault = None

    patch(database.Database, "_commit", commit)


def damage_is_thrown_away(patch: Patch) -> None:
    """A database that is damaged is replaced by an empty one."""
    import sqlite3

    from gesso.core.errors import ConfigError
    from gesso.store import database

    sound = database.prepare

    def prepare(path: Any) -> None:
        try:
            sound(path)
        except (ConfigError, sqlite3.DatabaseError):
            for each in path.parent.glob("gesso.db*"):
                each.unlink()
            sound(path)

    patch(database, "prepare", prepare)


def log_is_not_looked_at(patch: Patch) -> None:
    """A write-ahead log with a hole is cut off there in silence."""
    from gesso.store import database

    patch(database, "require_whole_log", lambda *_: None)


def waits_without_end(patch: Patch) -> None:
    """Whoever waits for the database is told nothing until it is back."""
    from gesso.store.jobs import Job

    patch(Job, "withdraw", lambda _: None)


def headers_without_end(patch: Patch) -> None:
    """Half a header is waited for, however long."""
    from gesso.api import framing

    patch(framing, "HEADER_S", 3600.0)


def leaves_what_runs(patch: Patch) -> None:
    """What runs at a stop is left to its lease, and counts as lost."""
    from gesso.store.queue import Queue

    async def release(self: Any, request: Any) -> None: ...

    patch(Queue, "release", release)


def intake_knows_no_owners(patch: Patch) -> None:
    """One owner's pictures may take all the room there is."""
    from gesso.worker import intake

    patch(intake, "OF_ONE_OWNER", intake.AT_ONCE)


def collector_knows_no_rows(patch: Patch) -> None:
    """What is old is taken for an orphan, whoever refers to it."""
    from gesso.store.files import Files

    async def condemn(self: Any, keys: Any) -> list[str]:
        return list(keys)

    patch(Files, "condemn_unknown", condemn)


def forgets_too_early(patch: Patch) -> None:
    """A request is forgotten after half of its time."""
    from gesso.store import files

    patch(files, "OLD_REQUESTS", files.OLD_REQUESTS.replace("now_us() - ?", "now_us() - ? / 2"))


def forgets_the_row_only(patch: Patch) -> None:
    """A request goes, and its pictures stay."""
    from gesso.store import files

    patch(files, "FORGET_FILES_OF", "SELECT key FROM files WHERE request = ? AND 0 = 1")


def stops_at_once(patch: Patch) -> None:
    """SIGTERM ends an API whatever it is doing."""
    from gesso import processes

    patch(processes._Server, "handle_exit", lambda *_: os._exit(0))


def migrates_in_pieces(patch: Patch) -> None:
    """Each statement of a migration is committed by itself."""
    from gesso.store import migrating

    class Pieces:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def execute(self, sql: str) -> Any:
            return None if sql in ("BEGIN IMMEDIATE", "COMMIT") else self._connection.execute(sql)

    from gesso.store import database

    patch(database, "migrate", lambda connection, path: migrating.migrate(Pieces(connection), path))  # type: ignore[arg-type]


def _dies_in_migration(patch: Patch) -> None:
    """No defect, but a fault: the process is killed at the statement of the migration that DIES_AT says."""
    from gesso.store import database

    sound, at = database.migrate, int(os.environ["DIES_AT"])

    class Deadly:
        def __init__(self, connection: Any) -> None:
            self._connection, self._count = connection, 0

        def execute(self, sql: str) -> Any:
            self._count += 1
            if self._count == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return self._connection.execute(sql)

    patch(database, "migrate", lambda connection, path: sound(Deadly(connection), path))


def _stops_in_a_write(patch: Patch) -> None:
    """No defect, but a fault: the process is stopped inside a transaction, once there is the file of STOPS_AT."""
    from gesso.store import database

    sound, sign = database.Database._transact, Path(os.environ["STOPS_AT"])

    def transact(self: Any, connection: Any, batch: Any) -> None:
        def stopping(move: Any) -> Any:
            def moved(rows: Any) -> Any:
                answer = move(rows)
                if sign.exists():
                    sign.rename(f"{sign}.{os.getpid()}")
                    os.kill(os.getpid(), signal.SIGSTOP)
                    time.sleep(0.5)  # the stop reaches this thread a moment later
                return answer

            return moved

        for job in batch:
            job.move = stopping(job.move)
        sound(self, connection, batch)

    patch(database.Database, "_transact", transact)


def _clock_of_a_file(patch: Patch) -> None:
    """No defect, but a fault: the wall clock is off by the seconds that the file CLOCK says. Timers go on as they are.

    Not by libfaketime, which moves the clocks that Python's locks and sleeps wait on as well, whatever it is told.
    """
    from datetime import datetime, timedelta

    import gesso.assembly.parts as parts

    sound, sound_ns = time.time, time.time_ns

    def off_s() -> int:
        return int(Path(os.environ["CLOCK"]).read_text())

    class Moved(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=off_s())

    patch(time, "time", lambda: sound() + off_s())
    patch(time, "time_ns", lambda: sound_ns() + off_s() * 10**9)
    patch(parts, "datetime", Moved)


def lease_of_tomorrow_holds(patch: Patch) -> None:
    """A lease that was given before the clock jumped back holds until the clock is there again."""
    from gesso.store import moves, queue

    sound = moves.LEASE_ENDED
    spoilt = sound.replace(" OR lease_until > ", " OR 0 AND lease_until > ")
    for module in (moves, queue):
        for name, text in list(vars(module).items()):
            if isinstance(text, str) and sound in text:
                patch(module, name, text.replace(sound, spoilt))


DEFECTS: dict[str, Callable[[Patch], None]] = {
    name.strip("_"): each
    for name, each in list(globals().items())
    if callable(each) and name not in ("plant", "Callable", "Any", "Path", "Patch", "_syncs_only")
}
