"""A real server, a real Chromium, and a person in front of it."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "trip"))
from script import FOLDER, Script
from server import Server

WAN = "wan-ai/wan-2-6/image-to-image"
ECHO = "gesso/echo/image-to-image"
SCRIPTED = "tests/scripted"
SAMPLES = Path(__file__).parents[2] / "src" / "gesso" / "samples"
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


@dataclass
class Person:
    """Somebody with a window of the browser. `page` is what they see."""

    server: Server
    context: Any
    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    posted: list[str] = field(default_factory=list)

    def open(self, path: str = "/", *, signed_in: bool = True) -> "Person":
        """Come by the link that `gesso up` prints, or by the bare address."""
        self.page.goto(f"{self.server.url}{path}{f'#token={self.server.token}' if signed_in else ''}")
        if signed_in:
            self.page.locator("gesso-form form").wait_for()
        return self

    def field(self, name: str) -> Any:
        """A field of the form, with its label and its problem."""
        return self.page.locator(f"[data-field='{name}']")

    def problem(self, name: str) -> str:
        """What stands below a field, once something does."""
        place = self.field(name).locator(".problem:not(:empty)")
        place.wait_for()
        return str(place.inner_text())

    def write(self, prompt: str) -> None:
        self.field("prompt").get_by_role("textbox").fill(prompt)

    def pick(self, *pictures: Path) -> None:
        """Choose files, as from a camera roll, and wait until they are up or refused."""
        self.page.locator("input[type=file]").set_input_files(pictures)
        self.page.locator(".tile.busy").first.wait_for(state="detached")

    def run(self) -> None:
        self.button("Run").click()

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def result(self) -> Any:
        """The picture that was made, once it is there."""
        self.page.locator("gesso-compare .after, .stage.bad").first.wait_for()
        assert self.page.locator(".stage.bad").all_inner_texts() == [], self.server.log()
        return self.page.locator("gesso-compare .after")

    def note(self, request: Any) -> None:
        """Whom the page asks; and where it posts to, without the query."""
        self.asked.append(request.url)
        if request.method == "POST":
            self.posted.append(request.url.removeprefix(self.server.url).partition("?")[0])

    def violations(self) -> list[str]:
        """What the page tried against its policy, and the errors that nobody caught."""
        return [*self.page.evaluate("window.violations"), *self.said]


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
