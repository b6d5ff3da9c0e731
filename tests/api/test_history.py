"""`GET /v1/requests`: own requests, newest first, page by page."""

import pytest
from served import ECHO, Served

from gesso.core.request import Failed

PATH = "/v1/requests"


async def listed(served: Served, query: str = "") -> dict[str, object]:
    answer = await served.client.get(PATH + query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ids(page: dict[str, object]) -> list[str]:
    return [each["request_id"] for each in page["requests"]]  # type: ignore[attr-defined]


async def test_the_newest_comes_first_and_a_cursor_leads_to_the_rest(fresh: Served) -> None:
    newest = [await fresh.submit() for _ in range(5)][::-1]
    first = await listed(fresh, "?limit=2")
    second = await listed(fresh, f"?limit=2&cursor={first['next_cursor']}")
    await fresh.submit()  # what comes meanwhile does not shift the pages
    last = await listed(fresh, f"?limit=2&cursor={second['next_cursor']}")

    assert ids(first) + ids(second) + ids(last) == newest
    assert "next_cursor" not in last


async def test_a_page_that_is_just_full_is_the_last(fresh: Served) -> None:
    for _ in range(2):
        await fresh.submit()

    assert "next_cursor" not in await listed(fresh, "?limit=2")
    assert await listed(fresh, "?status=completed") == {"requests": []}


async def test_twenty_are_listed_unless_more_are_asked_for(fresh: Served) -> None:
    for _ in range(21):
        await fresh.submit()

    assert len(ids(await listed(fresh))) == 20
    assert len(ids(await listed(fresh, "?limit=100"))) == 21


async def test_an_entry_says_what_a_status_says_and_when(fresh: Served) -> None:
    failed = await fresh.submit()
    await fresh.end(Failed(500001, "InternalError"))
    waits = await fresh.submit()

    one, two = (await listed(fresh))["requests"]  # type: ignore[misc]
    assert (one["request_id"], one["status"], two["request_id"], two["status"]) == (
        waits,
        "in_queue",
        failed,
        "completed",
    )
    assert set(one) == {"request_id", "model_id", "status", "created_at"}
    assert set(two) == {*one, "finished_at"}


async def test_it_is_filtered_by_status_and_model(fresh: Served) -> None:
    done = await fresh.submit()
    await fresh.end()
    waits = await fresh.submit()

    assert ids(await listed(fresh, "?status=completed")) == [done]
    assert ids(await listed(fresh, "?status=in_queue")) == [waits]
    assert ids(await listed(fresh, f"?model_id={ECHO}")) == []
    assert ids(await listed(fresh, "?model_id=wan-ai/wan-2-6/image-to-image")) == [waits, done]


async def test_nobody_sees_anothers_requests_or_pages(fresh: Served) -> None:
    for _ in range(3):
        await fresh.submit()
    cursor = (await listed(fresh, "?limit=1"))["next_cursor"]
    bob = await fresh.client_for("bob")

    assert (await bob.get(PATH)).json() == {"requests": []}
    assert (await bob.get(f"{PATH}?cursor={cursor}")).json() == {"requests": []}
    assert (await fresh.client_of(None).get(PATH)).status_code == 401


@pytest.mark.parametrize(
    ("query", "name", "type"),
    [
        ("limit=0", "limit", "greater_than_equal"), ("limit=101", "limit", "less_than_equal"),
        ("limit=x", "limit", "int_type"), ("status=succeeded", "status", "enum"), ("status=", "status", "enum"),
        ("cursor=x", "cursor", "cursor"), ("cursor=", "cursor", "cursor"), ("cursor=AAAAAAAAAAA", "cursor", "cursor"),
        ("cursor=__________8", "cursor", "cursor"), ("cursor=%E3%81%82", "cursor", "cursor"),
    ],
)  # fmt: skip
async def test_an_option_that_cannot_be_read_is_a_problem_of_the_query(
    served: Served, query: str, name: str, type: str
) -> None:
    answer = await served.client.get(f"{PATH}?{query}")

    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert (problem["loc"], problem["type"]) == (["query", name], type)
