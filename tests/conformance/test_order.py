"""Who starts before whom: priority, owners in turn, deadlines; and nobody waits for ever."""

from datetime import timedelta

import pytest
from givens import A_LEASE, Ask, Clock
from test_positions import WANTED

from gesso.core.pictures import Picture
from gesso.core.request import Failed, Options, Priority, Request
from gesso.core.states import State
from gesso.store import moves
from gesso.store.queue import Queue

pytestmark = pytest.mark.anyio
ONE = ["a/one"]
A_MINUTE, A_MOMENT = timedelta(minutes=1), timedelta(microseconds=1)
HIGH, LOW = Options(Priority.HIGH), Options(Priority.LOW)


async def started(queue: Queue, count: int) -> list[Request]:
    """The next *count* requests, in the order in which they start."""
    claims = [await queue.claim(ONE, holder="x", lease=A_LEASE) for _ in range(count)]
    return [each for each in claims if each is not None]


async def added(queue: Queue, *requests: Request) -> None:
    for each in requests:
        await queue.add(each)


async def come_late(queue: Queue, count: int) -> None:
    """The pictures of the *count* oldest that lack theirs come."""
    for taken in await queue.take_in(holder="x", limit=count, lease=A_LEASE):
        await queue.freeze(taken, [Picture("image_urls", 0, "https://images.example/1.png", "a" * 32)], [])


async def test_I16_the_requests_of_one_owner_start_in_the_order_of_their_submits(queue: Queue, ask: Ask) -> None:
    requests = [ask() for _ in range(40)]
    await added(queue, *requests)

    assert [each.id for each in await started(queue, 40)] == [each.id for each in requests]


async def test_I24_an_owner_does_not_wait_for_all_that_another_has_submitted(queue: Queue, ask: Ask) -> None:
    await added(queue, *(ask(owner="flood") for _ in range(100)))
    await started(queue, 10)
    await added(queue, *(ask(owner="guest") for _ in range(3)))

    assert [each.owner for each in await started(queue, 6)] == ["flood", "guest"] * 3


async def test_I24_owners_who_flood_alike_take_turns(queue: Queue, ask: Ask) -> None:
    for owner in ("one", "two", "three"):
        await added(queue, *(ask(owner=owner) for _ in range(20)))
    owners = [each.owner for each in await started(queue, 60)]

    assert owners == ["one", "two", "three"] * 20


async def test_I24_of_several_models_fronts_that_of_another_owner_than_the_last_goes_first(
    queue: Queue, ask: Ask
) -> None:
    await added(queue, *(ask(owner="flood", model_id=name) for name in ("a/one", "a/two") for _ in range(20)))
    await added(queue, ask(owner="guest", model_id="a/three"), ask(owner="flood", model_id="a/two", options=HIGH))
    models = ["a/one", "a/two", "a/three"]

    async def next_owner(models: list[str], after: str) -> tuple[str, str]:
        ahead = await queue.next(models, after)
        claimed = await queue.claim(models, holder="x", lease=A_LEASE, after=after)
        assert ahead is not None
        assert claimed is not None
        assert ahead.id == claimed.id
        return claimed.model_id, claimed.owner

    assert await next_owner(models, "flood") == ("a/two", "flood"), "what is urgent comes before all else"
    assert await next_owner(models, "flood") == ("a/three", "guest")
    assert await next_owner(models, "guest") == ("a/one", "flood")
    assert await next_owner(models[::-1], "flood") == ("a/two", "flood"), "the model that is named first"


async def test_an_owner_who_comes_back_has_saved_up_no_turns(queue: Queue, ask: Ask) -> None:
    await added(queue, ask(owner="guest"))
    await started(queue, 1)
    await added(queue, *(ask(owner="busy") for _ in range(30)))
    await started(queue, 20)
    await added(queue, *(ask(owner="guest") for _ in range(5)))

    assert [each.owner for each in await started(queue, 10)] == ["busy", "guest"] * 5


async def test_owners_take_turns_while_pictures_are_still_on_their_way(queue: Queue, ask: Ask) -> None:
    await added(queue, *(ask(owner="flood", pictures=WANTED) for _ in range(20)))
    await queue.cancel((await queue.take_in(holder="x", limit=1, lease=A_LEASE))[0].id, "flood")
    guest = ask(owner="guest")
    await added(queue, guest)

    assert (await queue.place(guest.id, "guest")).position == 1


async def test_I24_one_picture_that_hangs_puts_nobody_behind_a_flood(queue: Queue, ask: Ask) -> None:
    await added(queue, *(ask(owner="flood") for _ in range(30)), ask(owner="flood", pictures=WANTED))
    await added(queue, ask(owner="guest"))

    assert [each.owner for each in await started(queue, 3)] == ["flood", "guest", "flood"]


async def test_I24_a_picture_that_comes_late_lets_nobody_in_before_those_who_wait(queue: Queue, ask: Ask) -> None:
    await added(queue, ask(owner="late", pictures=WANTED), *(ask(owner="busy") for _ in range(30)))
    await started(queue, 20)
    await come_late(queue, 1)
    await added(queue, *(ask(owner="guest") for _ in range(10)))

    assert [each.owner for each in await started(queue, 6)] == ["busy", "guest", "late", "busy", "guest", "busy"]


async def test_I24_many_pictures_that_come_late_take_turns_all_the_same(queue: Queue, ask: Ask) -> None:
    await added(queue, *(ask(owner="late", pictures=WANTED) for _ in range(8)), ask(owner="late"))
    await added(queue, *(ask(owner="busy") for _ in range(30)))
    await started(queue, 20)
    await come_late(queue, 8)
    await added(queue, *(ask(owner="guest") for _ in range(10)))

    assert [each.owner for each in await started(queue, 8)] == ["busy", "guest"] + ["late", "busy", "guest"] * 2


async def test_I16_a_picture_that_comes_late_comes_before_its_owners_later_requests(queue: Queue, ask: Ask) -> None:
    mine = [ask(owner="late", pictures=WANTED), ask(owner="late", pictures=WANTED), *(ask(owner="late") for _ in "abc")]
    await added(queue, *mine, *(ask(owner="busy") for _ in range(30)))
    await started(queue, 9)
    later = [ask(owner="late") for _ in range(3)]
    await added(queue, *later)
    await come_late(queue, 2)
    places = [(await queue.place(each.id, "late")).position for each in (*mine[:2], *later)]

    starts = [each.id for each in await started(queue, 11)]

    assert places == [1, 3, 6, 8, 10]
    assert [starts[place] for place in places] == [each.id for each in (*mine[:2], *later)]


async def test_a_picture_that_comes_late_to_a_flood_moves_none_of_it_and_comes_before_it_all_the_same(
    queue: Queue, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "MOST_MOVED", 5)
    late = ask(owner="flood", pictures=WANTED)
    await added(queue, late, *(ask(owner="flood") for _ in range(9)))
    started_before = await started(queue, 2)
    await added(queue, ask(owner="guest"))
    await come_late(queue, 1)
    starts = await started(queue, 9)

    assert len(started_before) == 2
    assert next(each.id for each in starts if each.owner == "flood") == late.id
    assert "guest" in [each.owner for each in starts[:3]]


async def test_what_is_urgent_starts_first_and_what_is_not_starts_last(queue: Queue, ask: Ask) -> None:
    low, normal, high = ask(options=LOW), ask(), ask(options=HIGH)
    await added(queue, low, normal, high)

    assert [(await queue.place(each.id, "alice")).position for each in (low, normal, high)] == [2, 1, 0]
    assert [each.id for each in await started(queue, 3)] == [high.id, normal.id, low.id]


async def test_I16_low_priority_does_not_wait_for_ever(clock: Clock, queue: Queue, ask: Ask) -> None:
    low, later = ask(options=LOW, at=clock.moment), ask(options=LOW, at=clock.moment + A_MINUTE)
    await added(queue, low, later, *(ask(owner="flood") for _ in range(50)))
    clock.pass_by(A_MINUTE - A_MOMENT)
    await queue.expire(patience=A_MINUTE)
    assert (await queue.place(low.id, "alice")).position == 50
    clock.pass_by(A_MOMENT)
    await queue.expire(patience=A_MINUTE)

    assert (await queue.place(low.id, "alice")).position == 1
    assert (await queue.place(later.id, "alice")).position == 51
    assert [each.id for each in await started(queue, 2)][1:] == [low.id]


async def test_a_request_is_not_started_once_its_time_in_the_queue_is_over(
    clock: Clock, queue: Queue, ask: Ask
) -> None:
    late, other = ask(at=clock.moment, options=Options(start_within=A_MINUTE)), ask()
    await added(queue, late, other)
    clock.pass_by(A_MINUTE)

    assert [each.id for each in await started(queue, 2)] == [other.id]
    assert await queue.expire() == 1
    ended = await queue.get(late.id, "alice")
    assert (ended.state, ended.started_at, ended.attempt) == (State.CANCELLED, None, 0)
    assert isinstance(ended.outcome, Failed)
    assert ended.outcome.code == 408001


async def test_a_request_that_starts_on_the_last_moment_is_never_expired(clock: Clock, queue: Queue, ask: Ask) -> None:
    request = ask(at=clock.moment, options=Options(start_within=A_MINUTE))
    await added(queue, request)
    clock.pass_by(A_MINUTE - A_MOMENT)
    (claimed,) = await started(queue, 1)
    clock.pass_by(A_MINUTE)

    assert await queue.expire() == 0
    assert claimed.options == Options(start_within=A_MINUTE)
    assert (await queue.get(request.id, "alice")).state is State.IN_PROGRESS


async def test_options_are_kept_with_the_request(queue: Queue, ask: Ask) -> None:
    request = ask(options=Options(Priority.LOW, None, "https://example.org/hook", webhook_intermediate=True))
    await added(queue, request)

    assert (await queue.get(request.id, "alice")).options == request.options
