"""The queue's promises to intake: pictures are fetched by one, frozen once, and by somebody else if that one dies."""

from datetime import timedelta
from pathlib import Path

import pytest
from givens import A_LEASE, Ask, Clock, kept, rows

from gesso.core.errors import Problem
from gesso.core.pictures import Picture
from gesso.core.request import Failed
from gesso.core.states import State
from gesso.store.connection import Waiter
from gesso.store.queue import Queue

pytestmark = pytest.mark.anyio
WANTED = (
    Picture("image_urls", 0, "https://images.example/1.png"),
    Picture("image_urls", 1, None, "b" * 32),
)
FROZEN = (Picture("image_urls", 0, "https://images.example/1.png", "a" * 32), WANTED[1])
REFUSAL = Failed(422001, "InputRejected", {}, (Problem(("body", "image_urls", 0), "width_pixels>", {"limit": 384}),))


async def test_requests_are_taken_in_oldest_first_and_only_those_that_need_it(queue: Queue, ask: Ask) -> None:
    requests = [ask(pictures=WANTED), ask(), ask(pictures=WANTED), ask(pictures=WANTED)]
    for each in requests:
        await queue.add(each)

    taken = await queue.take_in(holder="x", limit=2, lease=A_LEASE)

    assert [each.id for each in taken] == [requests[0].id, requests[2].id]
    assert [each.id for each in await queue.take_in(holder="x", limit=2, lease=A_LEASE)] == [requests[3].id]


async def test_nobody_else_is_given_what_is_taken_in_until_the_lease_ends(clock: Clock, queue: Queue, ask: Ask) -> None:
    await queue.add(ask(pictures=WANTED))
    await queue.take_in(holder="x", limit=9, lease=A_LEASE)
    clock.pass_by(A_LEASE - timedelta(microseconds=1))

    assert await queue.take_in(holder="y", limit=9, lease=A_LEASE) == []
    clock.pass_by(timedelta(microseconds=1))
    assert len(await queue.take_in(holder="y", limit=9, lease=A_LEASE)) == 1


@pytest.mark.only("sqlite")
async def test_I09_what_a_dead_process_took_in_is_free_at_once(queue: Queue, ask: Ask, waiter: Waiter) -> None:
    await queue.add(ask(pictures=WANTED))
    await queue.take_in(holder="nobody", limit=1, lease=A_LEASE)
    await queue.add(ask(pictures=WANTED))
    await queue.take_in(holder=waiter.name, limit=1, lease=A_LEASE)

    assert await queue.end_leases_of_the_dead() == 1
    assert len(await queue.take_in(holder="y", limit=9, lease=A_LEASE)) == 1


async def test_I19_an_intake_lease_from_a_future_that_cannot_be_has_ended(clock: Clock, queue: Queue, ask: Ask) -> None:
    await queue.add(ask(pictures=WANTED))
    await queue.take_in(holder="x", limit=1, lease=A_LEASE)
    clock.pass_by(-timedelta(days=2))

    assert len(await queue.take_in(holder="y", limit=9, lease=A_LEASE)) == 1


async def test_I24_of_an_owner_who_is_busy_nothing_is_taken_in_and_of_others_it_is(queue: Queue, ask: Ask) -> None:
    for owner in ("busy", "busy", "alice", "busy", "bob"):
        await queue.add(ask(owner=owner, pictures=WANTED))

    taken = await queue.take_in(holder="x", limit=9, lease=A_LEASE, busy=["busy", "nobody"])
    assert [each.owner for each in taken] == ["alice", "bob"]
    assert await queue.take_in(holder="x", limit=9, lease=A_LEASE, busy=["busy"]) == []
    assert len(await queue.take_in(holder="x", limit=2, lease=A_LEASE)) == 2


async def test_I15_a_request_can_be_claimed_once_its_pictures_are_frozen(queue: Queue, ask: Ask, folder: Path) -> None:
    request = ask(pictures=WANTED)
    await queue.add(request)
    (taken,) = await queue.take_in(holder="x", limit=1, lease=A_LEASE)

    assert await queue.freeze(taken, FROZEN, [kept("a", "input")])
    claimed = await queue.claim(["a/one"], holder="x", lease=A_LEASE)
    assert claimed is not None
    assert claimed.pictures == FROZEN
    assert [row[0] for row in rows(folder, "files")] == ["a" * 32]


async def test_I15_the_first_bytes_that_are_frozen_count(queue: Queue, ask: Ask, folder: Path) -> None:
    request = ask(pictures=WANTED)
    await queue.add(request)
    await queue.freeze(request, FROZEN, [kept("a", "input")])
    later = (Picture("image_urls", 0, "https://images.example/1.png", "c" * 32), WANTED[1])

    assert not await queue.freeze(request, later, [kept("c", "input")])
    assert (await queue.get(request.id, "alice")).pictures == FROZEN
    assert [row[0] for row in rows(folder, "files")] == ["a" * 32]


async def test_I15_a_late_refusal_does_not_end_what_somebody_else_has_frozen(queue: Queue, ask: Ask) -> None:
    request = ask(pictures=WANTED)
    await queue.add(request)
    await queue.freeze(request, FROZEN, [kept("a", "input")])

    assert not await queue.refuse(request, REFUSAL)
    assert (await queue.get(request.id, "alice")).state is State.IN_QUEUE


async def test_a_refused_request_ends_unrun_with_what_is_wrong(queue: Queue, ask: Ask) -> None:
    request = ask(pictures=WANTED)
    await queue.add(request)

    assert await queue.refuse(request, REFUSAL)
    ended = await queue.get(request.id, "alice")
    assert (ended.state, ended.outcome, ended.attempt) == (State.COMPLETED, REFUSAL, 0)
    assert await queue.take_in(holder="x", limit=9, lease=A_LEASE) == []


async def test_I11_a_cancelled_request_is_neither_frozen_nor_refused(queue: Queue, ask: Ask, folder: Path) -> None:
    request = ask(pictures=WANTED)
    await queue.add(request)
    (taken,) = await queue.take_in(holder="x", limit=1, lease=A_LEASE)
    await queue.cancel(request.id, "alice")

    assert not await queue.freeze(taken, FROZEN, [kept("a", "input")])
    assert not await queue.refuse(taken, REFUSAL)
    assert (await queue.get(request.id, "alice")).state is State.CANCELLED
    assert rows(folder, "files") == []
