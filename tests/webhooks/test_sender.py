"""The sender with a real API, store and receiver: what is told, when, how often, and who is held up by whom."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from receiver import Gigabyte, Receiver, drip, hang
from script import eventually
from standardwebhooks import Webhook
from world import PUBLIC_URL, World

from gesso.assembly import WEBHOOKS
from gesso.catalog import read_texts
from gesso.core.errors import EngineFailed
from gesso.core.request import Failed
from gesso.webhooks import sender as sender_module
from gesso.webhooks import signature
from gesso.webhooks.sender import IN_ALL, PAUSES, PER_HOST, PER_OWNER, pause_after

pytestmark = pytest.mark.anyio
FAILED = Failed.because(EngineFailed(reason="no"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses pass at once."""
    monkeypatch.setattr(sender_module, "PAUSES", (timedelta(),) * len(PAUSES))


async def test_the_end_is_told_in_the_words_of_the_result_under_a_signature_that_verifies(
    world: World, receiver: Receiver
) -> None:
    await world.start()
    request_id = await world.submit(receiver.url())
    await world.end()
    delivery = await world.settled(request_id, "delivered")

    (told,) = receiver.told
    secret = signature.spell(signature.derive(await world.parts.tokens.secret(WEBHOOKS), "alice", 0))
    assert Webhook(secret).verify(told.body, told.headers) == json.loads(told.body)
    assert json.loads(told.body)["status"] == "succeeded"
    assert told.body == await world.result(request_id)
    assert json.loads(told.body)["output"]["image"].startswith(f"{PUBLIC_URL}/files/")
    assert (told.id, delivery.attempts, delivery.last_status) == (delivery.id, 1, 204)


async def test_the_start_is_told_as_it_was_even_when_the_request_has_ended_since(
    world: World, receiver: Receiver
) -> None:
    request_id = await world.ended(receiver.url(), tells_start=True)
    await world.start()
    await world.settled(request_id, "delivered")
    await eventually(lambda: len(receiver.told) == 2)

    start, end = sorted((json.loads(told.body) for told in receiver.told), key=lambda body: body["status"])
    assert start == {name: end[name] for name in ("request_id", "model_id", "created_at")} | {"status": "in_progress"}
    assert len({told.id for told in receiver.told}) == 2


async def test_a_failure_is_told_in_the_language_of_the_submitter(world: World, receiver: Receiver) -> None:
    world.client.headers["Accept-Language"] = "ja"
    await world.submit(receiver.url())
    world.client.headers["Accept-Language"] = "ru"
    await world.end(FAILED)
    await world.start()
    await eventually(lambda: receiver.told)

    assert json.loads(receiver.told[0].body)["error"]["message"] == read_texts().say(
        "EngineFailed", {"reason": "no"}, "ja"
    )


async def test_W13_a_picture_that_is_refused_is_told_once(world: World, receiver: Receiver) -> None:
    await world.start()
    request_id = await world.refused(receiver.url())
    await world.settled(request_id, "delivered")

    (told,) = receiver.told
    assert json.loads(told.body)["status"] == "failed"
    assert told.body == await world.result(request_id)


async def test_a_cancelled_request_is_told_and_one_without_webhook_is_not(world: World, receiver: Receiver) -> None:
    await world.start()
    request_id = await world.submit(receiver.url())
    await world.client.post(f"/v1/requests/{request_id}/cancel")
    await world.settled(request_id, "delivered")

    assert json.loads(receiver.told[0].body)["status"] == "cancelled"


async def test_I14_every_attempt_sends_the_same_id_and_bytes_at_its_own_time(
    world: World, receiver: Receiver, impatient: None
) -> None:
    url = receiver.says("/told", 500, b"", 302, 404, 200)
    request_id = await world.ended(url)
    world.change("UPDATE deliveries SET created_at = 1")
    await world.start()
    delivery = await world.settled(request_id, "delivered")

    assert len(receiver.told) == delivery.attempts == 5
    assert len({(told.id, told.body) for told in receiver.told}) == 1
    stamps = [int(told.headers["webhook-timestamp"]) for told in receiver.told]
    assert stamps == sorted(stamps)
    assert abs(stamps[-1] - datetime.now(UTC).timestamp()) < 5


async def test_after_the_last_failure_it_is_given_up_and_a_replay_begins_anew(
    world: World, receiver: Receiver, impatient: None
) -> None:
    url = receiver.says("/told", 503)
    request_id = await world.ended(url)
    await world.start()
    given_up = await world.settled(request_id, "given_up")
    tried = len(receiver.told)
    receiver.says("/told", 200)
    await world.outbox.replay(delivery_id=given_up.id)
    again = await world.settled(request_id, "delivered")

    assert (tried, given_up.attempts, given_up.last_status) == (10, 10, 503)
    assert (again.id, again.attempts) == (given_up.id, 11)
    assert len({(told.id, told.body) for told in receiver.told}) == 1


def test_the_pauses_grow_for_a_good_three_days_and_are_never_shorter_than_said() -> None:
    pauses = [pause_after(failures) for failures in range(len(PAUSES))]

    assert sorted(PAUSES) == list(PAUSES)
    assert timedelta(hours=24) < sum(PAUSES, timedelta()) < timedelta(hours=80)
    assert all(least <= pause <= least * 1.2 for least, pause in zip(PAUSES, pauses, strict=True) if pause)
    assert pause_after(len(PAUSES)) is None


async def test_W09_410_ends_it(world: World, receiver: Receiver) -> None:
    url = receiver.says("/told", 410, 200)
    await world.start()
    request_id = await world.submit(url, "&webhook_intermediate_status=true")
    request = await world.claim()
    await world.settled(request_id, "stopped")
    await world.parts.queue.finish(request, FAILED)
    await world.ended(receiver.url("/other"))
    await eventually(lambda: receiver.at("/other"))

    assert [each.state for each in await world.deliveries(request_id)] == ["stopped", "stopped"]
    assert len(receiver.at("/told")) == 1


async def test_W05_a_name_that_flips_after_the_submit_is_judged_again_at_each_attempt(
    world: World, receiver: Receiver, bystander: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "PAUSES", (timedelta(), timedelta()))
    closed = f"https://inside.example:{receiver.port}/"
    world.lookup["inside.example"] = [["127.0.0.2"], ["93.184.216.34", "127.0.0.2"], ["127.0.0.2"]]
    request_id = await world.ended(closed)
    await world.start()
    delivery = await world.settled(request_id, "given_up")

    assert (delivery.attempts, delivery.last_status, delivery.last_error) == (3, None, "refused")
    assert not bystander()
    assert json.loads(await world.result(request_id))["status"] == "succeeded"


async def test_W07_hung_receivers_get_a_few_attempts_at_once_and_delay_nobody_else(
    world: World, receiver: Receiver
) -> None:
    await world.start(deadline_s=30)
    hung = receiver.says("/hung", hang)
    for _ in range(PER_HOST * 3):
        await world.ended(hung)
    await eventually(lambda: len(receiver.at("/hung")) == PER_HOST)
    began = asyncio.get_running_loop().time()
    other = await world.ended(receiver.url("/other", "other.example"))
    await world.settled(other, "delivered")

    assert asyncio.get_running_loop().time() - began < 2
    assert len(receiver.at("/hung")) == receiver.most_at_once - 1 == PER_HOST


async def test_W07_one_owners_hung_hosts_delay_no_other_owner(world: World, receiver: Receiver) -> None:
    receiver.says("/hung", hang)
    for number in range(PER_OWNER + 4):
        await world.ended(receiver.url("/hung", f"{number}.many.example"))
    await world.start(deadline_s=30)
    await eventually(lambda: len(receiver.at("/hung")) == PER_OWNER)
    await world.ended(receiver.url("/other", "20.many.example"), "bob")
    await eventually(lambda: receiver.at("/other"), 2)

    assert PER_OWNER < IN_ALL
    assert len(receiver.at("/hung")) == PER_OWNER


@pytest.mark.parametrize("answer", [hang, drip, Gigabyte()], ids=["hangs", "drips", "a gigabyte"])
async def test_W07_a_receiver_from_hell_costs_its_own_delivery_and_no_request(
    world: World, receiver: Receiver, answer: object
) -> None:
    await world.start(deadline_s=0.3)
    request_id = await world.ended(receiver.says("/told", answer))
    state = "delivered" if isinstance(answer, Gigabyte) else "waiting"
    await eventually(lambda: receiver.told)
    delivery = await world.settled(request_id, state)
    if state == "waiting":
        delivery = await world.failed(request_id)

    assert (delivery.last_error, delivery.last_status) == ((None, 200) if state == "delivered" else ("timeout", None))
    assert json.loads(await world.result(request_id))["status"] == "succeeded"


async def test_I14_what_a_sender_left_behind_is_sent_by_another_with_the_same_id(
    world: World, receiver: Receiver
) -> None:
    url = receiver.says("/told", hang, 200)
    request_id = await world.ended(url)
    await world.start(deadline_s=30)
    await eventually(lambda: receiver.told)
    await world.stop()
    left = (await world.deliveries(request_id))[0]
    world.make_due()
    await world.start()
    await world.settled(request_id, "delivered")

    assert (left.state, left.attempts, left.failures) == ("waiting", 1, 0)
    assert len({(told.id, told.body) for told in receiver.told}) == 1
    assert len(receiver.told) == 2


async def test_several_senders_send_each_delivery_once(world: World, receiver: Receiver) -> None:
    ids = [await world.ended(receiver.url()) for _ in range(20)]
    for _ in range(3):
        await world.start()
    for request_id in ids:
        await world.settled(request_id, "delivered")

    assert len(receiver.told) == 20
    assert len({told.id for told in receiver.told}) == 20


async def test_in_one_lane_the_oldest_begins_first(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "PER_HOST", 1)
    ids = [await world.ended(receiver.url()) for _ in range(5)]
    await world.start()
    await world.settled(ids[-1], "delivered")

    assert [json.loads(told.body)["request_id"] for told in receiver.told] == ids


async def test_a_request_that_is_forgotten_is_told_to_nobody(world: World, receiver: Receiver) -> None:
    gone = await world.ended(receiver.url("/gone"))
    await world.parts.files.forget_requests(retention=timedelta())
    await world.start()
    await world.settled(await world.ended(receiver.url("/there")), "delivered")

    assert receiver.at("/gone") == []
    assert list(await world.deliveries(gone)) == []


async def test_what_breaks_in_one_delivery_counts_as_its_failure(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = await world.ended(receiver.url())
    world.change("UPDATE requests SET outcome = '{}'")
    await world.start()
    delivery = await world.failed(broken)

    assert (delivery.last_error, delivery.failures, delivery.state) == ("broken", 1, "waiting")
    assert receiver.told == []


async def test_a_failure_is_logged_with_the_host_and_without_the_rest_of_the_url(
    world: World, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await world.start()
    await world.failed(await world.ended(receiver.says("/canary?canary=canary", 500)))

    assert f"to hooks.example:{receiver.port} failed: 500" in caplog.text
    assert "canary" not in caplog.text
