"""Administrators see everybody's queue and cancel what waits there; what is asked for and made stays its owner's."""

import httpx2
import pytest
from served import WAN, Served

PATH = "/v1/requests"


@pytest.fixture
async def admin(fresh: Served) -> httpx2.AsyncClient:
    return await fresh.client_for("ops", is_admin=True)


async def test_an_administrator_sees_everybodys_requests_with_their_owners(
    fresh: Served, admin: httpx2.AsyncClient
) -> None:
    done = await fresh.submit()
    await fresh.end()
    waits = await fresh.submit()

    page = (await admin.get(f"{PATH}?all=true")).json()

    assert [(each["request_id"], each["owner"], each["status"]) for each in page["requests"]] == [
        (waits, "alice", "in_queue"),
        (done, "alice", "completed"),
    ]
    assert page["admin"] is True


async def test_everybodys_list_tells_nothing_of_what_was_asked_for_or_made(
    fresh: Served, admin: httpx2.AsyncClient
) -> None:
    await fresh.submit(prompt="a secret wish")
    await fresh.end()

    answer = await admin.get(f"{PATH}?all=true")

    (told,) = answer.json()["requests"]
    assert set(told) == {"request_id", "owner", "model_id", "status", "created_at", "finished_at"}
    assert not any(word in answer.text for word in ("wish", "/files/", "data:", "prompt"))


async def test_an_administrator_reads_nobodys_status_result_or_events(fresh: Served, admin: httpx2.AsyncClient) -> None:
    request_id = await fresh.submit()
    await fresh.end()
    unknown = (await admin.get(f"{PATH}/00000000-0000-4000-8000-000000000000/result")).content

    for part in ("status", "result", "events"):
        answer = await admin.get(f"{PATH}/{request_id}/{part}")
        assert (answer.status_code, answer.content) == (404, unknown), part


async def test_anybody_else_is_refused_alike_whoever_is_there(fresh: Served) -> None:
    bob, queries = await fresh.client_for("bob"), ("all=true", "all=1", "all=TRUE&status=in_queue", "all=true&limit=0")
    before = [(await bob.get(f"{PATH}?{query}")).content for query in queries]
    await fresh.submit()

    for query, earlier in zip(queries, before, strict=True):
        after = await bob.get(f"{PATH}?{query}")
        assert (after.status_code, after.content) == (403, earlier), query
    body = after.json()
    assert (body["code"], body["error"], body["detail"]) == (403000, "Forbidden", [])
    assert set(body) == {"code", "error_code", "error", "error_message", "detail"}
    assert (await fresh.client_of(None).get(f"{PATH}?all=true")).status_code == 401


async def test_without_being_asked_an_administrator_is_told_only_its_own(
    fresh: Served, admin: httpx2.AsyncClient
) -> None:
    await fresh.submit()

    for query in ("", "?all=false"):
        assert (await admin.get(PATH + query)).json() == {"requests": [], "admin": True}
    assert "admin" not in (await fresh.client.get(PATH)).json()


async def test_everybodys_pages_follow_one_another_and_are_filtered_by_state(
    fresh: Served, admin: httpx2.AsyncClient
) -> None:
    ids = [await fresh.submit() for _ in range(3)]
    first = (await admin.get(f"{PATH}?all=true&status=in_queue&limit=2")).json()
    rest = (await admin.get(f"{PATH}?all=true&status=in_queue&limit=2&cursor={first['next_cursor']}")).json()

    assert [each["request_id"] for each in first["requests"] + rest["requests"]] == ids[::-1]
    assert (await admin.get(f"{PATH}?all=true&status=completed")).json()["requests"] == []


async def test_a_model_cannot_be_asked_for_among_everybodys(served: Served) -> None:
    admin = await served.client_for("ops", is_admin=True)

    answer = await admin.get(f"{PATH}?all=true&model_id={WAN}")

    (problem,) = answer.json()["detail"]
    assert (answer.status_code, problem["loc"], problem["type"]) == (422, ["query", "model_id"], "not_with_all")


async def test_an_administrator_cancels_what_waits_and_the_owner_and_the_log_are_told(
    fresh: Served, admin: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gesso")
    runs, waits = await fresh.submit(), await fresh.submit()
    await fresh.claim()

    told = [(await admin.post(f"{PATH}/{each}/cancel")).json() for each in (waits, runs)]

    assert [each["outcome"] for each in told] == ["cancelled", "not_cancellable"]
    assert (await fresh.client.get(f"{PATH}/{waits}/result")).json()["status"] == "cancelled"
    assert [each.getMessage() for each in caplog.records if "administrator" in each.getMessage()] == [
        f"the administrator ops cancels request {waits}: it is cancelled",
        f"the administrator ops cancels request {runs}: it is in_progress",
    ]


async def test_a_token_that_is_no_administrators_cancels_nothing_of_anothers(fresh: Served) -> None:
    waits, bob = await fresh.submit(), await fresh.client_for("bob")

    assert (await bob.post(f"{PATH}/{waits}/cancel")).status_code == 404
    assert (await fresh.client.get(f"{PATH}/{waits}/status")).json()["status"] == "in_queue"


async def test_a_revoked_administrator_is_nobody(served: Served) -> None:
    token = await served.parts.tokens.create("boss", is_admin=True)
    (known,) = [each for each in await served.parts.tokens.list() if each.owner == "boss"]
    await served.parts.tokens.revoke(known.id)

    assert (await served.client_of(token).get(f"{PATH}?all=true")).status_code == 401
