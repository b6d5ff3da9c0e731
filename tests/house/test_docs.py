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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []
