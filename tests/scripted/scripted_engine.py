"""An engine that does what its prompt says, for tests. It lies beside a `dist-info`, so it comes in like any other.

The prompt is a row of words, obeyed from left to right: see SCRIPT. What it did stands in the file `journal` of the
folder that the environment names in SCRIPTED_FOLDER; files that a test lays there open its gates.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from gesso.core.errors import ConfigError, ContentRejected, EngineFailed, InputRejected, Problem
from gesso.core.inputs import Inputs
from gesso.core.ports import Abilities, Made, Report

STEP_S, SLOW_S = 0.005, 0.1


class OutOfPaint(EngineFailed):
    """An error that only this engine knows."""

    sentence = "There is no paint left."


class ScriptedEngine:
    """Obeys its prompt; without words it makes a grey picture.

    Args:
        load: words that are obeyed while loading.
        abilities: those that are other than usual.
    """

    def __init__(self, load: str = "", abilities: Mapping[str, Any] = MappingProxyType({})) -> None:
        usual = {"name": "scripted", "progress": True, "preview": True, "stop": True}
        self.abilities = Abilities(**{**usual, **abilities})
        self._load = load
        self._folder = Path(os.environ["SCRIPTED_FOLDER"])

    def load(self) -> None:
        """Obey the words of the option."""
        self._note("load")
        self._obey(self._load, lambda *_: None)

    def run(self, inputs: Inputs, report: Report) -> Made:
        """Obey the prompt; the last word that names pictures decides what is made."""
        self._note(f"begin {inputs.prompt}")
        made = self._obey(inputs.prompt, report)
        self._note(f"end {inputs.prompt}")
        return Made([_grey(inputs)] if made is None else made, {"pid": os.getpid()})

    def close(self) -> None:
        """Only say so."""
        self._note("close")

    def _obey(self, words: str, report: Report) -> list[Image.Image] | None:
        made = None
        for word in words.split():
            name, _, value = word.partition(":")
            told = SCRIPT[name](self._folder, value, report) if name in SCRIPT else None
            made = made if told is None else told
        return made

    def _note(self, line: str) -> None:
        with (self._folder / "journal").open("a") as journal:
            journal.write(f"{os.getpid()} {line}\n")


def _gate(folder: Path, name: str, report: Report) -> None:
    """Report steps until the file is there."""
    while not (folder / name).exists():
        report(1, 2)
        time.sleep(STEP_S)


def _remember(folder: Path, text: str, report: Report) -> None:
    """Leave word, and note when it was kept."""
    report.remember(text)
    (folder / f"kept-{text}").touch()


def _hang(folder: Path, name: str, report: Report) -> None:
    """The same in silence; without a name, for good."""
    while not name or not (folder / name).exists():
        time.sleep(STEP_S)


def _slow(folder: Path, name: str, report: Report) -> None:
    """Many steps, each of them slow."""
    for step in range(10):
        time.sleep(SLOW_S)
        report(step + 1, 10)


def _refuse(folder: Path, word: str, report: Report) -> None:
    raise InputRejected(detail=(Problem(("body", "image_urls", 1), word, {"limit": 3}),))


def _spin(folder: Path, name: str, report: Report) -> None:
    while True:
        pass


def _crash(folder: Path, times: str, report: Report) -> None:
    """End the process at once; with a number, only the first so many times."""
    crashes = len(list(folder.glob("crash-*")))
    if not times or crashes < int(times):
        (folder / f"crash-{crashes}").touch()
        os._exit(9)


def _fail(folder: Path, word: str, report: Report) -> None:
    raise EngineFailed(reason=word or "no paint")


def _reject(folder: Path, word: str, report: Report) -> None:
    raise ContentRejected


def _misconfigured(folder: Path, word: str, report: Report) -> None:
    raise ConfigError(reason=word)


def _paintless(folder: Path, word: str, report: Report) -> None:
    raise OutOfPaint


def _broken(folder: Path, word: str, report: Report) -> None:
    raise ValueError(word)


def _preview(folder: Path, mode: str, report: Report) -> None:
    report(1, 2, Image.new(mode, (40, 30)))


def _picture(folder: Path, mode: str, report: Report) -> list[Image.Image]:
    """One in that mode, at a size that nobody asked for."""
    return [Image.new(mode, (300, 200))]


def _pictures(folder: Path, count: str, report: Report) -> list[Image.Image]:
    return [Image.new("RGB", (512, 512), (number, 0, 0)) for number in range(int(count))]


def _grey(inputs: Inputs) -> Image.Image:
    return Image.new("RGB", (inputs.size.width, inputs.size.height), "grey")


SCRIPT: dict[str, Callable[[Path, str, Report], list[Image.Image] | None]] = {
    "remember": _remember,
    "gate": _gate,
    "hang": _hang,
    "slow": _slow,
    "refuse": _refuse,
    "spin": _spin,
    "crash": _crash,
    "fail": _fail,
    "reject": _reject,
    "misconfigured": _misconfigured,
    "paintless": _paintless,
    "broken": _broken,
    "preview": _preview,
    "picture": _picture,
    "pictures": _pictures,
}
