"""Tiny pipelines, made once for each process of tests; and engines on them. Without torch and diffusers these skip."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers_rig import Engines, Folders, installed

from gesso.engines.diffusers.engine import DiffusersEngine


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folder of a tiny pipeline, by its kind."""
    makers = installed()
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind.startswith("qwen") and not makers.torchvision_works():
            pytest.skip(
                f"torchvision cannot be imported; or name a folder that holds it as {makers.TORCHVISION_FOLDER}"
            )
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

    def refuse(self: socket.socket, address: Any) -> None:
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), f"connects to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    resolve = socket.getaddrinfo

    def refuse_name(host: Any, *more: Any, **other: Any) -> Any:
        assert host in ("127.0.0.1", "::1", "localhost", None), f"looks up {host}"
        return resolve(host, *more, **other)

    monkeypatch.setattr(socket, "getaddrinfo", refuse_name)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # the engine sets them: put back what there was
        monkeypatch.setenv(name, os.environ.get(name, "1"))
