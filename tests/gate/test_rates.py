"""Who asks too often or keeps too much is told which limit it is and when to come again; nobody else notices."""

import asyncio
import json
import random
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from inside import data_uri, house, picture
from live import EXAMPLE, FIVE_KEYS, SUBMIT

from gesso.api import rates
from gesso.api.limits import Budget
from gesso.api.rates import Rate
from gesso.core.errors import GessoError, LeaseLost, ResourceNotFound, StorageFull, TooMany, TooManyOpen, Unavailable
from gesso.core.pictures import Kept, Picture
from gesso.core.request import Failed, Request, Succeeded
from gesso.store.database import Database
from gesso.store.files import Files
from gesso.store.queue import Queue
from gesso.store.usage import Quota, Usage

pytestmark = pytest.mark.anyio


class Clock:
    """Stands still until it is told to go."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rates, "time", clock)
    return clock


def taken(rate: Rate, key: str = "alice", most: int = 10_000) -> int:
    """How many are given before one is refused."""
    for count in range(most):
        try:
            rate.take(key)
        except TooMany:
            return count
    return most


def test_a_bucket_gives_as_many_at_once_as_a_minute_has(clock):
    assert taken(Rate(60)) == 60


def test_a_bucket_fills_as_time_passes_and_not_beyond_its_brim(clock):
    rate = Rate(60)
    taken(rate)

    clock.now += 2.5
    assert taken(rate) == 2
    clock.now += 3600
    assert taken(rate) == 60


def test_who_comes_again_when_told_to_is_served(clock):
    for per_minute in (1, 7, 60, 1000, 100_000):
        rate = Rate(per_minute)
        taken(rate, most=200_000)
        with pytest.raises(TooMany) as refused:
            rate.take("alice")
        assert refused.value.retry_after_s
        assert refused.value.retry_after_s >= 1

        clock.now += refused.value.retry_after_s
        rate.take("alice")


def test_being_refused_costs_nothing(clock):
    rate = Rate(60)
    taken(rate)
    for _ in range(1000):
        with pytest.raises(TooMany):
            rate.take("alice")

    clock.now += 1
    rate.take("alice")


def test_buckets_are_apart(clock):
    rate = Rate(60)
    taken(rate, "alice")

    assert taken(rate, "bob") == 60


def test_no_limit_is_no_limit(clock):
    assert taken(Rate(0)) == 10_000


def test_many_keys_do_not_fill_the_memory_and_do_not_free_who_was_just_refused(clock, monkeypatch):
    monkeypatch.setattr(rates, "MOST_REMEMBERED", 100)
    rate = Rate(2)
    for number in range(1000):
        clock.now += 0.0001
        assert taken(rate, "a guesser") in (0, 2) if number == 0 else taken(rate, "a guesser") == 0
        rate.take(f"address {number}")

    assert len(rate._buckets) <= 100


async def test_failed_sign_ins_of_an_address_are_limited_and_its_good_token_goes_on(tmp_path, clock):
    async with house(tmp_path / "house", bad_tokens_per_minute=5) as here:
        guesser = here.client_of("gesso_wrong")
        answers = [await guesser.get("/v1/models") for _ in range(8)]
        elsewhere = await here.client_of("gesso_wrong", "198.51.100.9").get("/v1/models")

        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 3
        assert answers[-1].headers["Retry-After"] == "12"
        assert (await here.client.get("/v1/models")).status_code == 200
        assert elsewhere.status_code == 401

        clock.now += 12
        assert (await guesser.get("/v1/models")).status_code == 401


async def test_submits_of_an_owner_are_limited_and_no_other_owner_notices(tmp_path, clock):
    async with house(tmp_path / "house", submits_per_minute=3) as here:
        bob = await here.client_for("bob")
        answers = [await here.submit() for _ in range(4)]
        uploaded = await here.client.post("/v1/files", content=picture(), headers={"Content-Type": "image/png"})
        tried = await here.submit("?dry_run=true", image_urls=[data_uri(picture())])

        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [uploaded.status_code, tried.status_code] == [429, 429]
        assert (await bob.post(SUBMIT, json=EXAMPLE)).status_code == 200
        assert (await here.client.get("/v1/models")).status_code == 200
        expect_told(answers[3])


async def test_calls_of_an_owner_are_limited_whatever_they_ask(tmp_path, clock):
    async with house(tmp_path / "house", reads_per_minute=3) as here:
        paths = ["/v1/models", "/v1/requests/x/status", "/nowhere", "/v1/balance"]
        answers = [await here.client.get(path) for path in paths]

        assert [answer.status_code for answer in answers] == [200, 404, 404, 429]
        assert (await here.client.get("/healthz")).status_code == 200
        expect_told(answers[3])


def expect_told(answer: httpx2.Response, *words: str) -> None:
    """That a refusal says when to come again, and in its sentence what is full."""
    body = answer.json()
    assert answer.status_code in (429, 503)
    assert body.keys() == FIVE_KEYS
    assert body["code"] in (429001, 503001)
    assert int(answer.headers["Retry-After"]) >= 1
    for word in words:
        assert word in body["error_message"], body["error_message"]


async def test_open_requests_of_an_owner_are_limited_until_they_end(tmp_path):
    async with house(tmp_path / "house", most_open_per_owner=2) as here:
        bob = await here.client_for("bob")
        first = (await here.submit()).json()["request_id"]
        second = await here.submit()
        third = await here.submit()

        assert second.status_code == 200
        expect_told(third, "2", "wait or run")
        assert (await bob.post(SUBMIT, json=EXAMPLE)).status_code == 200
        await here.client.post(f"/v1/requests/{first}/cancel")
        assert (await here.submit()).status_code == 200


async def test_open_requests_of_all_owners_are_limited(tmp_path):
    async with house(tmp_path / "house", most_open=2) as here:
        bob = await here.client_for("bob")
        assert [(await here.submit()).status_code, (await bob.post(SUBMIT, json=EXAMPLE)).status_code] == [200, 200]

        expect_told(await here.submit(), "2", "wait or run")


async def test_Z13_who_has_used_up_the_run_time_of_a_day_is_told_so_and_nobody_else_is(tmp_path):
    async with house(tmp_path / "house", run_seconds_per_owner=2) as here:
        bob, frozen = await here.client_for("bob"), {"image_urls": [data_uri(picture(400, 400))]}
        keyed = {"Idempotency-Key": "first"}
        first = (await here.client.post(SUBMIT, json=EXAMPLE | frozen, headers=keyed)).json()["request_id"]
        claimed = await here.claim()
        assert claimed is not None
        await here.parts.queue.finish(claimed, Failed(502001, "EngineFailed", {"reason": "x"}))
        await here.set("UPDATE requests SET started_at = finished_at - 2000000 - 1")
        before = here.left()
        refused, tried = await here.submit(**frozen), await here.submit("?dry_run=true")
        again = await here.client.post(SUBMIT, json=EXAMPLE | frozen, headers=keyed)

        for told in (refused, tried):
            assert (told.status_code, told.json()["code"], told.json()["error"]) == (
                402,
                400002,
                "InsufficientResources",
            )
            assert "2 seconds" in told.json()["error_message"]
        assert here.left() == before
        assert again.json()["request_id"] == first
        assert (await here.result(first))["status"] == "failed"
        assert (await bob.post(SUBMIT, json=EXAMPLE)).status_code == 200

        await here.set(
            "UPDATE requests SET finished_at = finished_at - 86400000000, started_at = started_at - 86400000000"
        )
        assert (await here.submit()).status_code == 200, "a day later"


async def test_stored_pictures_of_an_owner_are_limited_until_they_are_forgotten(tmp_path):
    data = picture(1000, 1000, format="BMP")
    async with house(tmp_path / "house", stored_bytes_per_owner=2 * len(data)) as here:
        bob = await here.client_for("bob")
        fields = {"image_urls": [data_uri(data)]}
        first = (await here.submit(**fields)).json()["request_id"]
        second = await here.client.post("/v1/files", content=data, headers={"Content-Type": "image/bmp"})
        before = here.left()
        third, fourth = await here.submit(**fields), await here.submit()
        upload = await here.client.post("/v1/files", content=data, headers={"Content-Type": "image/bmp"})

        assert second.status_code == 200
        for refused in (third, fourth, upload):
            expect_told(refused, "stored pictures", "6 MB")
        assert here.left() == before
        assert (await bob.post(SUBMIT, json={**EXAMPLE, **fields})).status_code == 200
        await here.client.post(f"/v1/requests/{first}/cancel")
        await here.parts.files.forget_requests(retention=timedelta(0))
        assert (await here.submit(**fields)).status_code == 200


SMALL, LARGEST = 10, 1000


def drawn(budget: Budget, owner: str, size: int) -> GessoError | None:
    """What a body of *size* is told, all given back behind it."""
    with budget.hold(owner) as held:
        try:
            held.grow(size)
        except GessoError as error:
            return error
    return None


def test_large_bodies_of_one_owner_draw_half_of_the_budget_at_most(monkeypatch):
    budget = Budget(100, small=SMALL, largest=LARGEST)
    with budget.hold("alice") as held:
        held.grow(50)

        assert isinstance(drawn(budget, "alice", 11), TooMany)
        assert drawn(budget, "bob", 50) is None
        assert drawn(budget, "alice", SMALL) is None


def test_large_bodies_of_all_owners_draw_the_budget_at_most():
    budget = Budget(100, small=SMALL, largest=LARGEST)
    with budget.hold("alice") as hers, budget.hold("bob") as his:
        hers.grow(50)
        his.grow(40)

        assert isinstance(drawn(budget, "carol", 20), Unavailable)
        assert drawn(budget, "carol", SMALL) is None


def test_what_was_drawn_is_given_back_whatever_happens():
    budget = Budget(100, small=SMALL, largest=LARGEST)
    for _ in range(3):
        with budget.hold("alice") as held:
            held.grow(50)
            with pytest.raises(TooMany):
                held.grow(51)

    assert drawn(budget, "alice", 50) is None
    assert not budget._used


def test_a_body_that_grows_draws_what_it_has_become_and_no_more():
    budget = Budget(100, small=SMALL, largest=LARGEST)
    with budget.hold("alice") as held:
        for size in (5, 9, 11, 30, 30, 50):
            held.grow(size)

        assert budget._used["alice"] == 50
        with pytest.raises(TooMany):
            held.grow(51)


async def test_bodies_in_flight_are_bounded_on_the_wire_and_another_owner_goes_on(tmp_path):
    async with house(tmp_path / "house", bodies_in_flight=8 * 2**20, other_body_limit=2**18) as here:
        bob = await here.client_for("bob")
        go_on, begun = asyncio.Event(), asyncio.Event()
        body = f'{{"prompt": "a cat", "image_urls": ["{data_uri(picture(1000, 1000, format="BMP"))}"]}}'.encode()
        assert 3 * 2**20 < len(body) < 4 * 2**20

        async def slowly() -> Any:
            yield body[: 2**19]
            begun.set()
            await go_on.wait()
            yield body[2**19 :]

        # The transport in this process hands a body over as it comes, so what is held is what has come.
        content = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        first = asyncio.create_task(here.client.post(SUBMIT, content=slowly(), headers=content))
        await begun.wait()
        await asyncio.sleep(0)
        second = await here.client.post(SUBMIT, content=body, headers=content)
        other = await bob.post(SUBMIT, content=body, headers=content)
        small = await here.submit()
        go_on.set()

        expect_told(second)
        assert [other.status_code, small.status_code, (await first).status_code] == [200, 200, 200]
        assert (await here.client.post(SUBMIT, content=body, headers=content)).status_code == 200


async def test_messages_to_the_tools_draw_on_the_same_budget(tmp_path):
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    padded = [
        json.dumps(message | {"params": {"_meta": {"x": "a" * size}}}).encode() for size in (10, 2**20, 17 * 2**20)
    ]
    async with house(tmp_path / "house", bodies_in_flight=2 * 2**20, body_limit=2**20) as here:
        small, large, huge = [await here.client.post("/mcp", content=each, headers=headers) for each in padded]

        assert "run_model" in small.text
        expect_told(large, "bodies", "1 MiB")
        assert (huge.status_code, huge.json()["code"], huge.json().keys()) == (413, 413001, FIVE_KEYS)


def recount(folder: Path) -> dict[str, tuple[int, int]]:
    """What the rows of each owner add up to."""
    with sqlite3.connect(folder / "gesso.db") as rows:
        opened = dict(rows.execute("SELECT owner, count(*) FROM requests WHERE finished_at IS NULL GROUP BY owner"))
        stored = dict(rows.execute("SELECT owner, sum(size_bytes) FROM files GROUP BY owner"))
    return {owner: (opened.get(owner, 0), stored.get(owner, 0)) for owner in opened.keys() | stored.keys()}


def counted(folder: Path) -> dict[str, tuple[int, int]]:
    """What the database has kept count of."""
    with sqlite3.connect(folder / "gesso.db") as rows:
        found = rows.execute("SELECT owner, open, stored_bytes FROM usage").fetchall()
    return {owner: (opened, stored) for owner, opened, stored in found if opened or stored}


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_counted_is_what_is_there_whatever_happens(tmp_path, seed):  # noqa: C901 - a list of events
    chance = random.Random(seed)
    database = Database.open(tmp_path)
    queue, files = Queue(database, attempts=1), Files(database)
    number = 0
    ids: list[tuple[str, str]] = []

    def kept(kind: str, **more: Any) -> Kept:
        nonlocal number
        number += 1
        key = f"{number:032x}"
        return Kept(key, kind, f"{key}.png", "image/png", chance.randrange(10**6), "ab" * 32, **more)

    async def submit() -> None:
        owner, pictures = chance.choice("abc"), tuple(Picture("image_urls", n) for n in range(2))
        request = Request.new(owner=owner, model_id="m/m", input={}, pictures=pictures, at=datetime.now(UTC))
        mine = [kept("input") for _ in pictures] if chance.random() < 0.5 else []
        if mine:
            frozen = tuple(Picture("image_urls", n, blob=each.key) for n, each in enumerate(mine))
            request = Request.new(owner=owner, model_id="m/m", input={}, pictures=frozen, at=datetime.now(UTC))
        ids.append((request.id, owner))
        await queue.add(request, mine)

    async def take_in() -> None:
        for request in await queue.take_in(holder="h", limit=2, lease=timedelta(minutes=1)):
            mine = [kept("input") for _ in request.pictures]
            frozen = [Picture("image_urls", n, blob=each.key) for n, each in enumerate(mine)]
            if chance.random() < 0.5:
                await queue.freeze(request, frozen, mine)
            else:
                await queue.refuse(request, Failed(422001, "InputRejected"))

    async def run() -> None:
        request = await queue.claim(["m/m"], holder="h", lease=timedelta(minutes=1))
        if request is None:
            return
        made = [kept("output")]
        if chance.random() < 0.7:
            await queue.finish(request, Succeeded(tuple(made)), made)
        else:
            await queue.finish(request, Failed(502001, "EngineFailed", {"reason": "x"}))

    async def cancel() -> None:
        if ids:
            await queue.cancel(*chance.choice(ids[-5:]))

    async def upload() -> None:
        expires_at = datetime.now(UTC) + timedelta(seconds=chance.choice((-1, 60)))
        await files.add_upload(kept("upload", expires_at=expires_at), owner=chance.choice("abc"))

    async def forget() -> None:
        await files.forget_uploads()
        if chance.random() < 0.2:
            await files.forget_requests(retention=timedelta(0))

    for _ in range(150):
        with suppress(ResourceNotFound, LeaseLost):
            await chance.choice((submit, submit, take_in, run, cancel, upload, forget))()
        assert counted(tmp_path) == {owner: each for owner, each in recount(tmp_path).items() if any(each)}
    database.close()


async def test_no_limit_is_no_quota(tmp_path):
    database = Database.open(tmp_path)

    await Usage(database, Quota()).require_room("alice", 10**15)
    with pytest.raises(StorageFull):
        await Usage(database, Quota(stored_bytes=1)).require_room("alice", 2)
    for request in (Request.new(owner=owner, model_id="m/m", input={}, at=datetime.now(UTC)) for owner in "ab"):
        await Queue(database).add(request)
    with pytest.raises(TooManyOpen):
        await Usage(database, Quota(open=2)).require_room("c")
    database.close()
