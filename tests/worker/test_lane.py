"""The lane: it renews while it works, brings every request to exactly one outcome, and hands back what it cannot."""

import asyncio
import io
import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from house import OWNER, House
from PIL import Image
from script import at_once, eventually

from gesso.assembly import make_lanes, now
from gesso.core.errors import ResourceNotFound
from gesso.core.inputs import Inputs
from gesso.core.model import Bound
from gesso.core.pictures import Picture
from gesso.core.ports import Made
from gesso.core.request import Options, Priority, Request
from gesso.core.states import State
from gesso.engines.host import Host
from gesso.worker.runner import Runner

pytestmark = pytest.mark.anyio
Houses = Callable[..., Awaitable[House]]
A_MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("prompt", ["", "picture:RGBA", "picture:L", "picture:P"])
@pytest.mark.parametrize(("size", "pixels"), [("512*512 (1:1)", (512, 512)), ("640*384 (5:3)", (640, 384))])
async def test_the_output_has_the_asked_size_in_rgb_whatever_the_engine_made(
    house: House, prompt: str, size: str, pixels: tuple[int, int]
) -> None:
    house.start("lane")
    request = await house.submit(prompt, size=size)
    (file,) = (await house.succeeded(request)).files

    data = await house.parts.shelf.read(file.key, file.sha256)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", pixels)
    assert (await house.parts.files.get(file.key)).sha256 == file.sha256


async def test_waiting_requests_run_one_after_another_in_their_order(house: House) -> None:
    requests = [await house.submit(f"n{number}") for number in range(5)]
    house.start("lane")
    for request in requests:
        await house.succeeded(request)

    steps = [f"{word} n{number}" for number in range(5) for word in ("begin", "end")]
    assert house.script.journal() == ["load", *steps]


async def test_a_request_that_comes_while_nothing_runs_starts_at_once(house: House) -> None:
    house.start("lane")
    await house.succeeded(await house.submit())
    started = [await house.ended(await house.submit()) for _ in range(5)]

    waited = [each.started_at - each.created_at for each in started if each.started_at]
    assert sorted(waited)[2] < timedelta(seconds=0.5)  # far from the 2 s of a poll


async def test_I10_a_crash_costs_one_attempt_and_the_next_succeeds(house: House) -> None:
    house.start("lane")
    request = await house.submit("crash:1")
    await house.succeeded(request)

    ended = house.read(request)
    assert (ended.attempt, ended.losses) == (2, 1)


async def test_I10_a_crash_with_another_s_pictures_still_on_their_way_counts_against_the_one_that_runs(
    house: House,
) -> None:
    large, poison = await house.submit("pictures:40"), await house.submit("crash")
    house.start("lane")
    await house.failed(poison)
    await house.succeeded(large)

    assert (house.read(poison).losses, house.read(large).losses) == (3, 0)
    assert house.read(large).attempt > 1, "it was hit, and this test sees something"


async def test_I10_three_crashes_end_a_request_and_others_go_on(house: House) -> None:
    poison, good = await house.submit("crash"), await house.submit("good")
    house.start("lane")

    failed = await house.failed(poison)
    assert (failed.code, failed.name) == (503002, "WorkerLost")
    assert house.read(poison).attempt == 3
    await house.succeeded(good)


@pytest.mark.parametrize(
    ("prompt", "code", "name"),
    [
        ("fail:wet", 502001, "EngineFailed"),
        ("broken", 502001, "EngineFailed"),
        ("paintless", 502001, "EngineFailed"),
        ("pictures:0", 502001, "EngineFailed"),
        ("reject", 422003, "ContentRejected"),
    ],
)
async def test_what_the_engine_refuses_has_failed_at_its_first_attempt(
    house: House, prompt: str, code: int, name: str
) -> None:
    house.start("lane")
    request, good = await house.submit(prompt), await house.submit()

    failed = await house.failed(request)
    assert (failed.code, failed.name, house.read(request).attempt) == (code, name, 1)
    await house.succeeded(good)


@pytest.mark.parametrize("prompt", ["hang", "spin", "gate:never"])
async def test_a_run_that_takes_too_long_has_failed_and_the_next_request_runs(houses: Houses, prompt: str) -> None:
    house = await houses(run_timeout=timedelta(milliseconds=400))
    house.start("lane")
    request, good = await house.submit(prompt), await house.submit()

    failed = await house.failed(request)
    assert (failed.code, failed.name, house.read(request).attempt) == (504001, "EngineTimeout", 1)
    await house.succeeded(good)


async def test_I09_a_request_whose_engine_hung_loses_that_engine_and_runs_again(houses: Houses) -> None:
    house = await houses(step_timeout=timedelta(milliseconds=300))
    house.start("lane")
    request = await house.submit("hang:go")
    hung = await house.begun("hang:go")
    await eventually(lambda: house.script.begun("hang:go") != hung)
    house.script.open("go")
    await house.succeeded(request)

    ended = house.read(request)
    assert (ended.attempt, ended.losses) == (2, 1)


async def test_I10_a_request_that_hangs_every_engine_has_failed_and_others_go_on(houses: Houses) -> None:
    house = await houses(step_timeout=timedelta(milliseconds=200))
    house.start("lane")
    poison, good = await house.submit("hang"), await house.submit("slow")

    failed = await house.failed(poison)
    assert (failed.code, failed.name, failed.facts["attempts"]) == (503002, "WorkerLost", 3)
    await house.succeeded(good)


async def test_I07_a_run_that_is_longer_than_its_lease_keeps_it(houses: Houses) -> None:
    house = await houses(lease=timedelta(milliseconds=150))
    house.start("lane", "upkeep")
    request = await house.submit("gate:go")
    await house.begun("gate:go")
    for _ in range(6):  # two leases later
        await renewed(house)
    house.script.open("go")
    await house.succeeded(request)

    assert house.read(request).attempt == 1


async def test_I08_a_lost_lease_stops_the_run_and_its_output_is_thrown_away(houses: Houses) -> None:
    house = await houses(lease=timedelta(milliseconds=150))
    house.start("lane")
    request = await house.submit("gate:go")
    await house.begun("gate:go")
    claimed = await take_over(house)
    await house.succeeded(await house.submit("next"))  # the gate was never opened

    assert "end gate:go" not in house.script.journal()
    assert (house.read(request).state, house.read(request).attempt) == (State.IN_PROGRESS, claimed)


async def test_I20_an_outcome_that_cannot_be_written_yet_is_not_claimed_away_by_its_own_lane(houses: Houses) -> None:
    house = await houses(lease=timedelta(milliseconds=300))
    house.start("lane")
    request = await house.submit("gate:go")
    await house.begun("gate:go")
    await house.parts.database.write(lambda rows: rows.execute("ALTER TABLE files RENAME TO away"))
    house.script.open("go")
    await eventually(lambda: house.lane._owing)
    await eventually(lambda: at_once(house.queue.has_expired_leases()))
    house.lane.wake()
    await house.parts.database.write(lambda rows: rows.execute("ALTER TABLE away RENAME TO files"))
    await house.succeeded(request)

    assert house.read(request).attempt == 1


async def test_I08_a_run_that_ends_after_its_lease_was_lost_changes_nothing(houses: Houses) -> None:
    house = await houses(lease=A_MINUTE)
    house.start("lane")
    request = await house.submit("gate:go")
    await house.begun("gate:go")
    claimed = await take_over(house)
    house.script.open("go")
    await eventually(lambda: "end gate:go" in house.script.journal())
    await house.succeeded(await house.submit("next"))

    assert (house.read(request).state, house.read(request).attempt) == (State.IN_PROGRESS, claimed)


async def test_a_lost_lease_stops_no_other_run(
    houses: Houses, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = await houses(lease=timedelta(milliseconds=150))
    writing, keep = asyncio.Event(), house.parts.shelf.keep_png

    async def slow_disk(name: str, image: Image.Image, *more: Any) -> object:
        if name.startswith(first.id):
            await writing.wait()
        return await keep(name, image, *more)

    monkeypatch.setattr(type(house.parts.shelf), "keep_png", lambda _, *given: slow_disk(*given))
    first, second = await house.submit("first"), await house.submit("gate:go")
    house.start("lane")
    await house.begun("gate:go")
    await take_over(house)  # the first, which is being kept
    await eventually(lambda: f"{first.id}: the lease is lost" in caplog.text)
    for _ in range(2):
        await renewed(house)
    house.script.open("go")
    await house.succeeded(second)
    writing.set()

    assert (house.read(second).attempt, house.read(first).state) == (1, State.IN_PROGRESS)


async def test_a_killed_engine_costs_one_attempt(house: House) -> None:
    house.start("lane")
    request = await house.submit("gate:go")
    os.kill(await house.begun("gate:go"), signal.SIGKILL)
    house.script.open("go")
    await house.succeeded(request)

    assert (house.read(request).attempt, house.read(request).losses) == (2, 1)


async def test_the_next_request_is_prepared_while_another_runs_and_can_still_be_cancelled(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    decode = type(house.parts.shelf).decode

    async def noted(shelf: object, key: str, sha256: str | None) -> object:
        image = await decode(house.parts.shelf, key, sha256)
        decoded.append(key)
        return image

    monkeypatch.setattr(type(house.parts.shelf), "decode", noted)
    running = await house.submit("gate:go")
    house.start("lane")
    await house.begun("gate:go")
    ahead, key = await with_picture(house, "ahead")
    await eventually(lambda: decoded == [key])
    state, cancelled = house.read(ahead).state, await house.queue.cancel(ahead.id, OWNER)
    after = await house.submit("after")
    house.script.open("go")
    await house.succeeded(running)
    await house.succeeded(after)

    assert (state, cancelled) == (State.IN_QUEUE, State.CANCELLED)
    assert "begin ahead" not in house.script.journal()


async def test_what_was_prepared_ahead_is_prepared_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = type(house.parts.shelf).decode

    async def noted(shelf: object, key: str, sha256: str | None) -> object:
        decoded.append(key)
        return await decode(house.parts.shelf, key, sha256)

    monkeypatch.setattr(type(house.parts.shelf), "decode", noted)
    await house.submit("gate:go")
    house.start("lane")
    await house.begun("gate:go")
    ahead, key = await with_picture(house, "ahead")
    await eventually(lambda: decoded)
    house.script.open("go")
    await house.succeeded(ahead)

    assert decoded == [key]


async def test_lanes_of_one_engine_prepare_no_request_twice(houses: Houses, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await houses(engine_processes=2)
    decoded: list[str] = []
    decode = type(house.parts.shelf).decode

    async def noted(shelf: object, key: str, sha256: str | None) -> object:
        decoded.append(key)
        return await decode(house.parts.shelf, key, sha256)

    monkeypatch.setattr(type(house.parts.shelf), "decode", noted)
    for name in ("a", "b"):
        await house.submit(f"gate:{name}")
    house.start("lanes")
    await house.begun("gate:a")
    await house.begun("gate:b")
    one, two = await with_picture(house, "one"), await with_picture(house, "two")
    await eventually(lambda: decoded == [one[1]])  # by whichever lane; the other has nothing left to do
    urgent = await with_picture(house, "urgent", Priority.HIGH)
    house.script.open("a")
    for request, _ in (urgent, one, two):
        await house.succeeded(request)
    house.script.open("b")

    assert sorted(decoded) == sorted([one[1], urgent[1], two[1]])


async def test_one_engine_after_another_is_prepared_for_while_both_are_busy(houses: Houses) -> None:
    house = await houses(engine_processes=2)
    requests = [(await with_picture(house, f"n{number}"))[0] for number in range(8)]
    house.start("lanes")
    for request in requests:
        await house.succeeded(request)

    begun = sorted(line for line in house.script.journal() if line.startswith("begin"))
    assert begun == [f"begin n{number}" for number in range(8)]


async def test_what_was_said_of_the_prompt_stands_beside_what_the_engine_says(houses: Houses) -> None:
    async def extend(inputs: Inputs) -> tuple[Inputs, dict[str, object]]:
        notes = {"prompt_used": "gate:go", "warnings": ["w"], "messages": ["m"]}
        return replace(inputs, prompt="gate:go", expand_prompt=False), notes

    house = await houses()
    model = house.parts.catalog[house.script.model]
    bound = replace(model, binding={**model.binding, "expand_prompt": Bound("expand")})
    runner = Runner({model.id: bound}, house.parts.shelf, extend)
    request = Request.new(
        owner=OWNER, model_id=model.id, input={"prompt": "plain", "image_size": "512*512", "expand": True}, at=now()
    )
    asked = await runner.prepare(request)
    plain = await runner.prepare(replace(request, input={**request.input, "expand": False}))

    assert (asked.inputs.prompt, plain.inputs.prompt, plain.notes) == ("gate:go", "plain", {})
    told = asked.told(Made([], {"engine": "x", "warnings": ["of the engine"], "messages": ["its own"]})).notes
    assert (told["engine"], told["prompt_used"]) == ("x", "gate:go")
    assert (told["warnings"], told["messages"]) == (["w", "of the engine"], ["m", "its own"])


async def test_every_step_is_told_with_its_request_and_its_preview(house: House) -> None:
    told: list[tuple[str, int, int, tuple[int, int] | None]] = []
    (house.lane,) = make_lanes(
        house.parts,
        house.waiter,
        lambda request, step, of, preview: told.append((request.id, step, of, preview and preview.size)),
    )
    house.start("lane")
    request = await house.submit("preview:RGB")
    await house.succeeded(request)

    assert told == [(request.id, 1, 2, (40, 30))]


async def test_a_request_whose_picture_is_gone_fails_and_others_go_on(house: House) -> None:
    request, key = await with_picture(house, "x")
    await house.parts.blobs.delete(key)
    good = await house.submit()
    house.start("lane")

    assert (await house.failed(request)).code == 500001
    await house.succeeded(good)
    with pytest.raises(ResourceNotFound):
        await house.parts.shelf.read(key, None)


async def test_I22_stopping_finishes_what_runs_and_claims_no_more(house: House) -> None:
    house.start("lane")
    running = await house.submit("gate:go")
    await house.begun("gate:go")
    waits = await house.submit("waits")
    house.lane.stop()
    house.script.open("go")
    await asyncio.wait_for(house.tasks["lane"], 10)

    assert house.read(running).state is State.COMPLETED
    assert house.read(waits).state is State.IN_QUEUE


async def test_I22_an_idle_lane_stops_at_once(house: House) -> None:
    house.start("lane")
    await house.succeeded(await house.submit())
    house.lane.stop()

    await asyncio.wait_for(house.tasks["lane"], 1)


async def test_I22_a_lane_that_is_cancelled_hands_its_request_back(house: House) -> None:
    house.start("lane")
    request = await house.submit("gate:go")
    await house.begun("gate:go")
    house.tasks["lane"].cancel()
    await asyncio.wait([house.tasks["lane"]])
    house.script.open("go")
    again = await house.queue.claim([house.script.model], holder="x", lease=A_MINUTE)

    assert again is not None
    assert (again.id, again.attempt, again.losses) == (request.id, 2, 0)


async def test_I07_two_workers_share_a_queue_and_run_nothing_twice(houses: Houses) -> None:
    first, second = await houses(), await houses()
    requests = [await first.submit(f"n{number}") for number in range(12)]
    first.start("lane")
    second.start("lane")
    for request in requests:
        await first.succeeded(request)

    begun = [line for line in first.script.journal() if line.startswith("begin")]
    assert sorted(begun) == sorted({f"begin n{number}" for number in range(12)})
    assert {first.read(request).attempt for request in requests} == {1}


def last_lease(rows: sqlite3.Connection) -> int:
    """When the lease of the youngest that runs ends; 0 where none does."""
    query = "SELECT lease_until FROM requests WHERE state = 'in_progress' ORDER BY seq DESC"
    row = rows.execute(query).fetchone()
    return int(row[0]) if row else 0


async def renewed(house: House) -> None:
    """Once the youngest that runs has been renewed."""
    before = await house.parts.database.read(last_lease)
    await eventually(lambda: at_once(house.parts.database.read(last_lease)) > before)


async def take_over(house: House) -> int:
    """End the lease of the oldest that runs, and claim it for somebody else; the attempt that it has now."""
    oldest = "(SELECT min(seq) FROM requests WHERE state = 'in_progress')"
    taken = f"""UPDATE requests SET attempt = attempt + 1, lease_until = now_us() + 60000000, holder = 'other'
        WHERE seq = {oldest} RETURNING attempt"""
    return int(await house.parts.database.write(lambda rows: rows.execute(taken).fetchone()[0]))


async def with_picture(house: House, prompt: str, priority: Priority = Priority.NORMAL) -> tuple[Request, str]:
    """A request with one frozen picture, and the key of that."""
    key = await house.blob()
    picture = Picture("image_urls", 0, None, key)
    input = {"prompt": prompt, "image_size": "512*512 (1:1)", "image_urls": ["sha256:0"]}
    request = Request.new(
        owner=OWNER, model_id=house.script.model, input=input, at=now(), pictures=(picture,),
        options=Options(priority=priority),
    )  # fmt: skip
    await house.queue.add(request)
    return request, key


async def test_an_engine_that_does_not_start_costs_no_request_an_attempt(house: House) -> None:
    house.lane.seat.host = Host("scripted", {"load": "crash:3"})
    request = await house.submit()
    house.start("lane")
    await house.succeeded(request)
    await house.lane.host.close()

    assert (house.read(request).attempt, house.read(request).losses) == (1, 0)
