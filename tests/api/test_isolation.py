"""Foreign, unknown, malformed: to whoever asks, three names of nothing."""

import httpx2
import pytest
from served import MISSING_ID, SUBMIT, Served, data_uri, picture

CALLS = [("GET", "status"), ("GET", "result"), ("GET", "events"), ("POST", "cancel")]
MALFORMED = [
    "abc", "0", "-1", "null", "%20", "%00", "%0a", "%0d%0aSet-Cookie:%20x", "..%2e", "a" * 36, "a" * 10_000,
    "%F0%9F%98%80", MISSING_ID.upper().replace("0", "A"), f"{{{MISSING_ID}}}", MISSING_ID.replace("-", ""),
    "'%20OR%20'1'='1",     "00000000-0000-4000-8000-00000000000%EF%BC%90",
]  # fmt: skip


def seen(answer: httpx2.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All that a client can see."""
    return answer.status_code, answer.content, answer.headers.multi_items()


@pytest.mark.parametrize(("method", "call"), CALLS)
async def test_a_foreign_and_a_malformed_request_look_like_one_that_never_existed(
    served: Served, method: str, call: str
) -> None:
    foreign = await served.submit()
    bob = await served.client_for("bob")

    unknown = seen(await bob.request(method, f"/v1/requests/{MISSING_ID}/{call}"))
    answers = [
        await bob.request(method, f"/v1/requests/{each}/{call}") for each in (foreign, foreign.upper(), *MALFORMED)
    ]

    assert unknown[0] == 404
    assert b'"code":404001' in unknown[1]
    assert [answer.request.url for answer in answers if seen(answer) != unknown] == []


@pytest.mark.parametrize(("method", "call"), CALLS)
async def test_the_answer_does_not_depend_on_the_language_of_the_submitter(
    served: Served, method: str, call: str
) -> None:
    foreign = (
        await served.client.post(f"{SUBMIT}?lang=ja", json={"prompt": "a", "image_urls": [data_uri(picture())]})
    ).json()["request_id"]
    bob = await served.client_for("bob")

    told = [
        seen(await bob.request(method, f"/v1/requests/{each}/{call}", headers={"Accept-Language": "ru"}))
        for each in (foreign, MISSING_ID)
    ]

    assert told[0] == told[1]


async def test_a_foreign_cancel_cancels_nothing(served: Served) -> None:
    request_id = await served.submit()

    await (await served.client_for("bob")).post(f"/v1/requests/{request_id}/cancel")

    assert (await served.client.get(f"/v1/requests/{request_id}/status")).json()["status"] == "in_queue"


async def test_finished_requests_are_as_foreign_as_waiting_ones(fresh: Served) -> None:
    request_id = await fresh.submit()
    await fresh.end()
    bob = await fresh.client_for("bob")

    for method, call in CALLS:
        told = [seen(await bob.request(method, f"/v1/requests/{each}/{call}")) for each in (request_id, MISSING_ID)]
        assert told[0] == told[1]
