"""Live events: what a follower is told, in what order, and what becomes of the stream."""

import asyncio
import base64

import pytest
from follower import Follower
from served import MISSING_ID, PUBLIC_URL, Serve, Served

from gesso.api import events, waiting
from gesso.assembly import make_api
from gesso.core.request import Failed, Request
from gesso.store.progress import Preview, Progress, Step
from gesso.store.workers import Workers

JPEG = Preview(b"\xff\xd8 a small picture", 64, 48)


def follow(served: Served, request_id: str, **more: object) -> Follower:
    return Follower(served, f"/v1/requests/{request_id}/events", **more)  # type: ignore[arg-type]


async def tell(served: Served, request: Request, step: int, preview: Preview | None = None) -> None:
    """What a worker writes down: *step* of 10."""
    told = [(request.id, request.attempt, Step(step / 10, step, 10, None), preview)]
    await Progress(served.parts.database).tell(told)


async def test_a_follower_sees_a_snapshot_then_what_changes_then_the_result(fresh: Served) -> None:
    request_id = await fresh.submit()
    async with follow(fresh, request_id) as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
        frames = [await stream.frame()]
        request = await fresh.claim()
        frames.append(await stream.frame())
        for step in (1, 2):
            await tell(fresh, request, step)
            frames.append(await stream.frame())
        await fresh.parts.queue.finish(request, Failed(500001, "InternalError"))
        frames += await stream.rest()

    assert [(each.name, each.data) for each in frames if each][:-1] == [
        ("status", {"request_id": request_id, "status": "in_queue", "queue_position": 0}),
        ("status", {"request_id": request_id, "status": "in_progress"}),
        ("progress", {"fraction": 0.1, "step": 1, "steps": 10}),
        ("progress", {"fraction": 0.2, "step": 2, "steps": 10}),
    ]
    last = frames[-1]
    assert last is not None
    result = (await fresh.client.get(f"/v1/requests/{request_id}/result")).json()
    assert (last.name, last.data) == ("result", result)
    ids = [each.id for each in frames if each]
    assert ids == sorted(set(ids))
    assert ids[-1] < 2**53


async def test_a_place_in_the_queue_is_told_when_it_changes(fresh: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PLACE_S", 0.01)
    first, _, third = [await fresh.submit() for _ in range(3)]
    async with follow(fresh, third) as stream:
        told = [(await stream.named("status")).data["queue_position"]]
        await fresh.client.post(f"/v1/requests/{first}/cancel")
        told.append((await stream.named("status")).data["queue_position"])
        await fresh.claim()
        told.append((await stream.named("status")).data["queue_position"])

    assert told == [2, 1, 0]


async def test_a_cancelled_request_ends_its_stream(fresh: Served) -> None:
    request_id = await fresh.submit()
    async with follow(fresh, request_id) as stream:
        await stream.named("status")
        await fresh.client.post(f"/v1/requests/{request_id}/cancel")
        (frame,) = await stream.rest()

    assert (frame.name, frame.data["status"]) == ("result", "cancelled")


async def test_the_stream_of_an_ended_request_is_its_result(fresh: Served) -> None:
    request_id = await fresh.submit()
    await fresh.end()
    async with follow(fresh, request_id) as stream:
        (frame,) = await stream.rest()

    assert (frame.name, frame.data["status"]) == ("result", "succeeded")


async def test_previews_come_unless_they_are_not_wanted(fresh: Served) -> None:
    request_id = await fresh.submit()
    request = await fresh.claim()
    async with follow(fresh, request_id) as seeing, follow(fresh, request_id, query="previews=false") as blind:
        await tell(fresh, request, 1, JPEG)
        await tell(fresh, request, 2)
        preview = (await seeing.named("preview")).data
        await fresh.parts.queue.finish(request, Failed(500001, "InternalError"))
        names = [frame.name for frame in await blind.rest()]

    assert preview == {
        "content_type": "image/jpeg", "width": 64, "height": 48, "data": base64.b64encode(JPEG.jpeg).decode()
    }  # fmt: skip
    assert "preview" not in names
    assert names[-1] == "result"


async def test_who_comes_back_is_told_only_what_he_does_not_know_by_any_process(fresh: Served) -> None:
    """The second API stands for another process: nothing but the database joins the two."""
    request_id = await fresh.submit()
    request = await fresh.claim()
    await tell(fresh, request, 1, JPEG)
    async with follow(fresh, request_id) as stream:
        known = [await stream.frame() for _ in range(3)]
    other = Served(fresh.parts, await make_api(fresh.parts, PUBLIC_URL), fresh.token)
    assert [each.name for each in known if each] == ["status", "progress", "preview"]

    await tell(fresh, request, 4)
    assert known[-1] is not None
    async with follow(other, request_id, last_id=known[-1].id) as stream:
        first = await stream.frame()
        await fresh.parts.queue.finish(request, Failed(500001, "InternalError"))
        rest = await stream.rest()
    await other.client.aclose()

    assert first is not None
    assert (first.name, first.data["step"]) == ("progress", 4)
    assert [each.name for each in rest] == ["result"]
    async with follow(fresh, request_id, last_id=rest[0].id) as stream:
        assert await stream.rest() == []


async def test_a_known_place_in_the_queue_is_not_told_again(fresh: Served) -> None:
    request_id = await fresh.submit()
    async with follow(fresh, request_id) as stream:
        known = await stream.named("status")
    async with follow(fresh, request_id, last_id=known.id) as stream:
        await fresh.claim()
        frame = await stream.frame()

    assert frame is not None
    assert frame.data["status"] == "in_progress"
    assert frame.id > known.id


@pytest.mark.parametrize("nonsense", ["x", "-1", "9" * 16, "9" * 30, "1e3"])
async def test_an_id_that_cannot_be_counts_as_none(fresh: Served, nonsense: str) -> None:
    request_id = await fresh.submit()
    await fresh.claim()
    async with follow(fresh, request_id, last_id=nonsense) as stream:
        frame = await stream.frame()

    assert frame is not None
    assert frame.data["status"] == "in_progress"


async def test_another_attempt_is_told_and_begins_anew(fresh: Served) -> None:
    request_id = await fresh.submit()
    request = await fresh.claim()
    await tell(fresh, request, 7)
    async with follow(fresh, request_id) as stream:
        known = await stream.named("progress")
        await fresh.parts.queue.lose(request)
        again = await fresh.claim()
        status = await stream.named("status")
        await tell(fresh, again, 1)
        anew = await stream.named("progress")

    assert status.data["status"] == "in_progress"
    assert (known.data["fraction"], anew.data["fraction"]) == (0.7, 0.1)
    assert known.id < status.id < anew.id


async def test_what_is_expected_is_told_where_it_was_measured(fresh: Served) -> None:
    ended = await fresh.submit()
    await fresh.end()
    fresh.change("UPDATE requests SET started_at = finished_at - 10000000")
    await Workers(fresh.parts.database).beat("w", "here", {(await fresh.parts.queue.get(ended, "alice")).model_id: 2})
    request_id = await fresh.submit()
    async with follow(fresh, request_id) as stream:
        waits = await stream.frame()
        request = await fresh.claim()
        starts = await stream.frame()
        await tell(fresh, request, 4)
        goes_on = await stream.frame()

    told = [each.data["eta_seconds"] for each in (waits, starts, goes_on) if each]
    assert told == [5.0, 10.0, 6.0]


async def test_a_silent_stream_says_that_it_lives(fresh: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "COMMENT_S", 0.05)
    request_id = await fresh.submit()
    async with follow(fresh, request_id) as stream:
        names = [frame.name for frame in [await stream.frame() for _ in range(3)] if frame]

    assert names == ["status", ":", ":"]


async def test_a_foreign_request_is_as_unknown_as_any(fresh: Served) -> None:
    request_id = await fresh.submit()
    bob = await fresh.client_for("bob")

    foreign = await bob.get(f"/v1/requests/{request_id}/events")
    unknown = await bob.get(f"/v1/requests/{MISSING_ID}/events")

    assert (foreign.status_code, foreign.content) == (404, unknown.content)


async def test_an_option_that_cannot_be_read_is_a_problem_of_the_query(fresh: Served) -> None:
    answer = await fresh.client.get(f"/v1/requests/{await fresh.submit()}/events?previews=perhaps")

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "previews"]


async def test_a_head_asks_for_no_stream(fresh: Served) -> None:
    answer = await fresh.client.head(f"/v1/requests/{await fresh.submit()}/events")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")


async def test_an_owner_has_so_many_streams_and_all_have_so_many(serve_with: Serve) -> None:
    async with serve_with(most_streams=3, most_streams_per_owner=2) as served:
        mine, token = await served.submit(), await served.parts.tokens.create("bob")
        bob = served.client_of(token)
        body = {"prompt": "a cat", "image_urls": ["https://images.example/a.png"]}
        path = "/v1/models/wan-ai/wan-2-6/image-to-image"
        theirs = (await bob.post(path, json=body)).json()["request_id"]
        async with follow(served, mine), follow(served, mine) as second:
            refused = await served.client.get(f"/v1/requests/{mine}/events")
            assert (refused.status_code, refused.json()["code"]) == (429, 429001)
            assert int(refused.headers["retry-after"]) > 0
            async with follow(served, theirs, token=token):
                assert (await bob.get(f"/v1/requests/{theirs}/events")).status_code == 429
            second.leave()
            await asyncio.wait_for(second.task, 5)
            async with follow(served, mine) as third:
                assert third.status == 200


async def test_streams_end_at_once_when_the_server_stops(fresh: Served) -> None:
    request_id = await fresh.submit()
    async with follow(fresh, request_id) as stream:
        await stream.named("status")
        fresh.app.stop()  # type: ignore[attr-defined]

        assert await stream.rest() == []
    async with follow(fresh, request_id) as late:
        assert await late.rest() == []


async def test_who_takes_nothing_in_costs_no_memory_and_is_told_the_newest(fresh: Served) -> None:
    request_id = await fresh.submit()
    request = await fresh.claim()
    async with follow(fresh, request_id) as slow, follow(fresh, request_id) as quick:
        await slow.named("status")
        slow.may_take.clear()
        for step in range(1, 10):
            await tell(fresh, request, step)
            await quick.named("progress")
        await fresh.parts.queue.finish(request, Failed(500001, "InternalError"))
        await quick.named("result")
        slow.may_take.set()
        rest = await slow.rest()

    assert rest[-1].name == "result"
    assert len(rest) <= 2  # the one that was under way, and the end


async def test_a_follower_is_woken_and_does_not_wait_for_a_poll(fresh: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 60.0)
    monkeypatch.setattr(events, "PLACE_S", 60.0)
    request_id = await fresh.submit()
    async with follow(fresh, request_id) as stream:
        await stream.named("status")
        await fresh.end()
        frames = await stream.rest()

    assert frames[-1].name == "result"


async def test_a_follower_who_is_not_woken_finds_out_by_polling(fresh: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 0.05)
    request_id = await fresh.submit()
    async with follow(fresh, request_id) as stream:
        await stream.named("status")
        monkeypatch.setattr(fresh.parts.database.watchers, "wake", lambda: None)
        await fresh.end()
        frames = await stream.rest()

    assert frames[-1].name == "result"


async def test_nothing_is_looked_at_once_nobody_waits(fresh: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LINGER_S", 0.02)
    folder = fresh.folder / "watchers"
    async with follow(fresh, await fresh.submit()) as stream:
        await stream.named("status")
        assert list(folder.iterdir()) != []

    async with asyncio.timeout(5):
        while list(folder.iterdir()):  # noqa: ASYNC110 - what changes is a folder
            await asyncio.sleep(0.01)
