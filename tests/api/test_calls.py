"""The four calls that every client makes: submit, status, result, cancel."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from served import ECHO, EXAMPLE, SUBMIT, WAN, Served, data_uri, picture

from gesso.core.errors import EngineFailed, InputRejected, Problem
from gesso.core.request import Failed

FORBIDDEN_IN_METADATA = {"url", "path", "image", "images", "video", "videos", "audio"}


def keys_of(value: Any) -> set[str]:
    """Every key in *value*, however deep."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


async def test_a_submit_answers_with_the_four_fields_and_no_others(served: Served) -> None:
    answer = await served.client.post(SUBMIT, json=EXAMPLE)
    body = answer.json()
    base = f"https://api.example.org/v1/requests/{body['request_id']}"

    assert answer.status_code == 200
    assert body == {
        "request_id": body["request_id"],
        "status_url": f"{base}/status",
        "result_url": f"{base}/result",
        "cancel_url": f"{base}/cancel",
    }
    assert UUID(body["request_id"]).version == 4


async def test_a_request_is_in_the_database_before_its_answer_leaves(served: Served) -> None:
    before = served.rows()[0]

    await served.client.post(SUBMIT, json=EXAMPLE)

    assert served.rows()[0] == before + 1


async def test_the_urls_of_a_submit_are_those_of_its_calls(served: Served) -> None:
    urls = (await served.client.post(SUBMIT, json=EXAMPLE)).json()

    assert (await served.client.get(urls["status_url"])).json()["status"] == "in_queue"
    assert (await served.client.get(urls["result_url"])).json()["status"] == "in_queue"
    assert (await served.client.post(urls["cancel_url"])).json()["outcome"] == "cancelled"


async def test_the_queue_position_counts_the_jobs_of_the_model_that_start_before(fresh: Served) -> None:
    ids = [await fresh.submit() for _ in range(3)]

    async def positions() -> list[int | None]:
        told = [(await fresh.client.get(f"/v1/requests/{each}/status")).json() for each in ids]
        return [each.get("queue_position") for each in told]

    assert await positions() == [0, 1, 2]
    await fresh.client.post(f"/v1/requests/{ids[1]}/cancel")
    assert await positions() == [0, None, 1]
    await fresh.claim()
    assert await positions() == [None, None, 0]


async def test_status_and_result_tell_each_state_by_its_word_and_nothing_early(fresh: Served) -> None:
    request_id = await fresh.submit()

    async def words() -> tuple[str, str, set[str]]:
        status = (await fresh.client.get(f"/v1/requests/{request_id}/status")).json()
        result = (await fresh.client.get(f"/v1/requests/{request_id}/result")).json()
        return status["status"], result["status"], set(result)

    known = {"request_id", "model_id", "status", "created_at"}
    assert await words() == ("in_queue", "in_queue", known)
    request = await fresh.claim()
    assert await words() == ("in_progress", "in_progress", known)
    await fresh.parts.queue.finish(request, Failed.because(EngineFailed(reason="x")))
    assert await words() == ("completed", "failed", known | {"finished_at", "error"})


async def test_a_result_holds_its_files_in_order_the_first_twice(fresh: Served) -> None:
    request_id = await fresh.submit()
    await fresh.end(pictures=3)

    body = (await fresh.client.get(f"/v1/requests/{request_id}/result")).json()

    assert (body["status"], body["model_id"]) == ("succeeded", WAN)
    assert body["output"]["image"] == body["output"]["images"][0]
    files = [await fresh.client_of(None).get(url) for url in body["output"]["images"]]
    assert [file.status_code for file in files] == [200] * 3
    assert len({file.content for file in files}) == 3
    assert [url.partition("?")[0].rpartition("/")[2] for url in body["output"]["images"]] == [
        f"{request_id[:8]}-{number}.png" for number in (1, 2, 3)
    ]


async def test_a_result_never_echoes_its_input(fresh: Served) -> None:
    secrets = {"prompt": "a-secret-prompt", "negative_prompt": "a-secret-dislike"}
    upload = (await fresh.upload())["url"]
    ids = [await fresh.submit(**secrets, image_urls=[upload]) for _ in range(3)]
    await fresh.end()
    detail = (Problem(("body", "image_urls", 0), "width_pixels>"),)
    await fresh.end(Failed.because(InputRejected(detail=detail)))

    for request_id in ids:
        told = (await fresh.client.get(f"/v1/requests/{request_id}/result?include_cost=true")).text
        assert "secret" not in told
        assert upload.partition("?")[0] not in told


async def test_metadata_holds_no_key_that_clients_collect_urls_by_and_no_url(fresh: Served) -> None:
    request_id = await fresh.submit()
    await fresh.end()

    body = (await fresh.client.get(f"/v1/requests/{request_id}/result")).json()

    assert keys_of(body["metadata"]) & FORBIDDEN_IN_METADATA == set()
    assert "://" not in str(body["metadata"])


@pytest.mark.parametrize("query", ["", "?include_cost=false"])
async def test_a_cost_is_told_only_when_asked_for(fresh: Served, query: str) -> None:
    request_id = await fresh.submit()
    await fresh.end()

    assert "cost" not in (await fresh.client.get(f"/v1/requests/{request_id}/result{query}")).json()


async def test_finished_results_have_a_cost_and_unfinished_ones_have_none(fresh: Served) -> None:
    ids = [await fresh.submit() for _ in range(4)]
    await fresh.end()
    await fresh.end(Failed.because(EngineFailed(reason="x")))
    await fresh.client.post(f"/v1/requests/{ids[2]}/cancel")

    told = [(await fresh.client.get(f"/v1/requests/{each}/result?include_cost=true")).json() for each in ids]

    assert [each["status"] for each in told] == ["succeeded", "failed", "cancelled", "in_queue"]
    assert [each.get("cost") for each in told] == [0, 0, 0, None]


async def test_no_answer_with_a_2xx_has_an_error_code(fresh: Served) -> None:
    request_id = await fresh.submit()
    await fresh.end(Failed.because(EngineFailed(reason="x")))

    for path in ("result", "status"):
        body = (await fresh.client.get(f"/v1/requests/{request_id}/{path}")).json()
        assert not {"error_code", "code"} & set(body)
    assert not {"error_code", "code"} & set((await fresh.client.post(f"/v1/requests/{request_id}/cancel")).json())


async def test_only_a_waiting_request_can_be_cancelled_and_every_later_answer_agrees(fresh: Served) -> None:
    running, waiting = await fresh.submit(), await fresh.submit()
    await fresh.claim()

    async def cancel(request_id: str) -> tuple[int, dict[str, Any]]:
        answer = await fresh.client.post(f"/v1/requests/{request_id}/cancel")
        return answer.status_code, answer.json()

    too_late = {"request_id": running, "status": "in_progress", "outcome": "not_cancellable"}
    in_time = {"request_id": waiting, "status": "cancelled", "outcome": "cancelled"}
    assert [await cancel(running), await cancel(waiting), await cancel(waiting)] == [
        (200, too_late), (200, in_time), (200, in_time),
    ]  # fmt: skip
    assert (await fresh.client.get(f"/v1/requests/{waiting}/status")).json()["status"] == "cancelled"
    result = (await fresh.client.get(f"/v1/requests/{waiting}/result")).json()
    assert (result["status"], "finished_at" in result, "error" in result) == ("cancelled", True, False)


async def test_a_finished_request_cannot_be_cancelled(fresh: Served) -> None:
    request_id = await fresh.submit()
    await fresh.end()

    body = (await fresh.client.post(f"/v1/requests/{request_id}/cancel")).json()

    assert body == {"request_id": request_id, "status": "completed", "outcome": "not_cancellable"}


async def test_a_request_whose_pictures_are_still_to_be_fetched_can_be_cancelled(served: Served) -> None:
    request_id = (await served.client.post(SUBMIT, json=EXAMPLE)).json()["request_id"]

    assert (await served.client.post(f"/v1/requests/{request_id}/cancel")).json()["outcome"] == "cancelled"


async def test_of_many_cancels_and_a_start_one_side_wins_and_all_agree(fresh: Served) -> None:
    request_id = await fresh.submit()
    cancels = [fresh.client.post(f"/v1/requests/{request_id}/cancel") for _ in range(30)]
    claim = fresh.parts.queue.claim([WAN], holder="test", lease=fresh.parts.settings.lease)

    *answers, claimed = await asyncio.gather(*cancels[:15], *cancels[15:], claim)

    outcomes = {answer.json()["outcome"] for answer in answers}
    assert outcomes == ({"cancelled"} if claimed is None else {"not_cancellable"})


@pytest.mark.parametrize(
    ("type", "content"),
    [
        (None, b""),
        ("application/json", b""),
        ("application/json", b"no json"),
        ("application/octet-stream", b"\x00\xff"),
        ("text/plain", b"x"),
        ("application/json; charset=utf-16", b"{}"),
        ("application/json", b"x" * 1_000_000),
    ],
)
async def test_a_cancel_takes_any_body_of_any_type(served: Served, type: str | None, content: bytes) -> None:
    request_id = await served.submit()

    answer = await served.client.post(
        f"/v1/requests/{request_id}/cancel", content=content, headers={"Content-Type": type} if type else {}
    )

    assert (answer.status_code, answer.json()["outcome"]) == (200, "cancelled")


async def test_the_stored_input_is_the_resolved_one_without_unknown_keys(fresh: Served) -> None:
    body = EXAMPLE | {"seed": 7.0, "prompt_extend": None, "x": 1, "__proto__": {"seed": 9}, "n" * 300: "y"}
    request_id = (await fresh.client.post(SUBMIT, json=body)).json()["request_id"]

    assert dict((await fresh.parts.queue.get(request_id, "alice")).input) == EXAMPLE | {
        "negative_prompt": "low resolution, error, worst quality, low quality, deformed, extra fingers",
        "image_size": "1024*1024 (1:1)",
        "seed": 7,
        "prompt_extend": True,
    }


async def test_every_model_of_the_catalogue_takes_its_own_example(served: Served) -> None:
    for model in served.parts.catalog.values():
        answer = await served.client.post(f"/v1/models/{model.id}", json=dict(model.example))
        assert answer.status_code == 200, model.id


async def test_a_request_whose_model_has_been_taken_away_can_still_be_read(fresh: Served) -> None:
    request_id = await fresh.submit()
    await fresh.end()
    fresh.change("UPDATE requests SET model_id = 'gone/away'")

    body = (await fresh.client.get(f"/v1/requests/{request_id}/result?include_cost=true")).json()

    assert (body["status"], body["model_id"], body["cost"]) == ("succeeded", "gone/away", 0)
    assert body["output"]["image"] in body["output"]["images"]


async def test_a_percent_encoded_model_id_means_the_same(served: Served) -> None:
    for path in (WAN.replace("/", "%2F"), WAN.replace("wan-ai", "wan%2Dai"), ECHO.replace("/", "%2f", 1)):
        assert (await served.client.get(f"/v1/models/{path}")).json()["model_id"] in (WAN, ECHO)
    answer = await served.client.post(f"/v1/models/{WAN.replace('/', '%2F')}", json=EXAMPLE)
    assert answer.status_code == 200


async def test_a_later_key_of_the_same_name_wins(served: Served) -> None:
    content = b'{"prompt": "a", "prompt": "b", "image_urls": ["https://images.example/a.png"], "seed": -1, "seed": 2}'

    answer = await served.client.post(SUBMIT, content=content, headers={"Content-Type": "application/json"})

    stored = (await served.parts.queue.get(answer.json()["request_id"], "alice")).input
    assert (stored["prompt"], stored["seed"]) == ("b", 2)


async def test_one_picture_may_be_sent_several_times(fresh: Served) -> None:
    uri = data_uri(picture())
    request_id = await fresh.submit(image_urls=[uri, uri])

    pictures = (await fresh.parts.queue.get(request_id, "alice")).pictures
    assert [each.index for each in pictures if each.blob] == [0, 1]
