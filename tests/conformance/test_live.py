"""What the store keeps of what is under way: steps, workers, and the lists of an owner's requests."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from givens import A_LEASE, Ask, Clock

from gesso.core.pictures import Picture
from gesso.core.request import Failed, Request, Succeeded
from gesso.core.states import State
from gesso.store.database import Database
from gesso.store.history import Entry, History
from gesso.store.progress import Mark, Preview, Progress, Step
from gesso.store.queue import Queue
from gesso.store.workers import Pace, Workers

HALF = Step(0.5, 5, 10, 2.0)
JPEG = Preview(b"jpeg", 64, 48)


@pytest.fixture
def progress(database: Database) -> Progress:
    return Progress(database)


@pytest.fixture
def workers(database: Database) -> Workers:
    return Workers(database)


async def running(queue: Queue, ask: Ask) -> Request:
    await queue.add(ask())
    request = await queue.claim(["a/one"], holder="h", lease=A_LEASE)
    assert request is not None
    return request


async def told(progress: Progress, request: Request, step: Step, preview: Preview | None = None) -> Step | None:
    await progress.tell([(request.id, request.attempt, step, preview)])
    return await progress.step(request.id, request.attempt)


async def test_the_last_step_of_an_attempt_is_known_and_steps_are_counted(
    clock: Clock, queue: Queue, progress: Progress, ask: Ask
) -> None:
    request = await running(queue, ask)

    assert await progress.step(request.id, 1) is None
    assert await told(progress, request, HALF) == Step(0.5, 5, 10, 2.0, 1)
    assert await told(progress, request, Step(0.6, 6, 10, None)) == Step(0.6, 6, 10, None, 2)


async def test_what_is_left_grows_less_with_the_time(clock: Clock, queue: Queue, progress: Progress, ask: Ask) -> None:
    request = await running(queue, ask)
    await told(progress, request, HALF)

    for passed, left_s in ((0.5, 1.5), (3.0, 0.0)):
        clock.pass_by(timedelta(seconds=passed))
        step = await progress.step(request.id, 1)
        assert step is not None
        assert step.left_s == left_s


async def test_a_fraction_never_falls_within_an_attempt_and_begins_anew_with_the_next(
    clock: Clock, queue: Queue, progress: Progress, ask: Ask
) -> None:
    request = await running(queue, ask)
    await told(progress, request, HALF, JPEG)

    fallen = await told(progress, request, Step(0.1, 1, 10, None))
    assert fallen == Step(0.5, 1, 10, None, 2)
    clock.pass_by(2 * A_LEASE)
    again = await queue.claim(["a/one"], holder="other", lease=A_LEASE)
    assert again is not None
    assert await told(progress, again, Step(0.1, 1, 10, None)) == Step(0.1, 1, 10, None, 1)
    assert await progress.preview(request.id, again.attempt, after=0) is None


async def test_the_word_of_a_stale_attempt_changes_nothing(
    clock: Clock, queue: Queue, progress: Progress, ask: Ask
) -> None:
    stale = await running(queue, ask)
    clock.pass_by(2 * A_LEASE)
    fresh = await queue.claim(["a/one"], holder="other", lease=A_LEASE)
    assert fresh is not None
    await told(progress, fresh, HALF)

    await told(progress, stale, Step(0.9, 9, 10, None))

    assert await progress.step(fresh.id, fresh.attempt) == Step(0.5, 5, 10, 2.0, 1)
    assert await progress.step(fresh.id, stale.attempt) is None


async def test_the_last_preview_stays_while_steps_go_on(queue: Queue, progress: Progress, ask: Ask) -> None:
    request = await running(queue, ask)
    await told(progress, request, HALF)
    await told(progress, request, HALF, JPEG)
    await told(progress, request, HALF)

    assert await progress.preview(request.id, 1, after=0) == Preview(b"jpeg", 64, 48, 2)
    assert await progress.preview(request.id, 1, after=2) is None


async def test_nothing_is_left_of_the_steps_when_the_request_ends(
    queue: Queue, progress: Progress, database: Database, ask: Ask
) -> None:
    request = await running(queue, ask)
    await told(progress, request, HALF, JPEG)
    await queue.finish(request, Succeeded(()))

    await told(progress, request, HALF)  # a word that came late

    left = await database.read(lambda rows: rows.execute("SELECT count(*) FROM progress").fetchone()[0])
    assert left == 0


async def test_a_mark_changes_with_state_attempt_and_step(queue: Queue, progress: Progress, ask: Ask) -> None:
    await queue.add(waiting := ask())
    other = ask()

    async def mark() -> Mark:
        return (await progress.marks([other.id, waiting.id]))[waiting.id]

    assert list(await progress.marks([other.id, waiting.id])) == [waiting.id]
    assert await mark() == Mark(State.IN_QUEUE, 0, 0)
    request = await queue.claim(["a/one"], holder="h", lease=A_LEASE)
    assert request is not None
    assert await mark() == Mark(State.IN_PROGRESS, 1, 0)
    await told(progress, request, HALF)
    assert await mark() == Mark(State.IN_PROGRESS, 1, 1)
    await queue.finish(request, Succeeded(()))
    assert await mark() == Mark(State.COMPLETED, 1, 0)


async def test_a_worker_lives_for_as_long_as_it_says_so(clock: Clock, workers: Workers) -> None:
    assert not await workers.anyone()
    await workers.beat("w1", "here", {"a/one": 2, "a/two": 1})
    await workers.beat("w2", "there", {"a/one": 1})
    assert await workers.lanes() == {"a/one": 3, "a/two": 1}

    clock.pass_by(timedelta(seconds=10))
    await workers.beat("w2", "there", {"a/one": 4})
    clock.pass_by(timedelta(seconds=6))
    assert await workers.lanes() == {"a/one": 4}
    assert await workers.anyone()
    await workers.leave("w2")
    assert not await workers.anyone()


async def test_a_run_is_expected_to_take_what_the_last_good_ones_took(
    clock: Clock, queue: Queue, workers: Workers, ask: Ask
) -> None:
    took = [100.0, *[2.0, 4.0] * 9, 3.0, 3.0]
    for seconds in took:  # the first of them is forgotten behind twenty others
        request = await running(queue, ask)
        clock.pass_by(timedelta(seconds=seconds))
        await queue.finish(request, Succeeded(()))
    assert await workers.mean_run_s("a/one") == 3.0

    request = await running(queue, ask)
    clock.pass_by(timedelta(seconds=20))
    await queue.finish(request, Failed(500001, "InternalError"))
    assert await workers.mean_run_s("a/one") == pytest.approx((3.0 * 20 - 2.0) / 19)
    assert await workers.mean_run_s("a/two") is None


async def test_the_time_to_wait_is_known_where_somebody_works_and_runs_were_measured(
    clock: Clock, queue: Queue, workers: Workers, ask: Ask
) -> None:
    await workers.beat("w1", "here", {"a/one": 2, "a/two": 1})
    request = await running(queue, ask)
    clock.pass_by(timedelta(seconds=6))
    await queue.finish(request, Succeeded(()))

    await workers.beat("w1", "here", {"a/one": 2, "a/two": 1})
    assert await Pace(workers).waiting_s("a/one", 0) == 3.0
    assert await Pace(workers).waiting_s("a/one", 4) == 15.0
    assert await Pace(workers).waiting_s("a/two", 0) is None
    await workers.leave("w1")
    assert await Pace(workers).waiting_s("a/one", 0) is None


def ids(page: Sequence[Entry]) -> list[str]:
    return [each.id for each in page]


async def test_own_requests_are_listed_newest_first_page_by_page(queue: Queue, database: Database, ask: Ask) -> None:
    history = History(database)
    mine = [ask() for _ in range(7)]
    for each in mine:
        await queue.add(each)
        await queue.add(ask(owner="bob"))
    newest = [each.id for each in reversed(mine)]

    page = await history.page("alice", limit=3)
    assert ids(page) == newest[:3]
    await queue.add(ask())  # whoever goes on reading is not disturbed by what comes
    assert ids(await history.page("alice", limit=9, before=page[-1].seq)) == newest[3:]
    assert await history.page("carol", limit=3) == []


async def test_a_list_is_filtered_by_state_and_model(queue: Queue, database: Database, ask: Ask) -> None:
    history = History(database)
    ran, ended, other, cancelled, waits = ask(), ask(), ask(model_id="a/two"), ask(), ask()
    for each in (ended, ran, other, cancelled, waits):
        await queue.add(each)
    claimed = await queue.claim(["a/one"], holder="h", lease=A_LEASE)
    assert claimed is not None
    await queue.finish(claimed, Succeeded(()))
    await queue.claim(["a/one"], holder="h", lease=A_LEASE)
    await queue.cancel(cancelled.id, "alice")

    async def listed(state: State | None = None, model_id: str | None = None) -> list[str]:
        return ids(await history.page("alice", limit=9, state=state, model_id=model_id))

    assert await listed() == [waits.id, cancelled.id, other.id, ran.id, ended.id]
    assert await listed(State.IN_QUEUE) == [waits.id, other.id]
    assert await listed(State.IN_PROGRESS) == [ran.id]
    assert await listed(State.COMPLETED) == [ended.id]
    assert await listed(State.CANCELLED) == [cancelled.id]
    assert await listed(model_id="a/one") == [waits.id, cancelled.id, ran.id, ended.id]
    assert await listed(State.IN_QUEUE, "a/two") == [other.id]
    assert await listed(State.COMPLETED, "a/two") == []
    (entry,) = await history.page("alice", limit=9, state=State.COMPLETED)
    assert entry.finished_at is not None


async def test_freezing_the_last_picture_notes_when(clock: Clock, queue: Queue, database: Database, ask: Ask) -> None:
    request = ask(pictures=(Picture("image_urls", 0, "https://x.example/a.png"),))
    await queue.add(request)
    clock.pass_by(timedelta(seconds=3))
    await queue.take_in(holder="h", limit=1, lease=A_LEASE)
    await queue.freeze(request, request.pictures, ())

    ready_at = await database.read(lambda rows: rows.execute("SELECT ready_at FROM requests").fetchone()[0])
    assert ready_at == clock.now_us
