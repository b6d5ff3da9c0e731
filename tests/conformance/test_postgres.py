"""What only PostgreSQL has to prove: the server it takes, its upgrades, its locks, its counters and its wake-ups."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import psycopg
import pytest
from givens import A_LEASE, Ask, rows, url_of
from pg import Server, programs
from script import eventually

from gesso.core.errors import ConfigError, Unavailable
from gesso.core.states import State
from gesso.store import opening
from gesso.store.connection import Connection, Database, Waiter
from gesso.store.database import connect as connect_sqlite
from gesso.store.migrating import migrate
from gesso.store.opening import open_database
from gesso.store.postgres import schema
from gesso.store.postgres.connecting import connect
from gesso.store.postgres.dialect import to_postgres
from gesso.store.progress import Progress, Step
from gesso.store.queue import Queue

pytestmark = [pytest.mark.anyio, pytest.mark.only("postgres")]
ONE = ["a/one"]
WAITING = "SELECT coalesce(sum(count), 0) FROM waiting WHERE level = 12"
SLOTS = "SELECT count(*) FROM waiting WHERE slot >= 0"


@pytest.fixture
def url(folder: Path) -> str:
    return url_of(folder)


@pytest.fixture
def empty(pg_server: Server) -> Iterator[str]:
    """The URL of a database without tables."""
    url = pg_server.make_database(empty=True)
    yield url
    pg_server.drop_database(url)


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Waiter]:
    """One who waits for work, and hears."""
    waiter = database.wakeups.listen()
    heard = asyncio.Event()
    waiter.on_wake = heard.set
    await asyncio.wait_for(heard.wait(), 5)  # it calls once it listens: something may have been said before
    yield waiter
    waiter.close()


def nothing(rows: Connection) -> None:
    """A move that moves nothing."""


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
def test_I01_a_server_that_forgets_commits_is_refused_unless_that_is_accepted(
    pg_server: Server, url: str, tmp_path: Path, setting: str
) -> None:
    name = urlsplit(url).path[1:]
    if setting == "fsync":  # of the whole server
        switch, undo = "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET fsync = on"
    else:
        switch, undo = f"ALTER DATABASE {name} SET synchronous_commit = off", "SELECT 1"
    pg_server.ask(switch)
    pg_server.ask("SELECT pg_reload_conf()")
    try:
        with pytest.raises(ConfigError, match=f"{setting} = off"):
            told(url, tmp_path, setting)
        open_database(url, tmp_path, accept_data_loss=True).close()
    finally:
        pg_server.ask(undo)
        pg_server.ask("SELECT pg_reload_conf()")


def told(url: str, folder: Path, setting: str) -> None:
    """Open it once the server has taken up the *setting*: it is told to reload, and does so in its own time."""
    for _ in range(500):
        with closing(connect(url)) as connection:
            if connection.execute(f"SHOW {setting}".encode()).fetchone()[0] == "off":
                break
    open_database(url, folder).close()


def test_an_empty_database_is_given_its_tables_by_the_first_start(empty: str, tmp_path: Path) -> None:
    assert not opening.is_there(empty, tmp_path)
    open_database(empty, tmp_path).close()

    assert opening.versions(empty, tmp_path) == (schema.newest(), schema.newest())


def test_of_many_who_start_on_an_empty_database_at_once_all_come_up(empty: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as starts:
        opened = list(starts.map(lambda _: open_database(empty, tmp_path), range(8)))
    for each in opened:
        each.close()

    assert opening.versions(empty, tmp_path).known == schema.newest()


def test_I23_tables_of_a_newer_version_are_refused_and_left_alone(url: str, tmp_path: Path) -> None:
    with psycopg.connect(url, autocommit=True) as foreign:
        foreign.execute("UPDATE gesso_version SET version = 99")

    for how in (open_database, opening.upgrade, opening.versions):
        with pytest.raises(ConfigError, match="newer version"):
            how(url, tmp_path)
    with psycopg.connect(url) as foreign:
        assert foreign.execute("SELECT version FROM gesso_version").fetchone() == (99,)


@pytest.mark.parametrize("known", range(1, schema.newest()))
async def test_I23_older_tables_are_brought_up_to_date_by_the_command_and_not_by_a_start(
    empty: str, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    scripts = schema._scripts()
    with monkeypatch.context() as older:
        older.setattr(schema, "_scripts", lambda: scripts[:known])
        schema.upgrade(empty)
    with pytest.raises(ConfigError, match="gesso db upgrade"):
        open_database(empty, tmp_path)
    assert opening.versions(empty, tmp_path).known == known
    opening.upgrade(empty, tmp_path)
    opening.upgrade(empty, tmp_path)

    with closing(open_database(empty, tmp_path)) as database:
        request = ask()
        await Queue(database).add(request)
        assert (await Queue(database).place(request.id, "alice")).position == 0


def test_I23_an_upgrade_that_was_cut_short_has_not_happened_and_is_made_again(
    pg_server: Server, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = schema._scripts()
    with monkeypatch.context() as cut:
        cut.setattr(schema, "_scripts", lambda: [*scripts[:-1], "SELECT pg_terminate_backend(pg_backend_pid())"])
        with pytest.raises(Unavailable):
            schema.upgrade(empty)
    assert opening.versions(empty, tmp_path).known == 0
    opening.upgrade(empty, tmp_path)

    assert opening.versions(empty, tmp_path).known == schema.newest()


def test_a_database_of_another_program_is_left_alone(empty: str, tmp_path: Path) -> None:
    with psycopg.connect(empty, autocommit=True) as foreign:
        foreign.execute("CREATE TABLE requests (theirs INTEGER)")

    with pytest.raises(ConfigError, match="cannot be given its tables"):
        open_database(empty, tmp_path)
    with psycopg.connect(empty) as foreign:
        assert foreign.execute("SELECT to_regclass('files')").fetchone() == (None,)


@pytest.mark.parametrize(
    "url", ["postgresql://u:S3cret/S3cret@h/db", "postgresql://u:S3cret@h:S3cret/db", "mysql://h/db"]
)
def test_a_url_that_cannot_be_is_refused_without_a_word_of_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="postgresql://") as refused:
        open_database(url, tmp_path)

    assert "S3cret" not in str(refused.value)


def test_both_databases_have_the_same_tables_and_columns(url: str, tmp_path: Path) -> None:
    with closing(connect_sqlite(tmp_path / "gesso.db")) as file:
        migrate(file, tmp_path / "gesso.db")
        listed = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        of_file = {
            (table, column["name"])
            for (table,) in file.execute(listed)
            for column in file.execute(f"PRAGMA table_info({table})")
        }
    with psycopg.connect(url) as foreign:
        of_server = set(foreign.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall())  # fmt: skip

    assert of_server - {("waiting", "slot"), ("usage", "slot"), ("gesso_version", "version")} == of_file


async def test_a_row_that_somebody_else_is_taking_holds_no_claim_up(
    database: Database, queue: Queue, ask: Ask, url: str
) -> None:
    requests = [ask(), ask()]
    for each in requests:
        await queue.add(each)
    with psycopg.connect(url) as slow:
        slow.execute("SELECT 1 FROM requests ORDER BY seq LIMIT 1 FOR UPDATE")
        claimed = await queue.claim(ONE, holder="x", lease=A_LEASE)

    assert claimed is not None
    assert claimed.id == requests[1].id


async def test_a_submit_does_not_wait_for_the_commit_of_another_of_its_model_and_owner(
    database: Database, queue: Queue, ask: Ask, url: str
) -> None:
    await queue.add(ask())
    (slot,) = await database.read(lambda rows: rows.execute("SELECT slot()").fetchone())
    slow = [psycopg.connect(url) for _ in range(3)]
    try:
        another = next(each for each in slow if each.execute("SELECT slot()").fetchone() != (slot,))
        another.execute("SELECT count_waiting('a/one', 1, 0, 1), count_usage('alice', 1, 0)")
        await queue.add(ask())  # within its lock_timeout, or it fails
    finally:
        for each in slow:
            each.close()

    assert await queue.length("a/one") == 2


async def test_counters_that_are_put_together_say_the_same_as_before(
    database: Database, another: Database, queue: Queue, ask: Ask
) -> None:
    requests = [ask() for _ in range(60)]
    for number, each in enumerate(requests):
        await (queue, Queue(another))[number % 2].add(each)
    for each in requests[:20]:
        await Queue(another).cancel(each.id, "alice")
    before = [(await queue.place(each.id, "alice")).position for each in requests]
    await queue.tidy()

    assert [(await queue.place(each.id, "alice")).position for each in requests] == before
    assert await database.read(lambda rows: rows.execute(SLOTS).fetchone()[0]) == 0
    assert await queue.length("a/one") == 40


async def test_counters_stay_exact_while_many_count_and_one_puts_them_together(
    database: Database, another: Database, ask: Ask, folder: Path
) -> None:
    queues, over = [Queue(database), Queue(another)], asyncio.Event()

    async def submit(queue: Queue) -> None:
        for _ in range(40):
            await queue.add(ask())

    async def claim(queue: Queue) -> None:
        for _ in range(20):
            await queue.claim(ONE, holder="x", lease=A_LEASE)

    async def tidy() -> None:
        while not over.is_set():
            await queues[0].tidy()

    tidying = asyncio.create_task(tidy())
    await asyncio.gather(*(work(queue) for queue in queues for work in (submit, claim, submit)))
    over.set()
    await tidying
    plain = sum(row[5] == "in_queue" for row in rows(folder))

    assert len(rows(folder)) == 160
    assert await database.read(lambda each: each.execute(WAITING).fetchone()[0]) == plain
    assert sum(row[2] for row in rows(folder, "usage")) == 160


async def test_two_moves_that_lock_each_other_out_are_both_carried_out(url: str, folder: Path) -> None:
    met, tries = threading.Barrier(2, timeout=5), []

    def crosswise(first: str, second: str) -> Callable[[Connection], None]:
        def move(rows: Connection) -> None:
            tries.append(first)
            rows.execute("UPDATE secrets SET value = value || ? WHERE name = ?", (b"!", first))
            if len(tries) <= 2:
                met.wait()
            rows.execute("UPDATE secrets SET value = value || ? WHERE name = ?", (b"!", second))

        return move

    with psycopg.connect(url) as foreign:
        foreign.execute("INSERT INTO secrets VALUES ('a', ''), ('b', '')")
    with closing(open_database(f"{url}?options=-c%20deadlock_timeout%3D50ms", folder)) as database:
        await asyncio.gather(database.write(crosswise("a", "b")), database.write(crosswise("b", "a")))

    assert len(tries) > 2  # PostgreSQL ended one of them, and it was made again
    assert sorted(rows(folder, "secrets")) == [("a", b"!!"), ("b", b"!!")]


async def test_a_move_that_raises_has_not_happened_and_leaves_nothing_to_the_next(
    database: Database, folder: Path
) -> None:
    def half(rows: Connection) -> None:
        rows.execute("INSERT INTO secrets VALUES ('half', ?)", (b"",))
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        await database.write(half)
    await database.write(lambda rows: rows.execute("INSERT INTO secrets VALUES ('next', ?)", (b"",)))

    assert rows(folder, "secrets") == [("next", b"")]


async def test_I20_a_connection_that_died_while_it_lay_idle_costs_nobody_an_answer(
    pg_server: Server, database: Database, queue: Queue, ask: Ask
) -> None:
    await asyncio.gather(*(queue.add(ask()) for _ in range(20)))
    pg_server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gesso'")

    await asyncio.gather(*(queue.add(ask()) for _ in range(20)))
    assert await queue.length("a/one") == 40


async def test_I20_who_waits_too_long_for_a_lock_is_told_so_within_three_seconds_and_nothing_has_happened(
    database: Database, queue: Queue, ask: Ask, url: str
) -> None:
    request = ask()
    await queue.add(request)
    loop = asyncio.get_running_loop()
    with psycopg.connect(url) as slow:
        slow.execute("SELECT 1 FROM requests FOR UPDATE")
        began = loop.time()
        with pytest.raises(Unavailable):
            await queue.cancel(request.id, "alice")
        took = loop.time() - began

    assert 1 < took < 3
    assert (await queue.place(request.id, "alice")).state is State.IN_QUEUE


async def test_closing_carries_out_what_was_handed_in(database: Database, folder: Path) -> None:
    put = "INSERT INTO secrets VALUES (?, ?)"
    writing = [
        asyncio.create_task(database.write(lambda rows, name=str(n): rows.execute(put, (name, b"")))) for n in range(50)
    ]
    await asyncio.sleep(0)  # they have handed their moves in
    await asyncio.to_thread(database.close)
    await asyncio.gather(*writing)

    assert len(rows(folder, "secrets")) == 50
    with pytest.raises(Unavailable):
        await database.write(nothing)


async def test_a_waiter_is_woken_by_a_write_of_another_process_once_the_row_can_be_read(
    database: Database, another: Database, other: Waiter, folder: Path
) -> None:
    seen: list[int] = []
    other.on_wake = lambda: seen.append(len(rows(folder, "secrets")))
    await another.write(lambda rows: rows.execute("INSERT INTO secrets VALUES ('a', ?)", (b"",)), wakes=True)
    await eventually(lambda: seen)

    assert seen[0] == 1


async def test_a_write_that_says_nothing_wakes_nobody_but_those_who_watch(database: Database, other: Waiter) -> None:
    watcher, calls, seen = database.watchers.listen(), [], []
    watcher.on_wake = lambda: seen.append("news")
    other.on_wake = lambda: calls.append("work")
    await eventually(lambda: seen)  # it listens
    seen.clear()
    await database.write(nothing)
    await eventually(lambda: seen)
    watcher.close()
    told_before = list(calls)
    await database.write(nothing, wakes=True)
    await eventually(lambda: calls)

    assert told_before == []


async def test_I09_a_waiter_whose_connection_was_killed_listens_again(
    pg_server: Server, database: Database, other: Waiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gesso.store.postgres.wakeups.PAUSE_S", 0.01)
    heard = asyncio.Event()
    other.on_wake = heard.set
    pg_server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    await asyncio.wait_for(heard.wait(), 5)  # it listens again
    heard.clear()
    await database.write(nothing, wakes=True)

    await asyncio.wait_for(heard.wait(), 5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("SELECT ?, ?", "SELECT $1, $2"),
        ("SELECT ?2, ?1, ?12", "SELECT $2, $1, $12"),
        ("SELECT '?', ?", "SELECT '?', $1"),
        (
            "SELECT max(a, b), max(now_us(), x.y), max(turn) + 1",
            "SELECT greatest(a, b), greatest(now_us(), x.y), max(turn) + 1",
        ),
        ("LIMIT 1 /*pg FOR UPDATE*/", "LIMIT 1 FOR UPDATE"),
    ],
)
def test_a_statement_reads_the_same_in_both_dialects(ours: str, theirs: str) -> None:
    assert to_postgres(ours) == theirs


async def test_a_word_of_progress_that_comes_with_the_end_leaves_nothing(
    database: Database, queue: Queue, ask: Ask, folder: Path, url: str
) -> None:
    await queue.add(ask())
    claimed = await queue.claim(ONE, holder="x", lease=A_LEASE)
    assert claimed is not None
    with psycopg.connect(url) as ending:
        ending.execute("UPDATE requests SET state = 'completed', outcome = '{}', finished_at = 1, lease_until = NULL")
        telling = asyncio.create_task(
            Progress(database).tell([(claimed.id, claimed.attempt, Step(0.5, 1, 2, None), None)])
        )
        done, _ = await asyncio.wait([telling], timeout=0.2)  # long enough to write what is not to be written
    await telling

    assert not done
    assert rows(folder, "progress") == []


async def test_a_dump_comes_back_with_its_counters_and_goes_on(
    pg_server: Server, database: Database, queue: Queue, ask: Ask, url: str, empty: str, tmp_path: Path
) -> None:
    requests = [ask() for _ in range(20)]
    for each in requests:
        await queue.add(each)
    await queue.claim(ONE, holder="x", lease=A_LEASE)
    dump = (await anyio.run_process([programs() / "pg_dump", "--no-owner", url])).stdout
    await anyio.run_process([programs() / "psql", "-q", "-v", "ON_ERROR_STOP=1", empty], input=dump)

    with closing(open_database(empty, tmp_path)) as restored:
        assert (await Queue(restored).place(requests[-1].id, "alice")).position == 18
        await Queue(restored).add(ask())
        assert await Queue(restored).length("a/one") == 20
