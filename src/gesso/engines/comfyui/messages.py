"""What a ComfyUI server says over the websocket, and what it means for one job. Nothing is sent from here."""

import contextlib
import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from gesso.engines.comfyui.workflow import Graph

PREVIEW, PREVIEW_WITH_METADATA = 1, 4  # kinds of binary message
PNG = 2  # the type of picture in a PREVIEW that may be a result; 1 is JPEG and always a preview
ENDS = ("execution_success", "execution_error", "execution_interrupted")


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture. `node` is None where the server does not tell whose it is."""

    content: bytes
    node: str | None
    is_png: bool


def read_picture(message: bytes) -> Sent | None:
    """The picture of a binary message; None of a kind that is not ours."""
    event, number = struct.unpack_from(">II", message) if len(message) >= 8 else (0, 0)
    if event == PREVIEW:
        return Sent(message[8:], None, number == PNG)
    if event == PREVIEW_WITH_METADATA:
        about = json.loads(message[8 : 8 + number])
        return Sent(message[8 + number :], about.get("node_id"), about.get("image_type") == "image/png")
    return None


class Job:
    """One posted graph as it is heard to run.

    Attributes:
        step, of: how far it is: each node counts one, a sampler as many as its steps. `step` never falls.
        preview: the last one, until it is taken.
        results: the pictures that the output node sent, as files.
        ended: the kind of the last message and what it says; None while it runs.
    """

    def __init__(self, prompt_id: str, graph: Graph, output: str) -> None:
        self.id = prompt_id
        self.step = 0
        self.results: list[bytes] = []
        self.ended: tuple[str, Mapping[str, Any]] | None = None
        self._preview: Image.Image | None = None
        self._output = output
        self._running: str | None = None
        self._weights = {id: _steps(node["inputs"].get("steps")) for id, node in graph.items()}
        self._done = dict.fromkeys(graph, 0.0)
        self.of = sum(self._weights.values())

    def hear(self, message: str | bytes) -> bool:
        """Take in one message; gives whether it is about this job. Unknown kinds change nothing."""
        if isinstance(message, bytes):
            if picture := read_picture(message):
                self._see(picture)
            return True
        told = json.loads(message)
        kind, about = told.get("type"), told.get("data") or {}
        # What names no job is about the server (`status`, `feature_flags`), and no sign of life of this one. But the
        # first `executing` after a reconnect names none either; the socket is this job's own, so it means this one.
        if about.get("prompt_id", self.id if kind == "executing" else None) != self.id:
            return False
        if kind in ENDS:
            self.ended = kind, about
        elif kind == "executing":
            self._running = about.get("node")
        elif kind == "execution_cached":
            self._reach(dict.fromkeys(about["nodes"], 1.0))
        elif kind == "progress":
            self._reach({about["node"]: _share(about)})
        elif kind == "progress_state":
            self._reach({id: _share(state) for id, state in about["nodes"].items()})
        return True

    def take_preview(self) -> Image.Image | None:
        """The preview that has come since the last call."""
        preview, self._preview = self._preview, None
        return preview

    def _see(self, picture: Sent) -> None:
        # Without a node's id (a server that knows no metadata) a result is a PNG that comes while the output runs.
        if picture.is_png and (picture.node or self._running) == self._output:
            self.results.append(picture.content)
            return
        with contextlib.suppress(OSError):  # a preview that cannot be read is none
            self._preview = Image.open(io.BytesIO(picture.content)).convert("RGB")

    def _reach(self, shares: Mapping[str, float]) -> None:
        for id, share in shares.items():
            if id in self._done:
                self._done[id] = max(self._done[id], share)
        done = sum(self._weights[id] * share for id, share in self._done.items())
        self.step = int(done + 1e-6)  # shares that should add up to whole steps may not quite


def _share(state: Mapping[str, Any]) -> float:
    return float(min(state["value"] / state["max"], 1.0)) if state.get("max") else 0.0


def _steps(value: Any) -> int:
    return value if type(value) is int and value > 1 else 1
