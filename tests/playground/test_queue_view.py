"""The queue as an administrator sees it: everybody's requests with their owners, and nobody's pictures."""

import subprocess
import sys
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from person import SCRIPTED, Person
from script import Script
from server import Server

pytestmark = pytest.mark.slow
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
OWNER = "operations-of-a-studio-that-has-a-rather-long-name"
EVERYBODYS = {"en-GB": "Everybody's", "ja-JP": "全員", "ru-RU": "Все"}
CARDS_TOO_WIDE = """[...document.querySelectorAll(".requests li")].filter(
    (it) => it.getBoundingClientRect().right > it.closest("section").getBoundingClientRect().right + 0.5).length"""
TABS = {"en-GB": "Requests", "ja-JP": "リクエスト", "ru-RU": "Запросы"}


@pytest.fixture(scope="module")
def admin_token(server: Server) -> str:
    command = [sys.executable, "-m", "gesso", "tokens", "create", "--owner", OWNER, "--admin", "--data-dir"]
    return subprocess.run([*command, server.data_dir], check=True, capture_output=True, text=True).stdout.strip()


def rows(person: Person) -> Any:
    return person.page.locator("gesso-requests li")


def faults(person: Person) -> list[str]:
    found = Axe().run(person.page).response["violations"]
    wide = person.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return [f"{each['id']}: {[node['target'] for node in each['nodes']]}" for each in found] + ["too wide"] * wide


def test_an_administrator_sees_everybodys_queue_and_cancels_what_waits(
    newcomer: Any, server: Server, script: Script, admin_token: str
) -> None:
    running, waiting = server.submit("gate:everybody"), server.submit("nothing")
    person: Person = newcomer().open(f"/models/{SCRIPTED}", token=admin_token)
    person.tab("Requests")
    person.page.get_by_text("No requests yet.").wait_for()

    person.page.get_by_label("Everybody's").check(force=True)
    groups = person.page.locator("gesso-requests section")
    groups.filter(has_text="Running").wait_for()

    assert rows(person).locator(".owner").first.inner_text().endswith("local")
    assert rows(person).locator("button.open, img").count() == 0, "what is others' is not opened"
    person.button("Cancel").click()
    person.page.locator("gesso-requests .cancelled .state").first.wait_for()
    assert server.result(waiting)["status"] == "cancelled"
    person.page.get_by_label("Mine").check(force=True)
    person.page.get_by_text("No requests yet.").wait_for()
    script.open("everybody")
    server.ended(running)


def test_an_administrators_own_requests_are_opened_from_everybodys_too(newcomer: Any, admin_token: str) -> None:
    person: Person = newcomer().open(f"/models/{SCRIPTED}", token=admin_token)
    person.write("nothing")
    person.run()
    person.result()
    person.tab("Requests")
    person.page.get_by_label("Everybody's").check(force=True)

    person.page.locator("gesso-requests li", has_text=OWNER).locator("button.open").click()

    person.result()


def test_anybody_else_has_no_such_switch(person: Person) -> None:
    person.server.ended(person.server.submit("nothing"))
    person.tab("Requests")
    rows(person).first.wait_for()

    assert person.page.locator("gesso-requests [role=radiogroup]").count() == 0
    assert not any("all=true" in url for url in person.asked)


@pytest.mark.parametrize(
    ("screen", "language", "theme"),
    [({}, "en-GB", "light"), ({}, "ja-JP", "dark"), (PHONE, "ru-RU", "light")],
    ids=["desktop-en-light", "desktop-ja-dark", "phone-ru-light"],
)
def test_axe_finds_nothing_in_everybodys_queue_and_nothing_is_too_wide(
    newcomer: Any, server: Server, script: Script, admin_token: str, screen: dict[str, Any], language: str, theme: str
) -> None:
    gate = f"queue-{language}"
    running, _ = server.submit(f"gate:{gate}"), server.submit("nothing")
    person: Person = newcomer(locale=language, color_scheme=theme, **screen).open(
        f"/models/{SCRIPTED}", token=admin_token
    )
    person.tab(TABS[language])

    person.page.get_by_label(EVERYBODYS[language], exact=True).check(force=True)
    person.page.locator("gesso-requests .in_progress .owner").wait_for()

    assert faults(person) == []
    assert person.page.evaluate(CARDS_TOO_WIDE) == 0
    script.open(gate)
    server.ended(running)
