"""The token: asked for, judged, kept where the person wants it, and nowhere else."""

import subprocess
import sys
from typing import Any

import pytest
from person import SCRIPTED, Person
from server import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def stranger(newcomer: Any) -> Person:
    """Somebody without a token."""
    person: Person = newcomer().open(signed_in=False)
    person.page.get_by_role("dialog").wait_for()
    return person


def sign_in(person: Person, token: str) -> None:
    person.page.get_by_label("Token", exact=True).fill(token)
    person.button("Use this token").click()


def kept(person: Person) -> tuple[str | None, str | None]:
    """In the tab, on the device."""
    script = "[sessionStorage.getItem('gesso.token'), localStorage.getItem('gesso.token')]"
    return tuple(person.page.evaluate(script))


@pytest.mark.parametrize(("token", "words"), [
    ("gesso_wrong", "The server does not take this token: it is mistyped, expired or revoked."),
    ("gesso_…", "This is no token: it holds characters that tokens do not have."),
])  # fmt: skip
def test_a_bad_token_is_refused_with_a_reason_and_the_field_is_ready_for_another(
    stranger: Person, token: str, words: str
) -> None:
    sign_in(stranger, token)

    stranger.page.get_by_role("alert").filter(has_text=words).wait_for()
    field = stranger.page.get_by_label("Token", exact=True)
    assert field.get_attribute("aria-invalid") == "true"
    assert field.evaluate("it => it === document.activeElement")
    assert kept(stranger) == (None, None)


@pytest.mark.parametrize("remember", [True, False])
def test_a_token_is_kept_for_this_tab_or_on_this_device_as_the_person_says(stranger: Person, remember: bool) -> None:
    stranger.page.get_by_label("Remember it on this device").set_checked(remember)
    sign_in(stranger, stranger.server.token)
    stranger.page.locator("gesso-form form").wait_for()

    token = stranger.server.token
    assert kept(stranger) == ((None, token) if remember else (token, None))


def test_a_link_signs_in_and_the_token_leaves_the_address_at_once(newcomer: Any) -> None:
    person: Person = newcomer().open()

    assert person.page.url == f"{person.server.url}/"
    assert person.page.evaluate("history.length") <= 2
    assert not any(person.server.token in url for url in person.asked)
    assert kept(person) == (person.server.token, None)


def test_a_link_does_not_change_who_somebody_is_without_asking(newcomer: Any, server: Server) -> None:
    person: Person = newcomer().open()
    command = [
        sys.executable,
        "-m",
        "gesso",
        "tokens",
        "create",
        "--owner",
        "other",
        "--data-dir",
        str(server.data_dir),
    ]
    other = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    person.page.goto("about:blank")
    person.page.goto(f"{server.url}/#token={other}")
    person.page.get_by_text("The link that you opened brings another token.").wait_for()
    person.button("Close").click()
    person.page.locator("gesso-form form").wait_for()

    assert kept(person) == (server.token, None)


def test_somebody_who_signs_out_leaves_no_token(newcomer: Any) -> None:
    person: Person = newcomer().open()
    person.button("Token").click()
    person.button("Sign out").click()

    person.button("Sign in").wait_for()
    assert kept(person) == (None, None)


def test_a_token_that_ends_during_the_work_is_asked_for_and_the_work_goes_on(newcomer: Any) -> None:
    person: Person = newcomer().open(f"/models/{SCRIPTED}")
    person.page.evaluate("sessionStorage.setItem('gesso.token', 'gesso_revoked')")
    person.write("nothing")
    person.run()

    sign_in(person, person.server.token)

    person.result()


def test_whoever_closes_the_dialog_is_told_how_to_go_on(stranger: Person) -> None:
    stranger.page.keyboard.press("Escape")

    stranger.page.locator("gesso-stage", has_text="This needs a token. Sign in to go on.").wait_for()
    stranger.button("Sign in").click()
    sign_in(stranger, stranger.server.token)
    stranger.page.locator("gesso-form form").wait_for()


def test_the_token_goes_to_this_server_in_one_header_and_nowhere_else(newcomer: Any) -> None:
    person: Person = newcomer().open(f"/models/{SCRIPTED}")
    told: list[tuple[str, Any]] = []
    person.page.on("request", lambda request: told.append((request.url, request.post_data or "")))
    person.write("nothing")
    person.run()
    person.result()
    person.tab("API")

    assert not any(person.server.token in part for pair in told for part in pair)
    assert person.server.token not in person.page.content()
    assert all(url.startswith((person.server.url, "blob:", "data:")) for url in person.asked)


def test_whoever_signs_out_leaves_no_prompt_and_no_picture_to_the_next_one(newcomer: Any) -> None:
    person: Person = newcomer().open(f"/models/{SCRIPTED}")
    person.write("nothing")
    person.run()
    person.result()
    assert "nothing" in person.page.evaluate("JSON.stringify(localStorage)")

    person.button("Token").click()
    person.button("Sign out").click()
    person.button("Sign in").wait_for()

    assert "nothing" not in person.page.evaluate("JSON.stringify(localStorage)")
