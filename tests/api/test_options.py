"""What a submit may ask for beside the input: how urgent it is, and until when it is worth starting."""

from datetime import timedelta

import pytest
from served import EXAMPLE, SUBMIT, Served

from gesso.core.request import Options, Priority

pytestmark = pytest.mark.anyio


async def options_of(served: Served, query: str) -> Options:
    answer = await served.client.post(f"{SUBMIT}?{query}", json=EXAMPLE)
    assert answer.status_code == 200, answer.text
    return (await served.parts.queue.get(answer.json()["request_id"], "alice")).options


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("priority=low", Options(Priority.LOW)),
        ("priority=normal", Options()),
        ("max_queue_seconds=1", Options(start_within=timedelta(seconds=1))),
        ("max_queue_seconds=86400&priority=low", Options(Priority.LOW, timedelta(days=1))),
        ("something=else", Options()),
    ],
)
async def test_an_option_of_a_submit_is_kept_with_its_request(served: Served, query: str, asked: Options) -> None:
    assert await options_of(served, query) == asked


async def test_a_token_may_ask_for_its_ceiling_and_no_more(served: Served) -> None:
    entitled = served.client_of(await served.parts.tokens.create("alice", ceiling=Priority.HIGH))
    allowed = await entitled.post(f"{SUBMIT}?priority=high", json=EXAMPLE)
    refused = await served.client.post(f"{SUBMIT}?priority=high", json=EXAMPLE)

    assert (await served.parts.queue.get(allowed.json()["request_id"], "alice")).options.priority is Priority.HIGH
    assert refused.status_code == 422
    assert refused.json()["detail"] == [
        {
            "loc": ["query", "priority"],
            "msg": "This token may ask for normal priority at most.",
            "type": "priority_ceiling",
        }
    ]


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("priority=urgent", "enum"),
        ("priority=", "enum"),
        ("max_queue_seconds=0", "greater_than_equal"),
        ("max_queue_seconds=86401", "less_than_equal"),
        ("max_queue_seconds=1.5", "int_type"),
        ("max_queue_seconds=", "int_type"),
    ],
)
async def test_an_option_that_cannot_be_is_told_by_its_name_and_keeps_nothing(
    fresh: Served, query: str, kind: str
) -> None:
    answer = await fresh.client.post(f"{SUBMIT}?{query}", json=EXAMPLE)

    (problem,) = answer.json()["detail"]
    assert (answer.status_code, problem["loc"], problem["type"]) == (422, ["query", query.partition("=")[0]], kind)
    count = await fresh.parts.database.read(lambda rows: rows.execute("SELECT count(*) FROM requests").fetchone()[0])
    assert count == 0


async def test_a_request_that_was_not_started_in_time_is_cancelled_with_the_reason(fresh: Served) -> None:
    answer = await fresh.client.post(f"{SUBMIT}?max_queue_seconds=60", json=EXAMPLE)
    urls = answer.json()
    await fresh.parts.database.write(lambda rows: rows.execute("UPDATE requests SET start_by = now_us()"))
    await fresh.parts.queue.expire()
    status, result = [(await fresh.client.get(urls[name])).json() for name in ("status_url", "result_url")]

    assert (status["status"], result["status"], result["error"]["code"]) == ("cancelled", "cancelled", 408001)
    assert "output" not in result
