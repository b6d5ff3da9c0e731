"""What the tests of the diffusers engine share: small edits, and the libraries or a reason to skip."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gesso.core.inputs import Inputs, Size
from gesso.engines.diffusers.engine import DiffusersEngine

Folders = Callable[[str], Path]
Engines = Callable[..., DiffusersEngine]


def picture(number: int = 0, width: int = 128, height: int = 96) -> Image.Image:
    """A synthetic reference; another *number* is another picture."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 / width, y * 255 / height, 127 + 127 * np.sin((x + y * (number + 1)) / 23)], -1)
    return Image.fromarray(pixels.astype(np.uint8))


def asked(images: int = 2, *, steps: int = 3, **changes: Any) -> Inputs:
    """A small edit."""
    given = tuple(picture(number) for number in range(images))
    told = {"prompt": "put image 1 beside image 2", "negative_prompt": "low quality", "size": Size(64, 64), "seed": 7}
    return Inputs(**{"images": given, "extra": {"steps": steps}, **told, **changes})


def installed() -> Any:
    """The makers of tiny pipelines; skips the test where the libraries are not installed.

    They come before anything else imports the libraries, which look once for torchvision.
    """
    for name in ("torch", "diffusers", "transformers", "accelerate"):
        try:
            version(name)  # an import would find this very folder, which is called diffusers too
        except PackageNotFoundError:
            pytest.skip(f"{name} is not installed: pip install 'gesso[diffusers]'")
    import tiny_pipelines

    tiny_pipelines.torchvision_works()
    return tiny_pipelines
