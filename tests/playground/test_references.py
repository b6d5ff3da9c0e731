"""Pictures into the form: by every way that a person has, in the order that they want, judged before they are sent."""

from pathlib import Path
from typing import Any

import pytest
from person import SAMPLES, SCRIPTED, WAN, Person
from PIL import Image

pytestmark = pytest.mark.slow
CAT, COFFEE, ROCKET = (SAMPLES / f"{name}.jpg" for name in ("cat", "coffee", "rocket"))
# A picture drawn in the page, as a file that is dropped or pasted.
BRING = """async ([kind, count]) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 400, height: 400 });
  const transfer = new DataTransfer();
  for (let n = 1; n <= count; n++) {
    canvas.getContext("2d").fillRect(0, 0, n, n);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve));
    transfer.items.add(new File([blob], `brought-${n}.png`, { type: "image/png" }));
  }
  const told = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(
    kind === "paste"
      ? new ClipboardEvent(kind, { ...told, clipboardData: transfer })
      : new DragEvent(kind, { ...told, dataTransfer: transfer }));
}"""
BRING_TEXT = """([kind, text]) => {
  const transfer = new DataTransfer();
  transfer.setData(kind === "paste" ? "text/plain" : "text/uri-list", text);
  const told = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(
    kind === "paste"
      ? new ClipboardEvent(kind, { ...told, clipboardData: transfer })
      : new DragEvent(kind, { ...told, dataTransfer: transfer }));
}"""


@pytest.fixture
def person(newcomer: Any) -> Person:
    return newcomer().open(f"/models/{WAN}")  # type: ignore[no-any-return]


def names(person: Person) -> list[str]:
    """The tiles, in order."""
    return [tile.get_attribute("data-name") for tile in person.page.locator(".tile").all()]


def in_body(person: Person) -> list[str]:
    """The pictures as the API would get them."""
    return list(person.page.evaluate("document.getElementById('form').input.image_urls"))


def test_the_schemas_pictures_stand_there_as_examples_until_the_first_own_one_comes(person: Person) -> None:
    assert person.page.locator(".tile .tag").all_inner_texts() == ["example", "example"]
    assert person.field("prompt").get_by_role("textbox").input_value().startswith("On the left sits a monster")

    person.pick(CAT)

    assert names(person) == ["cat.jpg"]


def test_picked_files_are_uploaded_in_their_order_and_the_form_holds_their_urls(person: Person) -> None:
    person.pick(ROCKET, CAT, COFFEE)

    assert names(person) == ["rocket.jpg", "cat.jpg", "coffee.jpg"]
    assert all(url.startswith(f"{person.server.url}/files/") for url in in_body(person))
    widths = (
        "urls => Promise.all(urls.map(async url => (await createImageBitmap(await (await fetch(url)).blob())).width))"
    )
    assert person.page.evaluate(widths, in_body(person)) == [960, 902, 900]


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_pictures_are_dropped_and_pasted_anywhere_on_the_page(person: Person, kind: str) -> None:
    person.page.evaluate(BRING, [kind, 2])

    person.page.locator(".tile.ready >> nth=1").wait_for()
    assert names(person) == ["brought-1.png", "brought-2.png"]


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_address_is_dropped_and_pasted_too_and_no_foreign_host_is_asked_for_a_look(
    person: Person, kind: str
) -> None:
    person.page.evaluate(BRING_TEXT, [kind, "https://images.example/photo%20one.png"])

    assert names(person) == ["photo one.png"]
    assert in_body(person) == ["https://images.example/photo%20one.png"]
    assert all(url.startswith((person.server.url, "blob:", "data:")) for url in person.asked)


def test_text_that_is_pasted_into_a_field_stays_text(person: Person) -> None:
    box = person.field("prompt").get_by_role("textbox")
    box.fill("")
    person.context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.page.evaluate("navigator.clipboard.writeText('https://images.example/a.png')")
    box.press("Control+v")

    assert box.input_value() == "https://images.example/a.png"
    assert len(names(person)) == 2


def test_an_address_is_typed_and_one_that_is_none_is_refused_in_words(person: Person) -> None:
    box = person.page.get_by_label("URL of an image")
    box.fill("not a url")
    box.press("Enter")
    assert person.problem("image_urls").startswith("Must be an https URL")

    box.fill("https://images.example/a.png")
    person.button("Add").click()

    assert in_body(person) == ["https://images.example/a.png"]


def test_the_order_is_changed_by_buttons_and_the_keyboard_stays_where_it_was(person: Person) -> None:
    person.pick(CAT, COFFEE, ROCKET)
    before = in_body(person)

    person.button("Move image 3 forward").focus()
    person.page.keyboard.press("Enter")
    person.page.keyboard.press("Enter")

    assert names(person) == ["rocket.jpg", "cat.jpg", "coffee.jpg"]
    assert in_body(person) == [before[2], before[0], before[1]]
    assert person.page.get_by_role("status").inner_text() == "rocket.jpg is image 1 now."


def test_focus_follows_a_picture_that_is_moved_by_the_keyboard(person: Person) -> None:
    person.pick(CAT, COFFEE, ROCKET)

    person.button("Move image 3 forward").focus()
    person.page.keyboard.press("Enter")

    assert person.page.evaluate("document.activeElement.closest('.tile').dataset.name") == "rocket.jpg"


def test_the_order_is_changed_by_dragging(person: Person) -> None:
    person.pick(CAT, COFFEE, ROCKET)

    person.page.locator(".tile >> nth=2").drag_to(person.page.locator(".tile >> nth=0"))

    assert names(person) == ["rocket.jpg", "cat.jpg", "coffee.jpg"]


def test_a_picture_is_taken_out_and_focus_is_not_lost(person: Person) -> None:
    person.pick(CAT, COFFEE)
    person.button("Remove image 1").click()

    assert names(person) == ["coffee.jpg"]
    assert person.page.evaluate("document.activeElement.tagName") == "BUTTON"


def test_no_more_come_in_than_the_schema_takes(person: Person) -> None:
    person.pick(CAT, COFFEE)
    person.page.evaluate(BRING, ["drop", 2])

    assert person.problem("image_urls") == "Must have at most 3 items."
    assert len(names(person)) == 3


@pytest.mark.parametrize(("language", "words"), [
    ("en-GB", "Each side of an image must be at least 384 pixels."),
    ("ja-JP", "各画像の辺は少なくとも384ピクセル必要です。"),
    ("ru-RU", "Каждая сторона изображения должна быть не менее 384 пикселей."),
])  # fmt: skip
def test_a_picture_that_breaks_a_rule_is_refused_in_the_schemas_words_before_it_is_sent(
    newcomer: Any, tmp_path: Path, language: str, words: str
) -> None:
    person: Person = newcomer(locale=language).open(f"/models/{WAN}")
    Image.new("RGB", (383, 500)).save(tmp_path / "small.png")
    person.pick(tmp_path / "small.png")

    assert person.problem("image_urls") == words
    assert person.posted == []


@pytest.mark.parametrize("size", [(384, 384), (5000, 384)])
def test_a_picture_on_the_bounds_is_taken(person: Person, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "bound.png")
    person.pick(tmp_path / "bound.png")

    assert len(in_body(person)) == 1


def test_a_file_that_is_no_picture_says_so(person: Person, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot at all")
    person.pick(tmp_path / "broken.png")

    assert person.problem("image_urls") == "The file is not an image that can be read: JPEG, PNG, WebP and BMP are."


def test_what_only_the_server_knows_is_said_at_the_picture_too(person: Person, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (400, 400), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    person.pick(tmp_path / "moving.webp")

    assert person.problem("image_urls")
    assert person.posted == ["/v1/files"]


def test_sample_photographs_are_there_for_people_who_have_none_at_hand(person: Person) -> None:
    person.button("Sample photographs").click()
    person.page.locator(".tile.ready >> nth=1").wait_for()

    assert names(person) == ["cat.jpg", "coffee.jpg"]


def test_pressing_run_during_an_upload_waits_for_it(newcomer: Any) -> None:
    person: Person = newcomer().open(f"/models/{SCRIPTED}")
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    person.page.route("**/v1/files*", hold)
    person.write("nothing")
    person.page.locator("input[type=file]").set_input_files(CAT)
    person.page.locator(".tile.busy").wait_for()
    person.run()
    assert person.posted == ["/v1/files"]

    held[0].continue_()

    person.result()
    assert person.posted == ["/v1/files", f"/v1/models/{SCRIPTED}"]
    assert len(in_body(person)) == 1


def test_a_photograph_that_is_too_large_is_made_to_fit_at_a_press(person: Person, tmp_path: Path) -> None:
    Image.new("RGB", (6000, 4500), "teal").save(tmp_path / "large.jpg")
    person.pick(tmp_path / "large.jpg")
    assert person.problem("image_urls") == "Each side of an image must be at most 5000 pixels."

    person.button("Make it smaller").click()
    person.page.locator(".tile.ready").wait_for()

    size = """async (url) => {
        const { width, height } = await createImageBitmap(await (await fetch(url)).blob());
        return [width, height];
    }"""
    assert person.page.evaluate(size, in_body(person)[0]) == [5000, 3750]
    assert person.field("image_urls").locator(".problem").inner_text() == ""
