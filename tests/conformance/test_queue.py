"""The queue's promises: what is added is kept, who claims what, and whose word counts."""

import asyncio
import inspect
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from givens import A_LEASE, REFUSED, Ask, Clock, kept, rows

from gesso.core.errors import LeaseLost, ResourceNotFound
from gesso.core.pictures import Picture
from gesso.core.request import Failed, Request, Succeeded
from gesso.core.states import State
from gesso.store.connection import Database, Waiter
from gesso.store.once import Once
from gesso.store.queue import Queue

pytestmark = pytest.mark.anyio
ONE = ["a/one"]
DONE = Succeeded(())


async def claim(queue: Queue, holder: str = "somebody", models: list[str] = ONE) -> Request:
    claimed = await queue.claim(models, holder=holder, lease=A_LEASE)
    assert claimed is not None
    return claimed


async def look(how: Callable[[str, str], Any], request_id: str, owner: str) -> None:
    told = how(request_id, owner)
    if inspect.isawaitable(told):
        await told


async def test_I01_what_was_added_is_there_for_everybody_else(queue: Queue, ask: Ask, folder: Path) -> None:
    request = ask(input={"prompt": "warmer", "seed": 3}, language="ja")
    await queue.add(request)

    assert len(rows(folder)) == 1
    assert await queue.get(request.id, "alice") == request


async def test_a_request_that_is_added_twice_is_kept_once(queue: Queue, ask: Ask) -> None:
    request = ask()
    await queue.add(request)

    with pytest.raises(REFUSED):
        await queue.add(request)


async def test_a_request_and_the_pictures_that_came_with_it_are_kept_together(
    queue: Queue, ask: Ask, folder: Path
) -> None:
    picture = kept("0", "input")

    with pytest.raises(LeaseLost):
        await queue.add(ask(), [picture, picture])
    assert rows(folder) == rows(folder, "files") == []


async def test_I16_requests_are_claimed_in_the_order_of_their_submit(queue: Queue, ask: Ask) -> None:
    requests = [ask() for _ in range(5)]
    for request in requests:
        await queue.add(request)

    assert [(await claim(queue)).id for _ in requests] == [request.id for request in requests]


async def test_I16_a_smaller_priority_goes_first_and_within_it_the_oldest(
    queue: Queue, database: Database, ask: Ask
) -> None:
    requests = [ask() for _ in range(6)]
    for request in requests:
        await queue.add(request)
    # Nothing sets a priority yet: the rows are given theirs by hand, and the counts of who waits with them.
    await database.write(lambda rows: rows.execute("UPDATE requests SET priority = seq % 2"))

    claimed = [(await claim(queue)).id for _ in requests]

    assert claimed == [requests[n].id for n in (1, 3, 5, 0, 2, 4)]


async def test_only_the_models_that_are_asked_for_are_claimed(queue: Queue, ask: Ask) -> None:
    await queue.add(ask(model_id="a/one"))
    two, three = ask(model_id="a/two"), ask(model_id="a/three")
    await queue.add(two)
    await queue.add(three)

    assert (await claim(queue, models=["a/three", "a/two"])).id == three.id
    assert (await claim(queue, models=["a/three", "a/two"])).id == two.id
    assert await queue.claim(["a/three", "a/two"], holder="x", lease=A_LEASE) is None


async def test_I15_nothing_is_claimed_before_its_pictures_are_frozen(queue: Queue, ask: Ask) -> None:
    waits = ask(pictures=(Picture("image_urls", 0, "https://images.example/1.png"),))
    ready = ask()
    await queue.add(waits)
    await queue.add(ready)

    assert (await claim(queue)).id == ready.id
    assert await queue.claim(ONE, holder="x", lease=A_LEASE) is None


async def test_next_tells_what_claim_takes_and_takes_nothing(queue: Queue, ask: Ask) -> None:
    request = ask()
    await queue.add(request)

    seen = await queue.next(ONE)

    assert seen == request
    assert (await claim(queue)).id == request.id
    assert await queue.next(ONE) is None


async def test_a_claim_starts_a_request_and_a_second_one_does_not_start_it_again(
    clock: Clock, queue: Queue, ask: Ask
) -> None:
    await queue.add(ask())
    first = await claim(queue)
    clock.pass_by(A_LEASE)
    second = await claim(queue)

    assert (first.state, first.attempt, second.attempt) == (State.IN_PROGRESS, 1, 2)
    assert second.started_at == first.started_at is not None


async def test_I07_a_claimed_request_is_nobody_elses_while_its_lease_lasts(
    clock: Clock, queue: Queue, ask: Ask
) -> None:
    await queue.add(ask())
    await claim(queue)
    clock.pass_by(A_LEASE - timedelta(microseconds=1))

    assert await queue.claim(ONE, holder="x", lease=A_LEASE) is None


async def test_I09_a_lease_that_ended_is_claimed_again_and_counts_one_loss(
    clock: Clock, queue: Queue, ask: Ask
) -> None:
    await queue.add(ask())
    await claim(queue)
    clock.pass_by(A_LEASE)

    again = await claim(queue)

    assert (again.attempt, again.losses) == (2, 1)


async def test_I09_ended_leases_go_before_those_that_wait(clock: Clock, queue: Queue, ask: Ask) -> None:
    lost = ask()
    await queue.add(lost)
    await claim(queue)
    await queue.add(ask())
    clock.pass_by(A_LEASE)

    assert (await claim(queue)).id == lost.id


async def test_I19_a_lease_from_a_future_that_cannot_be_has_ended(clock: Clock, queue: Queue, ask: Ask) -> None:
    await queue.add(ask())
    await claim(queue)
    clock.pass_by(-timedelta(days=2))

    assert (await claim(queue)).attempt == 2


async def test_I07_a_renewed_lease_lasts_from_the_renewal_on(clock: Clock, queue: Queue, ask: Ask) -> None:
    await queue.add(ask())
    held = await claim(queue)
    clock.pass_by(A_LEASE / 2)
    await queue.renew(held, A_LEASE)
    clock.pass_by(A_LEASE / 2)

    assert await queue.claim(ONE, holder="x", lease=A_LEASE) is None


async def test_I08_a_renewal_revives_no_lease_that_ended(clock: Clock, queue: Queue, ask: Ask) -> None:
    await queue.add(ask())
    held = await claim(queue)
    clock.pass_by(A_LEASE)

    with pytest.raises(LeaseLost):
        await queue.renew(held, A_LEASE)
    assert (await claim(queue)).attempt == 2


@pytest.mark.parametrize("let_go", ["release", "lose"])
async def test_I08_a_renewal_revives_no_lease_that_was_let_go(queue: Queue, ask: Ask, let_go: str) -> None:
    await queue.add(ask())
    held = await claim(queue)
    await getattr(queue, let_go)(held)

    with pytest.raises(LeaseLost):
        await queue.renew(held, A_LEASE)


@pytest.mark.parametrize("write", ["renew", "finish", "release", "lose"])
async def test_I08_a_stale_attempt_changes_nothing(
    clock: Clock, queue: Queue, ask: Ask, folder: Path, write: str
) -> None:
    await queue.add(ask())
    stale = await claim(queue)
    clock.pass_by(A_LEASE)
    await claim(queue)
    before = rows(folder)
    more = {"renew": [A_LEASE], "finish": [DONE, [kept("0")]]}

    with pytest.raises(LeaseLost):
        await getattr(queue, write)(stale, *more.get(write, []))
    assert rows(folder) == before


@pytest.mark.parametrize("write", ["renew", "finish", "release", "lose"])
async def test_I04_nobody_has_a_say_once_a_request_has_ended(queue: Queue, ask: Ask, folder: Path, write: str) -> None:
    await queue.add(ask())
    held = await claim(queue)
    await queue.finish(held, DONE)
    before = rows(folder)
    more = {"renew": [A_LEASE], "finish": [Failed(502001, "EngineFailed")]}

    with pytest.raises(LeaseLost):
        await getattr(queue, write)(held, *more.get(write, []))
    assert rows(folder) == before


async def test_I20_a_late_finish_counts_while_nobody_else_has_claimed(clock: Clock, queue: Queue, ask: Ask) -> None:
    await queue.add(ask())
    held = await claim(queue)
    clock.pass_by(A_LEASE)
    await queue.finish(held, DONE)

    assert (await queue.get(held.id, "alice")).outcome == DONE


async def test_an_outcome_is_read_as_it_was_told(queue: Queue, ask: Ask) -> None:
    file = kept("0")
    outcome = Succeeded((file,), {"seed": 4})
    await queue.add(ask())
    held = await claim(queue)
    await queue.finish(held, outcome, [file])

    ended = await queue.get(held.id, "alice")

    assert (ended.state, ended.outcome) == (State.COMPLETED, outcome)
    assert ended.finished_at is not None


async def test_I12_the_files_of_an_output_are_known_with_the_end_or_not_at_all(
    queue: Queue, ask: Ask, folder: Path
) -> None:
    file = kept("0")
    await queue.add(ask())
    held = await claim(queue)

    with pytest.raises(LeaseLost):
        await queue.finish(held, Succeeded((file, file)), [file, file])
    assert (await queue.get(held.id, "alice")).state is State.IN_PROGRESS
    assert rows(folder, "files") == []


async def test_I10_an_attempt_that_is_handed_back_counts_no_loss_however_often(queue: Queue, ask: Ask) -> None:
    await queue.add(ask())
    for _ in range(5):
        await queue.release(await claim(queue))
    again = await claim(queue)

    assert (again.attempt, again.losses) == (6, 0)


async def test_I10_handing_back_forgives_no_earlier_loss(queue: Queue, ask: Ask) -> None:
    await queue.add(ask())
    await queue.lose(await claim(queue))
    await queue.release(await claim(queue))
    again = await claim(queue)

    assert (again.attempt, again.losses) == (3, 1)


@pytest.mark.parametrize("attempts", [1, 2, 3])
async def test_I10_a_request_is_given_up_after_its_last_lost_holder_and_never_before(
    database: Database, ask: Ask, attempts: int
) -> None:
    queue = Queue(database, attempts=attempts)
    request = ask()
    await queue.add(request)
    given_up = []
    for _ in range(attempts):
        await queue.lose(await claim(queue))
        given_up.append(await queue.give_up())
    ended = await queue.get(request.id, "alice")

    assert given_up == [0] * (attempts - 1) + [1]
    assert ended.outcome == Failed(503002, "WorkerLost", {"attempts": attempts})
    assert ended.losses == ended.attempt == attempts


async def test_I10_a_request_without_attempts_left_is_not_claimed_but_others_are(queue: Queue, ask: Ask) -> None:
    poison, good = ask(), ask()
    await queue.add(poison)
    for _ in range(3):
        await queue.lose(await claim(queue))
    await queue.add(good)

    assert (await claim(queue)).id == good.id


async def test_I10_a_request_that_runs_is_not_given_up(clock: Clock, queue: Queue, ask: Ask) -> None:
    await queue.add(ask())
    for _ in range(2):
        await queue.lose(await claim(queue))
    await claim(queue)
    clock.pass_by(A_LEASE - timedelta(microseconds=1))

    assert await queue.give_up() == 0
    assert not await queue.has_expired_leases()


async def test_a_lease_that_ended_is_seen(clock: Clock, queue: Queue, ask: Ask) -> None:
    await queue.add(ask())
    await claim(queue)
    clock.pass_by(A_LEASE)

    assert await queue.has_expired_leases()


@pytest.mark.only("sqlite")
async def test_I09_the_leases_of_a_dead_process_end_at_once_and_those_of_a_living_one_do_not(
    queue: Queue, ask: Ask, waiter: Waiter
) -> None:
    await queue.add(ask())
    await queue.add(ask())
    dead = await claim(queue, holder="nobody")
    alive = await claim(queue, holder=waiter.name)

    assert await queue.end_leases_of_the_dead() == 1
    assert (await claim(queue)).id == dead.id
    await queue.renew(alive, A_LEASE)


async def test_I11_a_waiting_request_is_cancelled_and_never_claimed(queue: Queue, ask: Ask) -> None:
    request = ask()
    await queue.add(request)

    assert await queue.cancel(request.id, "alice") is State.CANCELLED
    assert await queue.claim(ONE, holder="x", lease=A_LEASE) is None
    assert (await queue.get(request.id, "alice")).started_at is None


async def test_I11_cancelling_twice_is_cancelling_once(queue: Queue, ask: Ask) -> None:
    request = ask()
    await queue.add(request)
    await queue.cancel(request.id, "alice")
    ended = (await queue.get(request.id, "alice")).finished_at

    assert await queue.cancel(request.id, "alice") is State.CANCELLED
    assert (await queue.get(request.id, "alice")).finished_at == ended


async def test_I11_what_runs_or_has_ended_is_not_cancelled(queue: Queue, ask: Ask) -> None:
    await queue.add(ask())
    held = await claim(queue)

    assert await queue.cancel(held.id, "alice") is State.IN_PROGRESS
    await queue.release(held)
    assert await queue.cancel(held.id, "alice") is State.IN_PROGRESS
    await queue.finish(held, DONE)
    assert await queue.cancel(held.id, "alice") is State.COMPLETED


async def test_I11_of_a_cancel_and_a_claim_one_wins_and_both_are_told_the_same(
    database: Database, another: Database, ask: Ask
) -> None:
    ours, theirs = Queue(database), Queue(another)
    seen = []
    for round_ in range(100):
        request = ask()
        await ours.add(request)
        moves = [theirs.claim(ONE, holder="x", lease=A_LEASE), ours.cancel(request.id, "alice")]
        told = await asyncio.gather(*(moves if round_ % 2 else reversed(moves)))
        claimed, cancelled = told if round_ % 2 else reversed(told)
        seen.append((claimed is not None, cancelled, (await ours.get(request.id, "alice")).state))
        if claimed is not None:
            await theirs.finish(claimed, DONE)

    running = (True, State.IN_PROGRESS, State.IN_PROGRESS)
    cancelled = (False, State.CANCELLED, State.CANCELLED)
    assert set(seen) == {running, cancelled}


async def test_I07_of_many_claims_at_once_each_request_goes_to_one(
    database: Database, another: Database, ask: Ask
) -> None:
    queues = [Queue(database), Queue(another)]
    await asyncio.gather(*(queues[0].add(ask()) for _ in range(50)))

    claimed = await asyncio.gather(*(queues[n % 2].claim(ONE, holder="x", lease=A_LEASE) for n in range(60)))

    ids = [each.id for each in claimed if each is not None]
    assert len(ids) == len(set(ids)) == 50


@pytest.mark.parametrize("foreign", ["get", "place", "cancel"])
async def test_another_owners_request_is_as_unknown_as_one_that_never_was(queue: Queue, ask: Ask, foreign: str) -> None:
    request = ask()
    await queue.add(request)

    for request_id, owner in [(request.id, "bob"), (ask().id, "alice"), ("no id", "alice"), ("\u0661" * 36, "alice")]:
        with pytest.raises(ResourceNotFound):
            await look(getattr(queue, foreign), request_id, owner)
    assert (await queue.get(request.id, "alice")).state is State.IN_QUEUE


async def test_what_an_attempt_remembers_is_told_to_the_next(clock: Clock, queue: Queue, ask: Ask) -> None:
    await queue.add(ask())
    first = await claim(queue)
    await queue.remember(first, "job 7")
    clock.pass_by(A_LEASE)

    assert (first.remembered, (await claim(queue)).remembered) == (None, "job 7")


async def test_I08_a_stale_attempt_leaves_no_word(clock: Clock, queue: Queue, ask: Ask) -> None:
    await queue.add(ask())
    stale = await claim(queue)
    clock.pass_by(A_LEASE)
    await claim(queue)

    with pytest.raises(LeaseLost):
        await queue.remember(stale, "job 7")


async def test_I05_of_many_submits_under_one_key_at_once_one_is_kept_and_all_are_told_of_it(
    database: Database, another: Database, ask: Ask, folder: Path
) -> None:
    queues, same = [Queue(database), Queue(another)], Once("key", b"f" * 32)

    told = await asyncio.gather(*(queues[n % 2].add(ask(), [kept(f"{n:x}", "input")], same) for n in range(16)))

    assert len(set(told)) == len(rows(folder)) == len(rows(folder, "files")) == 1


async def test_I05_a_key_is_free_again_after_a_day_and_not_before(clock: Clock, queue: Queue, ask: Ask) -> None:
    same, requests = Once("key", b"f" * 32), [ask(), ask(), ask()]
    told = [await queue.add(requests[0], same=same)]
    clock.pass_by(timedelta(days=1, microseconds=-1))
    told.append(await queue.add(requests[1], same=same))
    clock.pass_by(timedelta(microseconds=1))
    told.append(await queue.add(requests[2], same=same))

    assert told == [requests[0].id, requests[0].id, requests[2].id]
