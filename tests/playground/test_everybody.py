"""For everybody: every language, light and dark, a phone, a keyboard alone, and a screen reader (axe finds nothing)."""

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from person import SAMPLES, SCRIPTED, WAN, Person
from script import Script

pytestmark = pytest.mark.slow
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
WORDS = {
    "en-GB": ("Run", "Prompt", "Requests", "API", "Your picture will appear here."),
    "ja-JP": ("実行", "プロンプト", "リクエスト", "API", "画像はここに表示されます。"),
    "ru-RU": ("Запустить", "Промпт", "Запросы", "API", "Здесь появится изображение."),
}


def faults(person: Person) -> list[str]:
    """What axe finds, named with the elements."""
    found = Axe().run(person.page).response["violations"]
    return [f"{each['id']}: {[node['target'] for node in each['nodes']]}" for each in found]


def too_wide(person: Person) -> bool:
    return bool(person.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("language", WORDS)
def test_the_browsers_language_is_spoken_by_page_and_form(newcomer: Any, language: str) -> None:
    person: Person = newcomer(locale=language).open(f"/models/{WAN}")
    run, prompt, requests, _, empty = WORDS[language]

    assert person.page.evaluate("document.documentElement.lang") == language[:2]
    assert person.button(run).is_visible()
    assert person.field("prompt").locator(".label", has_text=prompt).is_visible()
    assert person.page.get_by_role("tab", name=requests).is_visible()
    assert person.page.get_by_text(empty).is_visible()


def test_a_language_that_is_not_spoken_is_answered_in_english(newcomer: Any) -> None:
    person: Person = newcomer(locale="fi-FI").open()

    assert person.button("Run").is_visible()


def test_the_language_is_switched_without_losing_what_was_typed(newcomer: Any) -> None:
    person: Person = newcomer().open(f"/models/{WAN}")
    person.write("a pencil drawing")
    person.pick(SAMPLES / "cat.jpg")

    person.page.locator("#language").select_option("ja")
    person.field("prompt").locator(".label", has_text="プロンプト").wait_for()

    assert person.field("prompt").get_by_role("textbox").input_value() == "a pencil drawing"
    assert person.page.locator(".tile.ready img").count() == 1
    person.page.reload()
    person.button("実行").wait_for()


def test_the_theme_follows_the_system_until_somebody_chooses_one(newcomer: Any) -> None:
    person: Person = newcomer(color_scheme="dark").open()
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = person.page.evaluate(paper)

    person.page.emulate_media(color_scheme="light")
    light = person.page.evaluate(paper)
    person.page.get_by_role("button", name="Theme: as the system").click()
    person.page.get_by_role("button", name="Theme: light").click()
    assert person.page.evaluate(paper) == dark
    person.page.reload()

    assert person.page.evaluate(paper) == dark != light


@pytest.mark.parametrize(
    ("screen", "language", "theme"),
    [({}, "en-GB", "light"), ({}, "ja-JP", "dark"), (PHONE, "ru-RU", "light"), (PHONE, "en-GB", "dark")],
    ids=["desktop-en-light", "desktop-ja-dark", "phone-ru-light", "phone-en-dark"],
)
def test_axe_finds_nothing_and_nothing_is_too_wide(
    newcomer: Any, script: Script, tmp_path: Path, screen: dict[str, Any], language: str, theme: str
) -> None:
    person: Person = newcomer(locale=language, color_scheme=theme, **screen)
    person.open(signed_in=False)
    person.page.get_by_role("dialog").wait_for()
    assert (faults(person), too_wide(person)) == ([], False), "the token"

    person.open(f"/models/{WAN}")
    run, _, requests, api, _ = WORDS[language]
    assert (faults(person), too_wide(person)) == ([], False), "the form"

    person.write("")
    (tmp_path / "broken.png").write_bytes(b"broken")
    person.pick(tmp_path / "broken.png")
    person.button(run).click()
    person.problem("prompt")
    assert (faults(person), too_wide(person)) == ([], False), "the form with problems"

    person.page.locator(".tile button").last.click()
    person.write("image 1 on the left, image 2 on the right, warmer, with a unicorn")
    person.pick(SAMPLES / "cat.jpg", SAMPLES / "coffee.jpg")
    person.button(run).click()
    person.result()
    person.page.locator("summary").first.click()
    assert (faults(person), too_wide(person)) == ([], False), "the result"

    for name in (api, requests):
        person.tab(name)
        assert (faults(person), too_wide(person)) == ([], False), name


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_while_a_request_runs_fails_and_is_zoomed_into(
    newcomer: Any, script: Script, theme: str
) -> None:
    person: Person = newcomer(color_scheme=theme).open(f"/models/{SCRIPTED}")
    person.write(f"preview:RGB gate:axe-{theme}")
    person.run()
    person.page.locator(".stage.busy").wait_for()
    assert faults(person) == [], "running"

    script.open(f"axe-{theme}")
    person.result()
    person.button("Zoom").click()
    assert faults(person) == [], "zoomed into"

    person.page.keyboard.press("Escape")
    person.write("fail:paint")
    person.run()
    person.page.locator(".stage.bad").wait_for()
    assert faults(person) == [], "failed"


def test_a_keyboard_alone_is_enough_from_the_token_to_the_next_edit(newcomer: Any) -> None:
    person: Person = newcomer().open(f"/models/{SCRIPTED}", signed_in=False)
    keys = person.page.keyboard
    person.page.get_by_role("dialog").wait_for()
    keys.type(person.server.token)
    keys.press("Enter")
    person.page.locator("gesso-form form").wait_for()

    form = person.page.wait_for_selector("gesso-form form")
    tab_to(person, "Skip to the form")
    keys.press("Enter")
    tab_to(person, "field-prompt")
    keys.press("Control+a")
    keys.type("nothing")
    keys.press("Control+Enter")
    person.result()
    assert form is not None
    assert form.is_visible(), "drawn anew, it has lost the focus"
    tab_to(person, "Use as input")
    keys.press("Enter")
    assert person.page.locator(".tile").count() == 1
    tab_to(person, "tab-result", back=True)
    keys.press("ArrowRight")

    assert person.page.get_by_role("tab", name="API").get_attribute("aria-selected") == "true"


def tab_to(person: Person, name: str, *, back: bool = False) -> None:
    """Press Tab until the focus is on what is called *name*; it must be seen, and be within reach."""
    focused = "(it => it.id === name || it.textContent.trim() === name)(document.activeElement)".replace(
        "name", repr(name)
    )
    for _ in range(60):
        if person.page.evaluate(focused):
            outline = person.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none"
            return
        person.page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"{name} is out of reach")


def test_the_whole_trip_works_on_a_phone(newcomer: Any) -> None:
    person: Person = newcomer(**PHONE).open(f"/models/{WAN}")
    person.write("a watercolour")
    person.pick(SAMPLES / "cat.jpg")
    person.button("Run").tap()

    picture = person.result()

    assert picture.evaluate("image => image.getBoundingClientRect().right <= innerWidth")
    targets = """[...document.querySelectorAll("button, a.button, select")]
        .filter((it) => it.offsetParent && it.getBoundingClientRect().height < 32).map((it) => it.outerHTML)"""
    assert person.page.evaluate(targets) == []


def test_whoever_wants_no_motion_gets_none(newcomer: Any) -> None:
    person: Person = newcomer(reduced_motion="reduce").open()

    moving = "[...document.querySelectorAll('*')].filter(it => getComputedStyle(it).animationName !== 'none').length"
    assert person.page.evaluate(moving) == 0
