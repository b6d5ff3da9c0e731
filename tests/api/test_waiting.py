"""Calls that wait: a submit with `Prefer: wait`, a result with `?wait=`."""

import asyncio
import time

import httpx2
import pytest
from follower import Follower
from served import EXAMPLE, SUBMIT, Serve, Served, data_uri, picture

from gesso.api import waiting

HERE = {"prompt": "a cat", "image_urls": [data_uri(picture())]}
FOUR = {"request_id", "status_url", "result_url", "cancel_url"}


async def claimable(served: Served) -> None:
    """Return once a request waits: it was accepted."""
    async with asyncio.timeout(5):
        while not served.rows()[0]:  # noqa: ASYNC110 - what changes is a file
            await asyncio.sleep(0.005)


def asking(served: Served, prefer: str, body: object = HERE, **headers: str) -> "asyncio.Task[httpx2.Response]":
    """A submit that waits, under way."""
    return asyncio.create_task(served.client.post(SUBMIT, json=body, headers={"Prefer": prefer, **headers}))


async def test_a_submit_that_waits_is_answered_with_the_result_when_the_request_ends(
    fresh: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 60.0)  # it is woken
    asked = asking(fresh, "wait=30")
    await claimable(fresh)
    request = await fresh.end()
    answer = await asyncio.wait_for(asked, 5)

    result = (await fresh.client.get(f"/v1/requests/{request.id}/result")).json()
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert set(answer.json()) == FOUR | set(result)
    assert {key: answer.json()[key] for key in result} == result


async def test_a_submit_that_has_waited_long_enough_is_answered_with_the_state_so_far(fresh: Served) -> None:
    began = time.monotonic()
    answer = await asking(fresh, "wait=1")

    assert 1 <= time.monotonic() - began < 4
    assert answer.json()["status"] == "in_queue"
    assert set(answer.json()) >= FOUR


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [("wait=61", "wait=60"), ("wait=99999999999999", "wait=60"), ("wait", "wait=60"), ('wait="5"', "wait=5"),
     ("respond-async, Wait=7", "wait=7"), ("wait=9; x=1", "wait=9")],
)  # fmt: skip
async def test_so_long_a_submit_may_wait(fresh: Served, prefer: str, applied: str) -> None:
    asked = asking(fresh, prefer)
    await claimable(fresh)
    await fresh.end()

    assert (await asyncio.wait_for(asked, 5)).headers["preference-applied"] == applied


@pytest.mark.parametrize("prefer", ["wait=0", "wait=-1", "wait=x", "wait=", "wait=1.5", "wait=٣"])
async def test_a_wait_that_cannot_be_read_is_refused_and_nothing_is_kept(fresh: Served, prefer: str) -> None:
    before = fresh.left()
    answer = await fresh.client.post(SUBMIT, json=HERE, headers=[("Prefer", prefer.encode())])

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "Prefer"]
    assert fresh.left() == before


@pytest.mark.parametrize("prefer", ["respond-async", "", "handling=strict"])
async def test_other_preferences_are_ignored(fresh: Served, prefer: str) -> None:
    answer = await asking(fresh, prefer)

    assert "preference-applied" not in answer.headers
    assert set(answer.json()) == FOUR


async def test_a_client_that_leaves_cancels_nothing_and_frees_its_place(serve_with: Serve) -> None:
    async with serve_with(most_streams=1) as served:
        request_id = await served.submit()
        await leave(Follower(served, f"/v1/requests/{request_id}/result", query="wait=60"))
        status = (await served.client.get(f"/v1/requests/{request_id}/status")).json()
        async with Follower(served, f"/v1/requests/{request_id}/events") as stream:
            assert stream.status == 200

    assert status["status"] == "in_queue"


async def leave(waiting: Follower) -> None:
    """Ask, and go away before the answer comes; returns once the server has noticed."""
    asked = asyncio.create_task(waiting.__aenter__())
    await asyncio.sleep(0.05)
    assert not asked.done()
    waiting.leave()
    await asyncio.wait_for(asked, 5)
    await asyncio.wait_for(waiting.task, 5)


async def test_a_result_is_waited_for_too(fresh: Served) -> None:
    request_id = await fresh.submit()
    asked = asyncio.create_task(fresh.client.get(f"/v1/requests/{request_id}/result?wait=30&include_cost=true"))
    await asyncio.sleep(0)
    await fresh.end()
    answer = (await asyncio.wait_for(asked, 5)).json()

    assert (answer["status"], answer["cost"]) == ("succeeded", 0)
    again = await asyncio.wait_for(fresh.client.get(f"/v1/requests/{request_id}/result?wait=30"), 1)
    assert again.json()["status"] == "succeeded"


@pytest.mark.parametrize("wait", ["x", "-1", "1.5", ""])
async def test_a_wait_for_a_result_that_cannot_be_read_is_a_problem_of_the_query(served: Served, wait: str) -> None:
    answer = await served.client.get(f"/v1/requests/{await served.submit()}/result?wait={wait}")

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "wait"]


async def test_the_same_key_waits_for_the_same_request(fresh: Served) -> None:
    first = await fresh.client.post(SUBMIT, json=HERE, headers={"Idempotency-Key": "k"})
    again = asking(fresh, "wait=30", **{"Idempotency-Key": "k"})
    await asyncio.sleep(0)
    await fresh.end()
    answer = await asyncio.wait_for(again, 5)

    assert answer.headers["idempotent-replayed"] == "true"
    assert (answer.json()["request_id"], answer.json()["status"]) == (first.json()["request_id"], "succeeded")


async def test_where_too_many_wait_the_answer_comes_at_once(serve_with: Serve) -> None:
    async with serve_with(most_streams_per_owner=1) as served:
        request_id = await served.submit()
        async with Follower(served, f"/v1/requests/{request_id}/events"):
            answer = await asyncio.wait_for(asking(served, "wait=60"), 5)

    assert (answer.status_code, answer.json()["status"]) == (200, "in_queue")


async def test_nobody_waits_for_a_server_that_stops(fresh: Served) -> None:
    asked = asking(fresh, "wait=60", EXAMPLE)
    await claimable(fresh)
    fresh.app.stop()  # type: ignore[attr-defined]

    assert (await asyncio.wait_for(asked, 5)).json()["status"] == "in_queue"


async def test_a_refused_submit_is_refused_at_once(fresh: Served) -> None:
    answer = await asyncio.wait_for(asking(fresh, "wait=60", {"prompt": 1}), 5)

    assert answer.status_code == 422
    assert "preference-applied" not in answer.headers


async def test_a_dry_run_waits_for_nothing(fresh: Served) -> None:
    answer = await asyncio.wait_for(
        fresh.client.post(f"{SUBMIT}?dry_run=true", json=HERE, headers={"Prefer": "wait=60"}), 5
    )

    assert answer.json()["valid"] is True
