"""A submit that is sent again under its key makes one request, however often, and whatever happens in between."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from served import ECHO, EXAMPLE, SUBMIT, Served, data_uri, picture, serve

KEY = {"Idempotency-Key": "order 66"}


async def sent(served: Served, body: Any = EXAMPLE, key: str = "order 66", path: str = SUBMIT) -> httpx2.Response:
    return await served.client.post(path, json=body, headers={"Idempotency-Key": key})


async def test_I05_the_same_key_and_input_stand_for_one_request(fresh: Served) -> None:
    first, second = await sent(fresh), await sent(fresh)

    assert first.json() == second.json()
    assert (first.headers.get("Idempotent-Replayed"), second.headers["Idempotent-Replayed"]) == (None, "true")
    assert fresh.rows()[0] == 1


async def test_I05_fifty_at_once_make_one_request(fresh: Served) -> None:
    body = EXAMPLE | {"image_urls": [data_uri(picture())]}

    answers = await asyncio.gather(*(sent(fresh, body) for _ in range(50)))

    assert len({answer.json()["request_id"] for answer in answers}) == 1
    assert fresh.rows() == (1, 1)


async def test_I05_a_key_holds_across_a_restart(tmp_path: Any, nowhere: None) -> None:
    async with serve(tmp_path / "house") as before:
        first, token = (await sent(before)).json(), before.token
    async with serve(tmp_path / "house") as after:
        again = await after.client_of(token).post(SUBMIT, json=EXAMPLE, headers=KEY)

    assert again.json() == first


@pytest.mark.parametrize(
    "same",
    [
        dict(reversed(EXAMPLE.items())),
        EXAMPLE | {"seed": None, "unknown": 1},
    ],
    ids=["keys in another order", "nulls and unknown keys"],
)
async def test_what_does_not_count_does_not_make_another_input(fresh: Served, same: dict[str, Any]) -> None:
    first = await sent(fresh)

    assert (await sent(fresh, same)).json() == first.json()


async def test_a_data_uri_counts_by_its_bytes(fresh: Served) -> None:
    first = await sent(fresh, EXAMPLE | {"image_urls": [data_uri(picture(), "image/png")]})

    assert (await sent(fresh, EXAMPLE | {"image_urls": [data_uri(picture(), "image/webp")]})).json() == first.json()


@pytest.mark.parametrize(
    ("body", "path"),
    [(EXAMPLE | {"prompt": "a dog"}, SUBMIT), (EXAMPLE | {"seed": 0}, SUBMIT), (EXAMPLE, f"/v1/models/{ECHO}")],
    ids=["another prompt", "a default spelt out", "another model"],
)
async def test_another_input_under_the_same_key_is_a_conflict_and_harms_nothing(
    fresh: Served, body: dict[str, Any], path: str
) -> None:
    first = await sent(fresh)
    conflict = await sent(fresh, body, path=path)

    assert (conflict.status_code, conflict.json()["code"]) == (409, 409001)
    assert fresh.rows()[0] == 1
    assert (await sent(fresh)).json() == first.json()


async def test_owners_keys_are_their_own(fresh: Served) -> None:
    bob = await fresh.client_for("bob")

    first, other = await sent(fresh), await bob.post(SUBMIT, json=EXAMPLE, headers=KEY)

    assert first.json()["request_id"] != other.json()["request_id"]


async def test_I03_a_refused_submit_uses_no_key_up(fresh: Served) -> None:
    refused = await sent(fresh, EXAMPLE | {"seed": -1})
    accepted = await sent(fresh)

    assert (refused.status_code, accepted.status_code) == (422, 200)
    assert "Idempotent-Replayed" not in accepted.headers


async def test_a_key_is_forgotten_after_a_day(fresh: Served) -> None:
    first = await sent(fresh)
    fresh.change("UPDATE once SET created_at = created_at - 24 * 60 * 60 * 1000000")

    second = await sent(fresh)
    fresh.change("UPDATE once SET created_at = created_at - 24 * 60 * 60 * 1000000")
    await fresh.parts.queue.forget_keys()

    assert first.json()["request_id"] != second.json()["request_id"]
    assert await fresh.parts.database.read(lambda rows: rows.execute("SELECT count(*) FROM once").fetchone()[0]) == 0


@pytest.mark.parametrize("key", ["", "k" * 256, "schl\u00fcssel", "a\tb"])
async def test_a_key_that_is_none_is_refused_and_leaves_nothing(fresh: Served, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1"), "Content-Type": "application/json"}
    refused = await fresh.client.post(SUBMIT, content=json.dumps(EXAMPLE), headers=headers)  # type: ignore[arg-type]

    assert refused.status_code == 422
    assert [each["loc"] for each in refused.json()["detail"]] == [["header", "Idempotency-Key"]]
    assert fresh.left() == ((0, 0), 0)


async def test_a_replayed_submit_keeps_no_second_picture(fresh: Served) -> None:
    body = EXAMPLE | {"image_urls": [data_uri(picture())]}
    await sent(fresh, body)
    before = fresh.left()

    await sent(fresh, body)

    assert fresh.left() == before
