"""The process of one engine: load it, run what the host sends, one at a time. Started by `host.py`, never by hand.

It ends when its host does, however that went: at the end of the channel, and by the kernel's signal where there is one.
"""

import ctypes
import logging
import select
import signal
import socket
import sys
from dataclasses import asdict
from typing import Any

from PIL import Image, ImageOps

from gesso.core import errors
from gesso.core.errors import EngineFailed, GessoError, Stopped
from gesso.core.inputs import Inputs, Size
from gesso.core.ports import Engine, Made
from gesso.engines import frames, registry

PR_SET_PDEATHSIG = 1
log = logging.getLogger(__name__)


class Channel:
    """The reports of a run, sent to the host; and the host's word to stop, looked for at each report."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._stopped = False

    def __call__(self, step: int, of: int, preview: Image.Image | None = None) -> None:
        """Tell a step; raises Stopped when the host said so or is gone."""
        if self._stopped or select.select([self._channel], [], [], 0)[0]:
            self._stopped = self._stopped or self._hears("stop")
            raise Stopped
        frames.send(self._channel, {"op": "progress", "step": step, "of": of}, [_rgb(preview)] if preview else [])

    def remember(self, text: str) -> None:
        """Have *text* kept for the next attempt, and wait until it is; raises Stopped as a step does."""
        frames.send(self._channel, {"op": "remember", "text": text})
        while not self._hears("kept"):
            self._stopped = True  # it said "stop" first; the answer is still to come
        if self._stopped:
            raise Stopped

    def _hears(self, word: str) -> bool:
        return bool(frames.receive(self._channel)[0]["op"] == word)


def main() -> None:
    """Serve the channel given as a file descriptor on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the host decides
    _die_with_parent()
    channel = socket.socket(fileno=int(sys.argv[1]))
    order, _ = frames.receive(channel)
    try:
        engine = registry.make(order["engine"], order["options"])
        engine.load()
    except GessoError as fault:
        frames.send(channel, _failed(fault))
        return
    frames.send(channel, {"op": "ready", "abilities": asdict(engine.abilities)})
    try:
        while True:
            _serve(channel, engine)
    except (EOFError, ConnectionError):
        engine.close()


def _serve(channel: socket.socket, engine: Engine) -> None:
    order, buffers = frames.receive(channel)
    if order["op"] == "stop":  # came after the run had ended
        return
    inputs = frames.inputs_from_json(order["inputs"], frames.unpack_images(order["sizes"], buffers))
    try:
        made = engine.run(inputs, Channel(channel))
        if not made.images:
            raise EngineFailed(reason="it made no picture")
        images = [exact(image, inputs.size) for image in made.images]
        frames.send(channel, {"op": "made", "notes": _told(engine, inputs, made)}, images)
    except GessoError as fault:
        frames.send(channel, _failed(fault))
    except (EOFError, ConnectionError):
        raise
    except Exception as fault:
        log.exception("the engine broke")
        frames.send(channel, _failed(EngineFailed(reason=type(fault).__name__)))


def exact(image: Image.Image, size: Size) -> Image.Image:
    """*image* in RGB and of exactly *size*: what does not fit is cropped around the centre, never distorted."""
    flat, target = _rgb(image), (size.width, size.height)
    return flat if flat.size == target else ImageOps.fit(flat, target)


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _told(engine: Engine, inputs: Inputs, made: Made) -> dict[str, Any]:
    """What a result's metadata says of a run."""
    abilities = engine.abilities
    return {
        "engine": abilities.name,
        "weights": abilities.weights,
        "licence": abilities.licence,
        "seed": inputs.seed,
        "seed_promise": abilities.seed,
        "size": str(inputs.size),
        "negative_prompt": abilities.negative_prompt,
        **made.notes,
    }


def _failed(fault: GessoError) -> dict[str, Any]:
    """An error that only the engine knows is told as a failure, in its own words."""
    name = type(fault).__name__
    told = fault if getattr(errors, name, None) is type(fault) else EngineFailed(reason=str(fault))
    return {"op": "failed", "name": type(told).__name__, "facts": told.facts}


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()
