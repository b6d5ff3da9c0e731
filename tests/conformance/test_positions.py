"""A position is exact: it is held against a plain count."""

import random
from collections.abc import Sequence
from datetime import timedelta

import pytest
from givens import A_LEASE, Ask

from gesso.core.pictures import Picture
from gesso.core.request import Failed, Options, Priority, Request
from gesso.core.states import State
from gesso.store.connection import Database
from gesso.store.moves import ADD
from gesso.store.queue import Queue
from gesso.store.rows import to_row

pytestmark = pytest.mark.anyio
MODELS = ["a/one", "a/two"]
WANTED = (Picture("image_urls", 0, "https://images.example/1.png"),)
PLAIN = """SELECT count(*) FROM requests AS other, requests AS mine
    WHERE mine.seq = ? AND other.state = 'in_queue' AND other.model_id = mine.model_id
    AND (other.priority, other.turn, other.seq) < (mine.priority, mine.turn, mine.seq)"""


async def plain_count(database: Database, seq: int) -> int:
    return int(await database.read(lambda rows: rows.execute(PLAIN, (seq,)).fetchone()[0]))


async def keep(database: Database, requests: Sequence[Request]) -> None:
    """Keep many in one transaction."""
    await database.write(lambda rows: [rows.execute(ADD, to_row(each)) for each in requests])


async def test_positions_stay_exact_whatever_comes_and_goes(database: Database, queue: Queue, ask: Ask) -> None:
    chance = random.Random(7)
    waiting = []
    for _ in range(400):
        match chance.randrange(5):
            case 0 | 1 | 2:
                options = Options(chance.choice(list(Priority)))
                owner = chance.choice(["alice", "bob", "carol"])
                pictures = WANTED * chance.randrange(2)
                waiting.append(ask(owner=owner, model_id=chance.choice(MODELS), pictures=pictures, options=options))
                await queue.add(waiting[-1])
            case 3 if waiting:
                gone = waiting.pop(chance.randrange(len(waiting)))
                await queue.cancel(gone.id, gone.owner)
            case 4:
                await queue.claim([chance.choice(MODELS)], holder="x", lease=A_LEASE)
                await queue.expire(patience=timedelta(milliseconds=chance.choice([5, 10**9])))
        places = [await queue.place(each.id, each.owner) for each in chance.sample(waiting, min(len(waiting), 5))]
        for place in places:
            if place.state is State.IN_QUEUE:
                assert place.position == await plain_count(database, place.seq)


async def test_positions_are_exact_across_blocks_and_priorities(database: Database, queue: Queue, ask: Ask) -> None:
    requests = [
        ask(model_id=MODELS[n % 2], pictures=WANTED * (n % 5 == 0), options=Options(Priority(1 - (n % 7 == 6))))
        for n in range(400)
    ]
    await keep(database, requests[:2])
    # As if four thousand had come and gone: what comes now goes from one large block into the next.
    await database.write(lambda rows: rows.execute("UPDATE requests SET turn = turn + 4000"))
    for start in range(2, 400, 50):
        await keep(database, requests[start : start + 50])
    chance = random.Random(7)
    for each in chance.sample(requests, 50):
        await queue.cancel(each.id, "alice")
    for _ in range(20):
        await queue.claim(MODELS, holder="x", lease=A_LEASE)

    places = [await queue.place(each.id, "alice") for each in requests]
    waiting = [place for place in places if place.state is State.IN_QUEUE]
    assert len(waiting) > 300
    assert [place.position for place in waiting] == [await plain_count(database, place.seq) for place in waiting]


@pytest.mark.only("sqlite")
async def test_a_position_costs_no_count_over_those_ahead(database: Database, queue: Queue, ask: Ask) -> None:
    requests = [ask() for _ in range(5000)]
    await database.write(lambda rows: rows.executemany(ADD, map(to_row, requests)))
    ticks = []
    await database.read(lambda rows: rows.set_progress_handler(lambda: ticks.append(1), 100))

    assert (await queue.place(requests[-1].id, "alice")).position == 4999
    assert len(ticks) * 100 < 5000  # instructions: those of a few blocks at most, whatever is ahead


async def test_those_who_start_have_left_the_line(queue: Queue, ask: Ask) -> None:
    first, second, third = ask(), ask(), ask()
    for each in (first, second, third):
        await queue.add(each)
    claimed = await queue.claim(MODELS, holder="x", lease=A_LEASE)
    assert claimed is not None
    await queue.release(claimed)

    assert [(await queue.place(each.id, "alice")).position for each in (second, third)] == [0, 1]


async def test_those_who_are_refused_have_left_the_line(queue: Queue, ask: Ask) -> None:
    first, second = ask(pictures=WANTED), ask()
    await queue.add(first)
    await queue.add(second)
    await queue.take_in(holder="x", limit=1, lease=timedelta(seconds=1))
    await queue.refuse(first, Failed(422002, "FetchFailed"))

    assert (await queue.place(second.id, "alice")).position == 0
