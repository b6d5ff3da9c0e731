"""A real server, a real Chromium, and a person in front of it."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "trip"))
from person import ECHO, SCRIPTED, WAN, Person
from script import FOLDER, Script
from server import Server

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 30_000
# What the browser itself refuses to do for the page, told to the page.
WITNESS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Script]:
    """The scripted engine, installed for the processes that the tests of a file share."""
    folder = tmp_path_factory.mktemp("script")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("GESSO_")]:
            patch.delenv(name)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("PYTHONPATH", "")])))
        patch.setenv("SCRIPTED_FOLDER", str(folder))
        patch.setenv("GESSO_MODELS_DIR", str(Script.definitions))
        patch.setenv("GESSO_MODELS", f"{SCRIPTED},{WAN},{ECHO}")
        patch.chdir(folder)
        yield Script(folder)


@pytest.fixture(scope="module")
def server(script: Script, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that the tests of a file share."""
    server = Server(tmp_path_factory.mktemp("house") / "data")
    yield server
    server.kill_all()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: install it, or name it in CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def newcomer(chromium: Any, server: Server) -> Iterator[Any]:
    """Makes people, each in a browser of their own; nobody leaves an error or a breach of the policy behind."""
    people: list[Person] = []

    def come(**options: Any) -> Person:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 860}, "locale": "en-GB", **options})
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(WITNESS)
        person = Person(server, context, context.new_page())
        person.page.on("pageerror", lambda error: person.said.append(str(error)))
        person.page.on("request", person.note)
        people.append(person)
        return person

    yield come
    for person in people:
        violations = person.violations()
        person.context.close()
        assert violations == []


@pytest.fixture
def person(newcomer: Any) -> Person:
    """Somebody who is signed in, before the form of the model that comes up first."""
    return newcomer().open()  # type: ignore[no-any-return]
