"""Three photographs that anybody may use, for the playground, tests and contact sheet; `SOURCES.md` says whose."""

from importlib.resources import files
from importlib.resources.abc import Traversable

NAMES = ("cat", "coffee", "rocket")


def sample(name: str) -> Traversable:
    """The JPEG of *name*, one of `NAMES`; each side is at least 384 px."""
    if name not in NAMES:
        raise ValueError(f"{name!r} is no sample; these are: {', '.join(NAMES)}")
    return files(__name__) / f"{name}.jpg"
