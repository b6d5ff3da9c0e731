"""Everybody's requests, as administrators see them: who, which, and how cheaply; and whose they may cancel."""

import re

import pytest
from givens import A_LEASE, Ask

from gesso.core.errors import ResourceNotFound
from gesso.core.request import Succeeded
from gesso.core.states import State
from gesso.store import history as lists
from gesso.store.database import Database
from gesso.store.history import NEWEST, OF_ALL, OF_MODEL, OF_OWNER, History
from gesso.store.queue import Queue

MOST = 5000
MANY = """INSERT INTO requests (id, owner, model_id, input, created_at, state, outcome, finished_at)
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {most})
    SELECT {id}, 'owner-' || (n % 50), CASE n % 1000 WHEN 0 THEN 'a/rare' ELSE 'a/one' END, '{{}}', 1,
        CASE n % 500 WHEN 0 THEN 'cancelled' ELSE 'completed' END, CASE n % 500 WHEN 0 THEN NULL ELSE '{{}}' END, 2
    FROM numbers"""
RANDOM_ID = {"sqlite": "randomblob(16)", "postgres": "decode(md5(n::TEXT), 'hex')"}
LISTS = [(OF_OWNER, ("owner-0",)), (OF_MODEL, ("owner-0", "a/rare")), (OF_ALL, ())]
EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgres": "EXPLAIN (ANALYZE, BUFFERS OFF, TIMING OFF) "}


async def test_everybodys_requests_are_listed_newest_first_each_with_its_owner(
    queue: Queue, database: Database, ask: Ask
) -> None:
    owners = ["alice", "bob", "carol", "alice", "bob"]
    for owner in owners:
        await queue.add(ask(owner=owner))
    history = History(database)

    page = await history.page_of_all(limit=3)
    rest = await history.page_of_all(limit=3, before=page[-1].seq)

    assert [each.owner for each in page + rest] == owners[::-1]


async def test_everybodys_list_is_filtered_by_state(queue: Queue, database: Database, ask: Ask) -> None:
    history, ran, waits, other = History(database), ask(), ask(owner="bob"), ask(owner="bob", model_id="a/two")
    for each in (ran, waits, other):
        await queue.add(each)
    claimed = await queue.claim(["a/one"], holder="h", lease=A_LEASE)
    assert claimed is not None
    await queue.finish(claimed, Succeeded(()))

    assert [each.id for each in await history.page_of_all(limit=9, state=State.IN_QUEUE)] == [other.id, waits.id]
    assert [each.id for each in await history.page_of_all(limit=9, state=State.COMPLETED)] == [ran.id]
    assert await history.page_of_all(limit=9, state=State.CANCELLED) == []


async def test_a_list_looks_at_little_more_than_it_tells(database: Database, database_kind: str) -> None:
    await database.write(lambda rows: rows.execute(MANY.format(most=MOST, id=RANDOM_ID[database_kind])))
    await database.write(lambda rows: rows.execute("ANALYZE requests"))

    for whose, who in LISTS:
        statement = EXPLAIN[database_kind] + lists._statement(len(State), whose)
        values = (*(value for state in State for value in (*who, state, NEWEST, 20)), 20)
        plan = await explained(database, statement, values)
        assert looked_at(plan) <= 2 * 20, "\n".join(plan)


async def explained(database: Database, statement: str, values: tuple[object, ...]) -> list[str]:
    return await database.read(lambda rows: [str(row[-1]) for row in rows.execute(statement, values).fetchall()])


def looked_at(plan: list[str]) -> int:
    """How many requests a plan has looked at. SQLite does not count them, but says by which index it finds them."""
    if any(re.match(r"(SCAN|SEARCH) requests (?!USING INDEX requests_of_)", line) for line in plan):
        return MOST
    told = [line for line in plan if " on requests" in line or "Removed by Filter" in line]
    return sum(int(re.findall(r"(?:rows=|Filter: )(\d+)", line)[-1]) for line in told)


async def test_an_administrator_cancels_whoevers_request_while_it_waits(queue: Queue, ask: Ask) -> None:
    waits, runs = ask(owner="bob"), ask(owner="carol")
    await queue.add(runs)
    await queue.claim(["a/one"], holder="h", lease=A_LEASE)
    await queue.add(waits)

    assert await queue.cancel(waits.id, None) is State.CANCELLED
    assert await queue.cancel(runs.id, None) is State.IN_PROGRESS
    with pytest.raises(ResourceNotFound):
        await queue.cancel(ask().id, None)


async def test_one_owner_cancels_nothing_of_anothers(queue: Queue, ask: Ask) -> None:
    request = ask(owner="bob")
    await queue.add(request)

    for owner in ("alice", "", "%"):
        with pytest.raises(ResourceNotFound):
            await queue.cancel(request.id, owner)
    assert (await queue.place(request.id, "bob")).state is State.IN_QUEUE
