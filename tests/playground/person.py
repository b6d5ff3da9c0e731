"""A person in front of the playground, and what they have at hand."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server import Server

WAN = "wan-ai/wan-2-6/image-to-image"
ECHO = "gesso/echo/image-to-image"
SCRIPTED = "tests/scripted"
SAMPLES = Path(__file__).parents[2] / "src" / "gesso" / "samples"


@dataclass
class Person:
    """Somebody with a window of the browser. `page` is what they see."""

    server: Server
    context: Any
    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    posted: list[str] = field(default_factory=list)

    def open(self, path: str = "/", *, signed_in: bool = True, token: str = "") -> "Person":
        """Come by the link that `gesso up` prints, or with a *token* of one's own, or by the bare address."""
        self.page.goto(f"{self.server.url}{path}{f'#token={token or self.server.token}' if signed_in else ''}")
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
