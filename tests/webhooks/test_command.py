"""`gesso webhooks`, beside a running server: what operators read, and what they may have sent again."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from receiver import Receiver
from standardwebhooks import Webhook
from world import World

from gesso.cli.main import main

pytestmark = pytest.mark.anyio
Run = Callable[..., "asyncio.Future[Result]"]


@pytest.fixture
def webhooks(world: World, tmp_path: Path) -> Run:
    """Runs the command in a thread, because it has an event loop of its own."""

    def run(*words: str) -> "asyncio.Future[Result]":
        command = ["webhooks", *words, "--data-dir", str(tmp_path / "house")]
        return asyncio.ensure_future(asyncio.to_thread(lambda: CliRunner().invoke(main, command, prog_name="gesso")))

    return run


async def test_deliveries_are_listed_without_what_their_urls_may_hide(
    world: World, receiver: Receiver, webhooks: Run
) -> None:
    request_id = await world.ended(receiver.url("/hidden?hidden=1"), tells_start=True)
    await world.ended(receiver.url("/hidden"))
    await world.start()
    await world.settled(request_id, "delivered")
    plain = (await webhooks("list", "--request", request_id)).output
    told = [json.loads(line) for line in (await webhooks("list", "--json", "--limit", "2")).output.splitlines()]

    assert plain.count(request_id) == plain.count("delivered") == plain.count(f"hooks.example:{receiver.port}") == 2
    assert "in_progress" in plain
    assert "hidden" not in plain + json.dumps(told)
    assert len(told) == 2
    assert told[0]["last_status"] == 204
    assert (await webhooks("list", "--state", "given_up")).output == ""


async def test_a_replay_sends_it_again_under_the_same_id(world: World, receiver: Receiver, webhooks: Run) -> None:
    request_id = await world.ended(receiver.url())
    await world.start()
    delivery = await world.settled(request_id, "delivered")
    first = await webhooks("replay", delivery.id)
    await world.settled(request_id, "delivered")
    second = await webhooks("replay", "--request", request_id)
    await world.settled(request_id, "delivered")

    assert first.output == second.output == f"again  {delivery.id}\n"
    assert [told.id for told in receiver.told] == [delivery.id] * 3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 64, "name a delivery, or a request"),
        (("msg_1", "--request", "x"), 64, "name a delivery, or a request"),
        (("msg_1",), 1, "there is no such delivery"),
        (("--request", "x"), 1, "there is no such delivery"),
    ],
)
async def test_what_cannot_be_sent_again_is_said(webhooks: Run, words: tuple[str, ...], code: int, said: str) -> None:
    answer = await webhooks("replay", *words)

    assert (answer.exit_code, said in answer.output) == (code, True)


async def test_a_secret_verifies_what_is_sent_and_so_does_the_one_before_for_a_day(
    world: World, receiver: Receiver, webhooks: Run
) -> None:
    before = (await webhooks("secret", "--owner", "alice")).output.strip()
    after = (await webhooks("secret", "--owner", "alice", "--rotate")).output.strip()
    await world.start()
    await world.settled(await world.ended(receiver.url()), "delivered")

    (told,) = receiver.told
    assert before.startswith("whsec_")
    assert before != after == (await webhooks("secret", "--owner", "alice")).output.strip()
    for secret in (before, after):
        Webhook(secret).verify(told.body, told.headers)
    bobs = (await webhooks("secret", "--owner", "bob")).output.strip()
    assert bobs not in (before, after)
