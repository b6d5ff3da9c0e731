"""No log of the whole suite holds a token: not what is logged in process, nor what the started servers write."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gesso.store.tokens import ALPHABET, PREFIX

TOKEN = re.compile(rf"{PREFIX}[{ALPHABET}]{{40,}}|sk-canary-\w+|(?i:authorization: *bearer)")
LOGS = ("log-*", "*.log", "errors*", "stderr*")


class Ear(logging.Handler):
    """Hears every record that the process logs."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage() + str((record.exc_info and record.exc_info[1]) or "")
        if found := TOKEN.search(text):
            self.told.append(f"{record.name}: {text[: found.start()]}…")


def secrets_in(folder: Path) -> list[str]:
    """The log files below *folder* that hold a token."""
    files = {path for pattern in LOGS for path in folder.rglob(pattern) if path.is_file()}
    return sorted(path.name for path in files if TOKEN.search(path.read_text(errors="replace")))


@pytest.fixture(scope="session", autouse=True)
def ear() -> Iterator[Ear]:
    ear = Ear()
    logging.getLogger().addHandler(ear)
    yield ear
    logging.getLogger().removeHandler(ear)


@pytest.fixture(autouse=True)
def no_log_holds_a_secret(ear: Ear, request: pytest.FixtureRequest) -> Iterator[None]:
    """The law, held after every test."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    told, ear.told = ear.told, []
    assert told + (secrets_in(folder) if folder else []) == []
