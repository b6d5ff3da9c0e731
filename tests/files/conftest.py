"""What the tests of this folder share: hostile pictures, real listeners."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

HOSTILE = Path(__file__).parents[3] / "shared" / "hostile"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def hostile_images() -> ModuleType | None:
    """The project's collection of hostile pictures, where this checkout has it beside it."""
    if not (HOSTILE / "hostile_images.py").exists():
        return None
    sys.path.insert(0, str(HOSTILE))
    try:
        import hostile_images
    finally:
        sys.path.remove(str(HOSTILE))
    return hostile_images
