"""Webhooks as they are asked for: judged at the submit by their spelling, and kept as they were read."""

import pytest
from receiver import Receiver
from world import WAN, World

pytestmark = pytest.mark.anyio
BODY = {"prompt": "a cat", "image_urls": ["https://images.example/a.png"]}
SUBMIT = f"/v1/models/{WAN}"


async def kept(world: World, query: str) -> tuple[str | None, bool]:
    """What is kept of the options of a submit."""
    answer = await world.client.post(f"{SUBMIT}?{query}", json=BODY)
    assert answer.status_code == 200, answer.text
    options = (await world.parts.queue.get(answer.json()["request_id"], "alice")).options
    return options.webhook, options.webhook_intermediate


async def refused(world: World, query: str, language: str = "en") -> dict[str, object]:
    """The one problem of a submit that keeps nothing."""
    answer = await world.client.post(f"{SUBMIT}?{query}", json=BODY, headers={"Accept-Language": language})
    assert answer.status_code == 422, answer.text
    assert world.value("SELECT count(*) FROM requests") == 0
    (problem,) = answer.json()["detail"]
    return problem


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("webhook=https%3A%2F%2Fhooks.example%2Fa%3Fb%3Dc%2526d", ("https://hooks.example/a?b=c%26d", False)),
        (
            "webhook=HTTPS://Hooks.Example.:443/A%23b&webhook_intermediate_status=true",
            ("https://hooks.example/A", True),
        ),
        (
            "webhook=https://xn--bcher-kva.example&webhook_intermediate_status=0",
            ("https://xn--bcher-kva.example/", False),
        ),
        ("webhook=https%3A%2F%2Fb%C3%BCcher.example", ("https://xn--bcher-kva.example/", False)),
        ("webhook=" + "https://hooks.example/".ljust(2048, "a"), ("https://hooks.example/".ljust(2048, "a"), False)),
        ("webhook_intermediate_status=true", (None, True)),
        ("webhooks=https://hooks.example/", (None, False)),
    ],
)
async def test_a_webhook_is_kept_as_it_was_read(world: World, query: str, expected: tuple[str | None, bool]) -> None:
    assert await kept(world, query) == expected


@pytest.mark.parametrize(
    ("webhook", "kind"),
    [
        ("http://hooks.example/", "webhook_url"),
        ("ftp://hooks.example/", "webhook_url"),
        ("data:text/plain,x", "webhook_url"),
        ("https://hooks.example/".ljust(2049, "a"), "webhook_url"),
        ("https://user@hooks.example/", "webhook_url"),
        ("", "webhook_url"),
        ("https://hooks.example:22/", "url_not_allowed"),
        ("https://10.0.0.1/", "url_not_allowed"),
        ("https://[fd00::1]/", "url_not_allowed"),
    ],
)
async def test_a_webhook_that_may_not_be_called_is_named_and_keeps_nothing(
    world: World, webhook: str, kind: str
) -> None:
    problem = await refused(world, f"webhook={webhook}")

    assert (problem["loc"], problem["type"]) == (["query", "webhook"], kind)


async def test_what_is_wrong_is_said_in_the_callers_language(world: World) -> None:
    assert await refused(world, "webhook=no") == {
        "loc": ["query", "webhook"],
        "msg": "Must be a single https URL of at most 2048 characters.",
        "type": "webhook_url",
    }
    assert (await refused(world, "webhook=no", "ru"))[
        "msg"
    ] == "Должно быть одним URL с https длиной не более 2048 символов."


async def test_a_dry_run_judges_the_webhook_too_and_calls_nobody(world: World, receiver: Receiver) -> None:
    problem = await refused(world, "dry_run=true&webhook=https://127.0.0.2/")

    assert problem["type"] == "url_not_allowed"
    assert receiver.connections == 0


async def test_a_webhook_is_no_part_of_the_input_that_an_idempotency_key_stands_for(world: World) -> None:
    first, again = [
        await world.client.post(
            f"{SUBMIT}?webhook=https://{name}.example/", json=BODY, headers={"Idempotency-Key": "k"}
        )
        for name in ("one", "two")
    ]
    request_id = again.json()["request_id"]

    assert request_id == first.json()["request_id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert (await world.parts.queue.get(request_id, "alice")).options.webhook == "https://one.example/"
