"""What was made: looked at closely, used again, found again after a reload, and told honestly."""

from typing import Any

import pytest
from person import SAMPLES, SCRIPTED, WAN, Person
from script import Script
from server import Server

pytestmark = pytest.mark.slow
CAT, COFFEE = SAMPLES / "cat.jpg", SAMPLES / "coffee.jpg"


@pytest.fixture
def person(newcomer: Any) -> Person:
    return newcomer().open(f"/models/{WAN}")  # type: ignore[no-any-return]


@pytest.fixture
def edited(person: Person) -> Person:
    """With a picture made of two photographs."""
    person.write("image 1 on the left, image 2 on the right, warmer, with a unicorn")
    person.pick(CAT, COFFEE)
    person.run()
    person.result()
    return person


def split(person: Person) -> str:
    return str(person.page.locator("gesso-compare").evaluate("it => getComputedStyle(it).getPropertyValue('--split')"))


def test_the_slider_is_moved_by_keys_and_by_hand(edited: Person) -> None:
    slider = edited.page.get_by_label("Compare before and after")
    assert split(edited) == "50%"

    slider.press("ArrowRight")
    assert split(edited) == "51%"
    box = slider.bounding_box()
    edited.page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)

    assert 75 <= int(split(edited).rstrip("%")) <= 85


def test_the_picture_is_compared_with_any_of_its_references(edited: Person) -> None:
    before = edited.page.locator("gesso-compare .before")
    first = before.get_attribute("src")

    edited.page.locator("fieldset", has_text="Compare with").get_by_label("Image 2").check(force=True)

    assert before.get_attribute("src") != first


def test_a_picture_is_looked_at_closely_by_keys_alone(edited: Person) -> None:
    edited.button("Zoom").press("Enter")
    dialog = edited.page.get_by_role("dialog", name="Zoom")
    width = "image => image.clientWidth"

    dialog.press("1")
    assert dialog.locator("img").evaluate(width) == 1024
    dialog.press("+")
    assert dialog.locator("img").evaluate(width) == 2048
    dialog.locator(".pan").press("ArrowDown")
    dialog.press("0")
    assert dialog.locator("img").evaluate(width) < 1024
    edited.page.keyboard.press("Escape")

    assert dialog.count() == 0
    assert edited.page.evaluate("document.activeElement.textContent") == "Zoom"


def test_a_picture_becomes_the_input_of_the_next_edit(edited: Person) -> None:
    edited.button("Use as input").click()

    assert edited.page.locator(".tile").count() == 1
    edited.write("a pencil drawing")
    edited.run()
    edited.page.locator("gesso-stage", has_text="pencil").wait_for(state="attached")
    assert edited.result().is_visible()


def test_another_seed_is_the_same_edit_with_another_number(edited: Person, server: Server) -> None:
    told: list[Any] = []
    edited.page.on("request", lambda request: told.append(request.post_data_json) if request.method == "POST" else None)

    edited.button("Run with another seed").click()
    edited.page.locator(".stage.busy").wait_for(state="detached")
    edited.result()

    (body,) = told
    assert body["prompt"].startswith("image 1 on the left")
    assert len(body["image_urls"]) == 2
    assert body["seed"] != 0
    assert edited.field("seed").get_by_role("spinbutton").input_value() == str(body["seed"])


def test_what_was_not_understood_is_said_first_and_how_it_was_made_on_demand(edited: Person) -> None:
    stage = edited.page.locator("gesso-stage")
    assert stage.locator(".note.warn").first.inner_text() == "Not understood: unicorn"

    stage.get_by_text("How it was made").click()

    assert stage.locator(".plan li").all_inner_texts()[0].startswith("columns")
    assert "embedded" in stage.locator("dl").inner_text()


def test_a_reload_brings_back_the_picture_and_the_form(edited: Person) -> None:
    edited.page.reload()

    assert edited.result().evaluate("image => image.naturalWidth") == 1024
    assert edited.page.locator("gesso-compare .before").count() == 1
    assert [tile.get_attribute("data-name").endswith(".jpg") for tile in edited.page.locator(".tile").all()] == [
        True
    ] * 2


def test_an_earlier_request_is_found_again_with_its_inputs(edited: Person) -> None:
    edited.page.get_by_label("Model").select_option(SCRIPTED)
    edited.page.locator("[data-field='seed']").wait_for(state="detached")
    edited.page.reload()
    edited.tab("Requests")

    edited.page.locator("gesso-requests .open").first.click()
    edited.result()
    edited.button("Restore these inputs").click()

    edited.field("seed").wait_for()
    assert edited.page.url.startswith(f"{edited.server.url}/models/{WAN}")
    assert edited.field("prompt").get_by_role("textbox").input_value().startswith("image 1 on the left")
    assert edited.page.locator(".tile img").count() == 2


def test_the_requests_are_waiting_running_and_ended_and_those_of_other_programs_are_there_too(
    newcomer: Any, server: Server, script: Script
) -> None:
    person: Person = newcomer().open(f"/models/{SCRIPTED}")
    running = server.submit("gate:list")
    waiting = server.submit("nothing")
    person.tab("Requests")
    groups = person.page.locator("gesso-requests section")

    groups.filter(has_text="Running").wait_for()
    groups.filter(has_text="Waiting, place 1").wait_for()
    person.button("Cancel").click()
    person.page.locator("gesso-requests .cancelled .state").first.wait_for()

    assert server.result(waiting)["status"] == "cancelled"
    script.open("list")
    server.ended(running)


def test_an_old_server_that_lists_nothing_leaves_what_the_browser_knows(newcomer: Any) -> None:
    person: Person = newcomer().open(f"/models/{SCRIPTED}")
    body = {"code": 404000, "error_message": "No such route."}
    person.page.route("**/v1/requests?*", lambda route: route.fulfill(status=404, json=body))
    person.write("nothing")
    person.run()
    person.result()

    person.tab("Requests")

    person.page.get_by_text("This server does not list requests").wait_for()
    assert person.page.locator("gesso-requests .succeeded").count() == 1


def test_the_browser_forgets_when_it_is_told_to(edited: Person) -> None:
    edited.tab("Requests")
    edited.page.locator("gesso-requests img").first.wait_for()

    edited.button("Forget prompts and thumbnails").click()

    edited.page.locator("gesso-requests img").first.wait_for(state="detached")
    assert edited.page.evaluate("localStorage.getItem('gesso.history')") == "[]"


def test_a_request_that_is_no_longer_kept_says_so(person: Person) -> None:
    person.page.goto(f"{person.server.url}/#request=00000000-0000-4000-8000-000000000000")
    person.page.reload()

    person.page.locator("gesso-stage", has_text="There is no such request.").wait_for()


def test_each_model_has_its_address_and_the_back_button_goes_back(person: Person) -> None:
    person.page.get_by_label("Model").select_option(SCRIPTED)
    person.page.get_by_role("heading", name="Scripted").wait_for()
    assert person.page.url == f"{person.server.url}/models/{SCRIPTED}"

    person.page.go_back()

    person.page.get_by_role("heading", name="Wan 2.6 Image-to-Image").wait_for()


def test_whoever_changes_their_mind_gets_the_model_they_chose_last(person: Person) -> None:
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    person.page.route(f"**/v1/models/{SCRIPTED}*", hold)
    choice = person.page.get_by_label("Model")
    choice.select_option(SCRIPTED)
    person.page.locator("gesso-form form").wait_for(state="detached")  # nobody types into a form that will be gone
    choice.select_option(WAN)
    person.field("negative_prompt").wait_for()

    with person.page.expect_response(f"**/v1/models/{SCRIPTED}*"):
        held[0].continue_()

    assert person.page.get_by_role("heading", name="Wan 2.6 Image-to-Image").is_visible()
    assert choice.input_value() == WAN


def test_a_model_that_is_not_there_is_said_in_words(newcomer: Any) -> None:
    person: Person = newcomer()
    person.page.goto(f"{person.server.url}/models/no/such/model#token={person.server.token}")

    person.page.locator("gesso-stage", has_text="There is no such model").wait_for()
