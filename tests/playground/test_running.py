"""A request on its way: its place in the queue, its steps and previews, cancelling, and a network that fails."""

import json
from typing import Any

import pytest
from person import SCRIPTED, Person
from script import Script
from server import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def person(newcomer: Any) -> Person:
    return newcomer().open(f"/models/{SCRIPTED}")  # type: ignore[no-any-return]


@pytest.fixture
def without_events(person: Person) -> Person:
    """Before a server that has no live events, as older ones have none."""
    body = {"code": 404000, "error_code": 404000, "error": "NotFound", "error_message": "No such route.", "detail": []}
    person.page.route("**/events*", lambda route: route.fulfill(status=404, json=body))
    return person


def words(person: Person, told: str) -> None:
    """Wait until the stage says *told*."""
    person.page.locator("gesso-stage .words", has_text=told).wait_for()


def start(person: Person, prompt: str) -> str:
    """Send *prompt*; gives the request's id once the page has it."""
    with person.page.expect_response(f"**/v1/models/{SCRIPTED}*") as told:
        person.write(prompt)
        person.run()
    return str(told.value.json()["request_id"])


@pytest.mark.parametrize("speaks", [True, False], ids=["by events", "by polling"])
def test_a_request_waits_runs_and_shows_its_picture(
    newcomer: Any, server: Server, script: Script, speaks: bool
) -> None:
    person: Person = newcomer().open(f"/models/{SCRIPTED}")
    if not speaks:
        body = {"code": 404000, "error_message": "No such route."}
        person.page.route("**/events*", lambda route: route.fulfill(status=404, json=body))
    gate, other = f"gate-a-{speaks}", f"gate-b-{speaks}"
    server.submit(f"gate:{gate}")
    start(person, f"gate:{other}")
    words(person, "Next in the queue.")
    assert person.button("Cancel").is_visible()

    script.open(gate)
    words(person, "Running …")
    assert not person.button("Cancel").is_visible()

    script.open(other)
    assert person.result().evaluate("image => image.naturalWidth") == 512
    polls = [url for url in person.asked if "/status" in url]
    assert bool(polls) is not speaks


def test_how_many_are_ahead_is_said_and_said_anew_when_it_changes(
    person: Person, server: Server, script: Script
) -> None:
    server.submit("gate:ahead-1")
    server.submit("gate:ahead-2")
    start(person, "nothing")
    words(person, "Waiting; requests ahead: 1.")

    script.open("ahead-1")
    words(person, "Next in the queue.")

    script.open("ahead-2")
    person.result()


def test_a_waiting_request_is_cancelled_and_never_runs(person: Person, server: Server, script: Script) -> None:
    ahead = server.submit("gate:held")
    mine = start(person, "picture:RGB")
    words(person, "Next in the queue.")

    person.button("Cancel").click()

    words(person, "Cancelled. It never ran.")
    script.open("held")
    server.ended(ahead)
    assert server.result(mine)["status"] == "cancelled"
    assert script.begun("picture:RGB") == 0


def test_steps_and_previews_are_shown_while_it_runs(person: Person, script: Script) -> None:
    start(person, "preview:RGB gate:seen")

    person.page.locator("gesso-stage img.preview").wait_for()
    person.page.get_by_text("step 1 of 2").wait_for()
    assert person.page.locator("gesso-stage progress").evaluate("bar => bar.value") == 0.5
    script.open("seen")
    person.result()


def test_a_stream_that_breaks_is_taken_up_where_it_broke(person: Person, script: Script) -> None:
    heard: list[str | None] = []
    told = {"status": "in_progress"}

    def broken(route: Any) -> None:
        heard.append(route.request.headers.get("last-event-id"))
        if len(heard) > 1:
            route.continue_()
        else:
            route.fulfill(content_type="text/event-stream", body=f"id: 7\nevent: status\ndata: {json.dumps(told)}\n\n")

    person.page.route("**/events*", broken)
    start(person, "nothing")

    person.result()
    assert heard[:2] == [None, "7"]


def test_a_reload_loses_neither_the_request_nor_the_form(person: Person, script: Script) -> None:
    request_id = start(person, "gate:reload")
    words(person, "Running …")

    person.page.reload()

    words(person, "Running …")
    assert person.field("prompt").get_by_role("textbox").input_value() == "gate:reload"
    assert request_id in person.page.url
    script.open("reload")
    person.result()


def test_a_network_that_fails_is_told_and_waited_out(without_events: Person, script: Script) -> None:
    person = without_events
    start(person, "gate:away")
    words(person, "Running …")

    person.context.set_offline(True)
    words(person, "The server cannot be reached. Trying again …")
    script.open("away")
    person.context.set_offline(False)

    person.result()


def test_a_submit_whose_answer_is_lost_makes_one_request_only(person: Person, script: Script) -> None:
    keys: list[str] = []

    def lose_the_first(route: Any) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            route.continue_()
        else:
            route.fetch()  # it arrives, and its answer does not
            route.abort()

    person.page.route(
        f"**/v1/models/{SCRIPTED}*",
        lambda route: lose_the_first(route) if route.request.method == "POST" else route.continue_(),
    )
    person.write("pictures:2")
    person.run()

    person.result()
    assert keys[0] == keys[1]
    assert script.journal().count("begin pictures:2") == 1


def test_a_failed_run_says_why_in_the_readers_language(newcomer: Any) -> None:
    person: Person = newcomer(locale="ru-RU").open(f"/models/{SCRIPTED}")
    person.write("fail:краски")
    person.button("Запустить").click()

    words(person, "Сбой движка: краски")


def test_what_only_the_server_judges_is_said_at_its_field(person: Person) -> None:
    person.page.get_by_label("Model").select_option("wan-ai/wan-2-6/image-to-image")
    person.page.get_by_label("Negative prompt").wait_for()
    person.write("x" * 2000)
    person.run()

    assert person.problem("prompt") == "Must have at most 1999 characters."
    assert person.page.evaluate("document.activeElement.id") == "field-prompt"
    assert person.field("prompt").get_by_role("textbox").get_attribute("aria-invalid") == "true"
    person.write("x" * 1999)
    assert person.field("prompt").locator(".problem").inner_text() == ""


def test_what_the_form_can_judge_is_not_sent(person: Person) -> None:
    person.write("   ")
    person.run()
    assert person.problem("prompt") == "Must not be blank."

    person.write("")
    person.run()

    assert person.problem("prompt") == "Field required."
    assert person.posted == []


def test_limits_are_told_while_somebody_types(person: Person) -> None:
    person.page.get_by_label("Model").select_option("wan-ai/wan-2-6/image-to-image")
    box = person.page.get_by_label("Negative prompt")
    box.fill("🎨" * 500)
    assert person.field("negative_prompt").locator(".problem").inner_text() == ""

    box.press_sequentially("x")

    assert person.problem("negative_prompt") == "Must have at most 500 characters."
    assert person.field("negative_prompt").locator(".counter").inner_text() == "501 / 500"


def test_several_pictures_are_shown_one_by_one(person: Person) -> None:
    start(person, "pictures:3")
    person.result()

    shown = person.page.locator("gesso-compare .after")
    first = shown.get_attribute("src")
    person.page.get_by_label("Image 3", exact=True).check(force=True)

    assert shown.get_attribute("src") != first
    assert shown.get_attribute("src").split("?")[0].endswith("-3.png")
