"""What the queue's moves cost with a thousand, and with a million, requests waiting, beside a million that have ended.

    python benchmarks/queue_depth.py                                   # both databases, all depths: half an hour, 12 GB
    python benchmarks/queue_depth.py --kinds sqlite --depths 1000,10000 --finished 10000

It asks the queue itself, in one process and one call after another, so that a figure is the cost of one move. The
databases of all depths lie side by side and are asked in turn: what disturbs the machine disturbs all of them. With
PostgreSQL's server programs (Debian: `apt-get install postgresql`) it starts a server of its own, and asks pgbench what
that server carries when nobody waits for Python.
"""

import argparse
import asyncio
import contextlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import machine
import psycopg
from tables import table, whole

from gesso.core.request import Request, Succeeded
from gesso.store import moves
from gesso.store.connection import Database
from gesso.store.database import connect as connect_sqlite
from gesso.store.database import prepare
from gesso.store.history import History
from gesso.store.opening import open_database
from gesso.store.postgres.dialect import to_postgres
from gesso.store.queue import Queue
from gesso.store.rows import id_text
from gesso.store.usage import Quota, Usage

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import pg

MODEL, OWNERS = "bench/model", 100
LEASE = timedelta(minutes=5)
INPUT = '{"prompt": "%s", "image_urls": ["https://images.example/1.png"], "seed": 7}' % ("a warmer light, " * 30)
COLUMNS = "id, owner, model_id, input, created_at, turn"
# The n-th of those that wait is its owner's n/100-th: as if a hundred owners had submitted in turn.
WAITING = f"""INSERT INTO requests ({COLUMNS})
    SELECT ID, 'owner ' || (n % {OWNERS}), '{MODEL}', '{INPUT}', 1700000000000000 + n, n / {OWNERS} FROM numbers"""
ENDED = f"""INSERT INTO requests ({COLUMNS}, state, attempt, started_at, finished_at, outcome)
    SELECT ID, 'owner ' || (n % {OWNERS}), '{MODEL}', '{INPUT}', 1600000000000000 + n, 0,
    'completed', 1, 1600000000000000 + n, 1600000000500000 + n, '{{"files":[],"notes":{{}}}}' FROM numbers"""
NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < COUNT) ",
    "postgres": "WITH numbers(n) AS (SELECT generate_series(1, COUNT)) ",
}
ID = {"sqlite": "randomblob(16)", "postgres": "decode(md5(random()::text || n), 'hex')"}
# What the triggers would have counted, had the rows come one by one: that takes a quarter of an hour for a million.
COUNTS = {
    "sqlite": (
        "INSERT INTO waiting SELECT model_id, priority, LEVEL, turn >> LEVEL, count(*) FROM requests "
        "WHERE state = 'in_queue' GROUP BY model_id, priority, turn >> LEVEL",
        "INSERT INTO usage SELECT owner, count(*), 0 FROM requests WHERE state = 'in_queue' GROUP BY owner",
    ),
    "postgres": (
        "INSERT INTO waiting SELECT model_id, priority, LEVEL, turn >> LEVEL, -1, count(*) FROM requests "
        "WHERE state = 'in_queue' GROUP BY model_id, priority, turn >> LEVEL",
        "INSERT INTO usage SELECT owner, -1, count(*), 0 FROM requests WHERE state = 'in_queue' GROUP BY owner",
    ),
}
SOME_IDS = "SELECT id, owner FROM requests WHERE state = 'in_queue' AND seq IN (SEQS) ORDER BY seq"


@dataclass
class Depth:
    """One database with so many waiting; and how long each move took, in seconds."""

    count: int
    database: Database
    known: list[tuple[str, str]] = field(default_factory=list)
    took: dict[str, list[float]] = field(default_factory=dict)

    async def look(self) -> None:
        """Know some of those that wait, from the front to the back."""
        last = await self.database.read(lambda rows: rows.execute("SELECT max(seq) FROM requests").fetchone()[0])
        seqs = ", ".join(map(str, range(last - self.count + 1, last + 1, max(1, self.count // 1000))))
        rows = await self.database.read(lambda each: each.execute(SOME_IDS.replace("SEQS", seqs)).fetchall())
        self.known = [(id_text(row[0]), row[1]) for row in rows]

    async def timed(self, name: str, move: Callable[[], Awaitable[Any]]) -> Any:
        began = time.perf_counter()
        answer = await move()
        self.took.setdefault(name, []).append(time.perf_counter() - began)
        return answer

    async def round(self, dice: random.Random, moves: int) -> None:
        """So many of each move; as many come as go."""
        queue, lists = Queue(self.database), History(self.database)
        usage = Usage(self.database, Quota(10**9, 10**9, 10**15))
        for _ in range(moves):
            owner = f"owner {dice.randrange(OWNERS)}"
            request = Request.new(owner=owner, model_id=MODEL, input={"prompt": "x" * 500}, at=datetime.now(UTC))
            await self.timed("quota", lambda owner=owner: usage.require_room(owner))
            await self.timed("submit", lambda request=request: queue.add(request))
            one, whose = dice.choice(self.known[len(self.known) // 2 :])
            await self.timed("position", lambda one=one, whose=whose: queue.place(one, whose))
            await self.timed("result", lambda one=one, whose=whose: queue.get(one, whose))
            await self.timed("list", lambda owner=owner: lists.page(owner, limit=20))
            claimed = await self.timed("claim", lambda: queue.claim([MODEL], holder="bench", lease=LEASE))
            await self.timed("finish", lambda claimed=claimed: queue.finish(claimed, Succeeded(())))
        await self.database.tidy()


def insert(kind: str, statement: str, count: int) -> str:
    """The statement that makes so many rows."""
    return NUMBERS[kind].replace("COUNT", str(count)) + statement.replace("ID,", f"{ID[kind]},", 1)


def counts(kind: str) -> list[str]:
    """The statements that fill the counters."""
    waiting, usage = COUNTS[kind]
    return [waiting.replace("LEVEL", "4"), waiting.replace("LEVEL", "12"), usage]


class Sqlite:
    """Files; the one with those that have ended is made once, and copied."""

    name = "sqlite"

    def __init__(self, folder: Path, ended: int) -> None:
        self._folder = folder
        self._template = folder / "template"
        self._template.mkdir()
        path = self._template / "gesso.db"
        prepare(path)
        self._fill(self._template, insert("sqlite", ENDED, ended))

    def open(self, depth: int) -> Database:
        folder = self._folder / str(depth)
        shutil.copytree(self._template, folder)
        self._fill(folder, insert("sqlite", WAITING, depth), *counts("sqlite"))
        return open_database("", folder)

    def _fill(self, folder: Path, *statements: str) -> None:
        with contextlib.closing(connect_sqlite(folder / "gesso.db")) as file:
            triggers = file.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                file.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                file.execute(statement)
            for _, sql in triggers:
                file.execute(sql)
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def carries(self, _: int) -> list[list[object]]:
        """SQLite is carried by whoever asks it."""
        return []

    def close(self) -> None:
        pass


class Postgres:
    """Databases of a server of our own; the one with those that have ended is the template of the others."""

    name = "postgres"

    def __init__(self, folder: Path, ended: int) -> None:
        folder.chmod(0o755)  # the server is another user's
        self._server = pg.Server("shared_buffers = 1GB", "max_wal_size = 8GB", parent=folder)
        self._server.start()
        self._programs = pg.programs()
        self._template = self._server.make_database()
        self._fill(self._template, insert("postgres", ENDED, ended))
        self._urls: dict[int, str] = {}

    def open(self, depth: int) -> Database:
        name = f"depth_{depth}"
        self._server.ask(f"CREATE DATABASE {name} TEMPLATE {self._template.rpartition('/')[2]} STRATEGY file_copy")
        self._urls[depth] = self._server.url(name)
        self._fill(self._urls[depth], insert("postgres", WAITING, depth), *counts("postgres"))
        return open_database(self._urls[depth], self._server.folder)

    def _fill(self, url: str, *statements: str) -> None:
        with connect_postgres(url) as connection:
            for each in ("DISABLE", "ENABLE"):
                connection.execute(f"ALTER TABLE requests {each} TRIGGER USER")
                for statement in statements if each == "DISABLE" else ():
                    connection.execute(statement)
            connection.execute("VACUUM ANALYZE")

    def carries(self, depth: int) -> list[list[object]]:
        """What pgbench gets out of the server, 16 connections, with this depth."""
        return [[name, whole(self._pgbench(depth, script))] for name, script in scripts().items()]

    def close(self) -> None:
        self._server.remove()

    def _pgbench(self, depth: int, script: str) -> float:
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(script)
            file.flush()
            command = [self._programs / "pgbench", "-n", "-M", "prepared", "-c", "16", "-j", "2", "-T", "10",
                       "-D", f"rows={depth}", "-f", file.name, self._urls[depth]]  # fmt: skip
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return float(re.search(r"tps = ([\d.]+)", told)[1])


def scripts() -> dict[str, str]:
    """The queue's own statements for pgbench, with its variables for our values."""

    def filled(statement: str, *values: str) -> str:
        return re.sub(r"\$(\d+)", lambda found: values[int(found[1]) - 1], to_postgres(statement)) + ";\n"

    some = "(SELECT id FROM requests WHERE seq = (SELECT max(seq) FROM requests) - :n)"
    fresh = "decode(md5(random()::text), 'hex')"
    add = filled(moves.ADD, "'owner ' || :o", f"'{MODEL}'", fresh, "'en'", f"'{INPUT}'", "'[]'", "1", "now_us()", "1",
                 "NULL", "NULL", "0")  # fmt: skip
    claim = filled(moves.claim_row(1), "'bench'", "300000000", f"'{MODEL}'", "3", f"'{MODEL}'", "''")
    claim = f"WITH claimed AS ({claim.strip().rstrip(';')}) SELECT seq AS mine FROM claimed \\gset\n"
    finish = filled(moves.FINISH.replace("id = ? AND attempt = ?", "seq = ?"), '\'{"files":[],"notes":{}}\'', ":mine")
    dice = f"\\set n random(0, :rows - 1)\n\\set o random(0, {OWNERS - 1})\n"
    return {
        "status polls of one that waits": dice + filled(moves.PLACE, some),
        "submits": dice + add,
        "submit, claim, finish": dice + add + claim + finish,
    }


@contextlib.contextmanager
def connect_postgres(url: str) -> Iterator[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


async def measured(home: Any, depths: Sequence[int], rounds: int, moves_: int) -> list[Depth]:
    found = []
    for count in depths:
        began = time.monotonic()
        found.append(Depth(count, home.open(count)))
        await found[-1].look()
        print(f"{home.name}: {count:,} wait, after {time.monotonic() - began:.0f} s", file=sys.stderr)
    dice = random.Random(7)
    for number in range(rounds + 1):
        for depth in found:
            await depth.round(dice, moves_)
            if number == 0:
                depth.took.clear()  # it only warms up
    for depth in found:
        depth.database.close()
    return found


def told(home: Any, depths: Sequence[Depth]) -> str:
    names = list(depths[0].took)
    rows: list[list[object]] = []
    for name in names:
        medians = [median(depth.took[name]) * 1e6 for depth in depths]
        rows.append([name, *map(whole, medians), f"{medians[-1] / medians[0]:.2f}"])
    head = ["µs, median", *(f"{depth.count:,} wait" for depth in depths), "last / first"]
    return f"### {home.name}\n\n{table(head, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default="sqlite,postgres")
    parser.add_argument("--depths", default="1000,10000,100000,1000000")
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--moves", type=int, default=50, help="of each kind, a round and a depth")
    parser.add_argument("--folder", help="where they lie; in memory shows what a move costs beside its sync")
    given = parser.parse_args()
    depths = [int(each) for each in given.depths.split(",")]
    print(f"{machine.words()}\n\n{given.finished:,} have ended; {OWNERS} owners, one model.\n", flush=True)
    for kind in given.kinds.split(","):
        with tempfile.TemporaryDirectory(prefix="gesso-depth-", dir=given.folder) as folder:
            home = {"sqlite": Sqlite, "postgres": Postgres}[kind](Path(folder), given.finished)
            try:
                print(told(home, asyncio.run(measured(home, depths, given.rounds, given.moves))) + "\n", flush=True)
                if carried := home.carries(depths[-1]):
                    print(f"What the server carries by itself, {depths[-1]:,} waiting (pgbench, 16 connections):\n")
                    print(table(["", "a second"], carried) + "\n", flush=True)
            finally:
                home.close()


if __name__ == "__main__":
    main()
