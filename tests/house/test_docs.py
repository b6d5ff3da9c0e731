"""Docs tell the truth: pages drawn from the code are up to date, and every setting, error and state is named."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import docs  # noqa: E402 - a script, found by its folder

from gesso.config import Settings, environment_name  # noqa: E402
from gesso.core.states import State  # noqa: E402

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", docs.PAGES)
def test_what_is_drawn_from_the_code_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == docs.PAGES[name](), "run: python scripts/docs.py"


def test_every_setting_state_and_public_error_is_named() -> None:
    told = "\n".join(page.read_text() for page in PAGES)

    missing = [name for name in Settings.model_fields if environment_name(name) not in told]
    missing += [state for state in State if state not in told]
    missing += [kind.name for kind in docs.every(docs.GessoError) if kind.status != 500 and kind.name not in told]

    assert missing == []


LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]+)?\)")


def links(page: Path) -> list[tuple[Path, str]]:
    """Where a page leads: a path, and the heading's anchor or nothing."""
    return [(page.parent / path if path else page, anchor[1:]) for path, anchor in LINK.findall(page.read_text())]


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = [path for path, _ in links(page) if not path.exists()]
    wrong += [f"{path.name}#{anchor}" for path, anchor in links(page)
              if anchor and path.suffix == ".md" and path.exists() and anchor not in anchors(path)]  # fmt: skip

    assert wrong == []


def test_every_page_is_reached_from_the_contents() -> None:
    reached, ahead = set(), [ROOT / "docs" / "README.md"]
    while ahead:
        page = ahead.pop().resolve()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            ahead += [path for path, _ in links(page)]

    assert sorted({page.resolve() for page in PAGES} - reached - {(ROOT / "README.md").resolve()}) == []
    assert (ROOT / "docs" / "README.md", "") in links(ROOT / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_picture_is_a_file_of_ours(page: Path) -> None:
    assert re.findall(r"!\[[^\]]*\]\(https?:", page.read_text()) == []
