"""Tiny pipelines, made once for each process of tests; and engines on them. Without torch and diffusers these skip."""

import os
import socket
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

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
    import tiny

    tiny.torchvision_works()
    return tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folder of a tiny pipeline, by its kind."""
    makers = installed()
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind.startswith("qwen") and not makers.torchvision_works():
            pytest.skip(f"torchvision cannot be imported; or name a folder that holds it as {makers.TORCHVISION_FOLDER}")
        if kind not in made:
            made[kind] = makers.make(kind, tmp_path_factory.mktemp(kind) / kind)
        return made[kind]

    return folder


@pytest.fixture(scope="module")
def engines(tiny: Folders) -> Iterator[Engines]:
    """Loaded engines on tiny pipelines; those with the same options are loaded once."""
    loaded: dict[str, DiffusersEngine] = {}

    def engine(kind: str = "klein-base", **options: Any) -> DiffusersEngine:
        key = f"{kind} {sorted(options.items())}"
        if key not in loaded:
            loaded[key] = DiffusersEngine(**{"model": str(tiny(kind)), "precision": "fp32", "device": "cpu", **options})
            loaded[key].load()
        return loaded[key]

    yield engine
    for each in loaded.values():
        each.close()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched: an attempt to connect to another machine fails the test."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None | NoReturn:
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), f"connects to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # the engine sets them: put back what there was
        monkeypatch.setenv(name, os.environ.get(name, "1"))
