"""The outbox's promises: no end without its event, one attempt at a time, and the last attempt's word counts."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from givens import A_LEASE, Ask, Clock, kept

from gesso.core.errors import LeaseLost, ResourceNotFound
from gesso.core.pictures import Picture
from gesso.core.request import Failed, Options, Request, Succeeded
from gesso.store import outbox as outbox_module
from gesso.store.connection import Database
from gesso.store.files import Files
from gesso.store.outbox import Delivery, Outbox
from gesso.store.queue import Queue

pytestmark = pytest.mark.anyio
HOOK = "https://hooks.example/told?secret=1"
TOLD = Options(webhook=HOOK)
TOLD_TWICE = Options(webhook=HOOK, webhook_intermediate=True)
DONE, FAILED = Succeeded(()), Failed(502001, "EngineFailed", {"reason": "x"})
A_TRY = timedelta(seconds=60)
Move = Callable[[Queue, Request, Clock], Awaitable[object]]


@pytest.fixture(autouse=True)
def stopped(clock: Clock) -> None:
    """The clock is ours, and asked for before the database."""


@pytest.fixture
def outbox(database: Database) -> Outbox:
    return Outbox(database)


async def claimed(queue: Queue) -> Request:
    request = await queue.claim(["a/one"], holder="somebody", lease=A_LEASE)
    assert request is not None
    return request


async def ended(queue: Queue, ask: Ask, options: Options = TOLD, **given: Any) -> Request:
    """A request that has ended, with its delivery."""
    await queue.add(request := ask(options=options, **given))
    await queue.finish(await claimed(queue), DONE)
    return request


async def begun(outbox: Outbox, lease: timedelta = A_TRY) -> Delivery:
    """The one delivery that is due, with an attempt begun."""
    seqs = [front.seq for front in await outbox.fronts("") if front.seq is not None]
    (delivery,) = await outbox.claim(seqs, lease=lease)
    return delivery


async def only(outbox: Outbox) -> Delivery:
    (delivery,) = await outbox.list()
    return delivery


async def succeed(queue: Queue, request: Request, clock: Clock) -> None:
    await queue.finish(await claimed(queue), DONE)


async def fail(queue: Queue, request: Request, clock: Clock) -> None:
    await queue.finish(await claimed(queue), FAILED)


async def refuse(queue: Queue, request: Request, clock: Clock) -> None:
    assert await queue.refuse(request, FAILED)


async def cancel(queue: Queue, request: Request, clock: Clock) -> None:
    await queue.cancel(request.id, "alice")


async def expire(queue: Queue, request: Request, clock: Clock) -> None:
    clock.pass_by(timedelta(seconds=10))
    assert await queue.expire() == 1


async def give_up(queue: Queue, request: Request, clock: Clock) -> None:
    for _ in range(3):
        await queue.lose(await claimed(queue))
    assert await queue.give_up() == 1


WAITS_FOR_PICTURES = (Picture("image_urls", 0, "https://images.example/a.png"),)


@pytest.mark.parametrize("end", [succeed, fail, refuse, cancel, expire, give_up], ids=lambda end: end.__name__)
async def test_I14_whoever_ends_a_request_writes_its_event(
    queue: Queue, outbox: Outbox, ask: Ask, clock: Clock, end: Move
) -> None:
    options = Options(webhook=HOOK, start_within=timedelta(seconds=9) if end is expire else None)
    request = ask(options=options, pictures=WAITS_FOR_PICTURES if end is refuse else ())
    await queue.add(request)
    before = await outbox.list()
    await end(queue, request, clock)

    told = await only(outbox)
    assert before == []
    assert (told.request_id, told.owner, told.event, told.url) == (request.id, "alice", "finished", HOOK)
    assert (told.host, told.state, told.attempts, told.body) == ("hooks.example", "waiting", 0, None)
    assert told.id.startswith("msg_")


async def test_I14_an_end_that_is_rolled_back_leaves_no_event(queue: Queue, outbox: Outbox, ask: Ask) -> None:
    await queue.add(ask(options=TOLD))
    request, twice = await claimed(queue), [kept("0"), kept("0")]

    with pytest.raises(LeaseLost):
        await queue.finish(request, DONE, twice)
    assert await outbox.list() == []
    await queue.finish(request, DONE)
    assert (await only(outbox)).event == "finished"


async def test_a_request_without_a_webhook_writes_nothing(queue: Queue, outbox: Outbox, ask: Ask) -> None:
    await ended(queue, ask, Options(webhook_intermediate=True))

    assert await outbox.list() == []


async def test_the_start_is_told_once_and_only_where_it_was_asked_for(
    queue: Queue, outbox: Outbox, ask: Ask, clock: Clock
) -> None:
    await queue.add(ask(options=TOLD_TWICE))
    await claimed(queue)
    clock.pass_by(A_LEASE * 2)
    await queue.finish(await claimed(queue), DONE)
    after_two_attempts = [each.event for each in await outbox.list()]
    await ended(queue, ask, TOLD)

    assert after_two_attempts == ["finished", "in_progress"]
    assert [each.event for each in await outbox.list()] == ["finished", "finished", "in_progress"]


async def test_a_delivery_that_is_begun_is_nobody_elses_until_its_lease_ends(
    queue: Queue, outbox: Outbox, ask: Ask, clock: Clock
) -> None:
    await ended(queue, ask)
    first = await begun(outbox)
    meanwhile = await outbox.fronts(""), await outbox.claim([first.seq], lease=A_TRY)
    clock.pass_by(A_TRY)
    second = await begun(outbox)

    assert meanwhile == ([], [])
    assert (second.id, first.attempts, second.attempts) == (first.id, 1, 2)


async def test_I14_a_sender_that_comes_back_late_changes_nothing(
    queue: Queue, outbox: Outbox, ask: Ask, clock: Clock
) -> None:
    await ended(queue, ask)
    late = await begun(outbox)
    clock.pass_by(A_TRY)
    await begun(outbox)

    await outbox.fail(late, 500, "status", pause=None)
    await outbox.stop(late, 410)
    await outbox.deliver(late, 200)
    assert (await only(outbox)).state == "waiting"


async def test_I14_the_body_that_is_kept_first_is_sent_ever_after(queue: Queue, outbox: Outbox, ask: Ask) -> None:
    await ended(queue, ask)
    delivery = await begun(outbox)

    assert await outbox.keep_body(delivery, '{"a": "ä"}'.encode()) == '{"a": "ä"}'.encode()
    assert await outbox.keep_body(delivery, b'{"a": 2}') == '{"a": "ä"}'.encode()
    assert (await only(outbox)).body == '{"a": "ä"}'.encode()


async def test_a_failure_is_tried_again_after_its_pause_and_the_last_one_is_given_up(
    queue: Queue, outbox: Outbox, ask: Ask, clock: Clock
) -> None:
    await ended(queue, ask)
    await outbox.fail(await begun(outbox), 503, "status", pause=timedelta(minutes=5))
    waiting = await only(outbox)
    clock.pass_by(timedelta(minutes=5) - timedelta(microseconds=1))
    too_early = await outbox.fronts("")
    clock.pass_by(timedelta(microseconds=1))
    await outbox.fail(await begun(outbox), None, "timeout", pause=None)
    clock.pass_by(timedelta(days=30))

    last = await only(outbox)
    assert (waiting.failures, waiting.last_status, waiting.last_error) == (1, 503, "status")
    assert waiting.next_at == clock.moment - timedelta(days=30)
    assert too_early == []
    assert (last.state, last.failures, last.last_status, last.last_error) == ("given_up", 2, None, "timeout")
    assert await outbox.fronts("") == []


async def test_a_success_is_noted_with_its_moment(queue: Queue, outbox: Outbox, ask: Ask, clock: Clock) -> None:
    await ended(queue, ask)
    await outbox.deliver(await begun(outbox), 204)

    told = await only(outbox)
    assert (told.state, told.last_status, told.last_error, told.delivered_at) == ("delivered", 204, None, clock.moment)
    assert await outbox.fronts("") == []


async def test_a_receiver_that_has_gone_gets_no_other_delivery_of_the_request(
    queue: Queue, outbox: Outbox, ask: Ask
) -> None:
    await queue.add(ask(options=TOLD_TWICE))
    request = await claimed(queue)
    await outbox.stop(await begun(outbox), 410)
    await queue.finish(request, DONE)
    later = [each.state for each in await outbox.list()]
    other = await ended(queue, ask)

    assert later == ["stopped", "stopped"]
    assert [each.state for each in await outbox.list(request_id=other.id)] == ["waiting"]


async def test_a_receiver_that_has_gone_stops_what_waits_as_well(queue: Queue, outbox: Outbox, ask: Ask) -> None:
    request = await ended(queue, ask, TOLD_TWICE)
    first = await begun(outbox)
    await outbox.stop(first, 410)

    assert [each.state for each in await outbox.list(request_id=request.id)] == ["stopped", "stopped"]


async def test_a_replay_has_the_same_id_and_body_and_the_whole_schedule(
    queue: Queue, outbox: Outbox, ask: Ask, clock: Clock
) -> None:
    request = await ended(queue, ask)
    first = await begun(outbox)
    await outbox.keep_body(first, b"{}")
    await outbox.fail(first, None, "timeout", pause=None)

    assert await outbox.replay(delivery_id="msg_other") == []
    assert await outbox.replay(request_id="no id") == []
    assert await outbox.replay(delivery_id=first.id) == [first.id]
    again = await begun(outbox)
    assert (again.id, again.body, again.failures, again.attempts) == (first.id, b"{}", 0, 2)
    await outbox.deliver(again, 200)
    assert await outbox.replay(request_id=request.id) == [first.id]
    assert (await only(outbox)).state == "waiting"


async def test_I25_deliveries_are_forgotten_with_their_request(
    queue: Queue, outbox: Outbox, ask: Ask, clock: Clock, database: Database
) -> None:
    await ended(queue, ask)
    delivery = await begun(outbox)
    clock.pass_by(timedelta(days=7))
    await Files(database).forget_requests(retention=timedelta(days=7))

    assert await outbox.list() == []
    with pytest.raises(ResourceNotFound):
        await outbox.keep_body(delivery, b"{}")


async def test_each_owner_at_each_host_has_a_lane_and_the_oldest_comes_first_in_it(
    queue: Queue, outbox: Outbox, ask: Ask
) -> None:
    oldest = await ended(queue, ask)
    await ended(queue, ask)
    await ended(queue, ask, owner="bob the second")
    await ended(queue, ask, Options(webhook="https://hooks.example:8443/"))

    fronts = await outbox.fronts("")
    assert [(each.host, each.owner) for each in fronts] == [
        ("hooks.example", "alice"), ("hooks.example", "bob the second"), ("hooks.example:8443", "alice"),
    ]  # fmt: skip
    (delivery,) = await outbox.claim([fronts[0].seq or 0], lease=A_TRY)
    assert delivery.request_id == oldest.id
    assert await outbox.fronts(fronts[0].lane) == fronts[1:]


async def test_lanes_are_looked_at_a_page_at_a_time(
    queue: Queue, outbox: Outbox, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "PAGE", 2)
    for name in "abc":
        await ended(queue, ask, Options(webhook=f"https://{name}.example/"))

    first = await outbox.fronts("")
    rest = await outbox.fronts(first[-1].lane)
    assert [each.host for each in first] == ["a.example", "b.example"]
    assert [each.host for each in rest] == ["c.example"]


@pytest.mark.only("sqlite")
async def test_what_waits_at_a_receiver_that_is_down_makes_no_look_longer(
    queue: Queue, outbox: Outbox, ask: Ask, database: Database
) -> None:
    await ended(queue, ask)
    more = """WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?)
        INSERT INTO deliveries (id, request, owner, event, url, lane, state, created_at)
        SELECT 'more' || x, request, owner, event, url, lane, state, created_at FROM n, deliveries
            WHERE id LIKE 'msg_%'"""

    async def steps() -> int:
        """How many hundreds of steps of SQLite's machine one look takes."""
        count = [0]
        database._reader.set_progress_handler(lambda: count.__setitem__(0, count[0] + 1), 100)
        await outbox.fronts("")
        database._reader.set_progress_handler(None, 0)
        return count[0]

    before = await steps()
    await database.write(lambda rows: rows.execute(more, (20_000,)))
    await ended(queue, ask, Options(webhook="https://other.example/"))
    assert await steps() <= before + 1


async def test_the_log_is_read_by_request_and_by_state(queue: Queue, outbox: Outbox, ask: Ask) -> None:
    first, second = await ended(queue, ask), await ended(queue, ask)
    await outbox.deliver((await outbox.claim([(await outbox.fronts(""))[0].seq or 0], lease=A_TRY))[0], 200)

    assert [each.request_id for each in await outbox.list()] == [second.id, first.id]
    assert [each.request_id for each in await outbox.list(state="delivered")] == [first.id]
    assert [each.state for each in await outbox.list(request_id=second.id)] == ["waiting"]
    assert await outbox.list(request_id=second.id, state="delivered") == []
    assert await outbox.list(request_id="no id") == []
    assert len(await outbox.list(limit=1)) == 1


async def test_two_secrets_are_good_for_a_day_after_a_rotation(outbox: Outbox, clock: Clock) -> None:
    assert list(await outbox.generations("alice")) == [0]
    await outbox.rotate("alice")
    assert list(await outbox.generations("alice")) == [1, 0]
    await outbox.rotate("alice")
    clock.pass_by(timedelta(days=1))
    assert list(await outbox.generations("alice")) == [2]
    assert list(await outbox.generations("bob")) == [0]
