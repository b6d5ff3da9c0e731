"""The process of one engine: load it, run what the host sends, one at a time. Started by `host.py`, never by hand.

It ends when its host does, however that went: at the end of the channel, and by the kernel's signal where there is one.
"""

import contextlib
import ctypes
import logging
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from queue import Queue, SimpleQueue
from typing import Any

from PIL import Image, ImageOps

from gesso.core import errors
from gesso.core.errors import EngineFailed, GessoError, RunFailed, Stopped
from gesso.core.inputs import Inputs, Size
from gesso.core.ports import Engine, Made
from gesso.engines import frames, registry

PR_SET_PDEATHSIG = 1
MOST_UNSENT = 8
log = logging.getLogger(__name__)


class Channel:
    """The host's messages and those to the host, read and sent by threads of their own while the engine runs.

    So the pictures of the next run arrive during this one, those of the last one leave, and a word to stop is there at
    the next report.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._stopped = threading.Event()
        self._kept: SimpleQueue[bool] = SimpleQueue()
        self._orders: SimpleQueue[Inputs | None] = SimpleQueue()
        self._ahead: frames.Images = ()
        self._spent: Inputs | None = None
        self._unsent: Queue[tuple[dict[str, Any], Sequence[Image.Image]]] = Queue(MOST_UNSENT)
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        threading.Thread(target=self._talk, name="talker", daemon=True).start()

    def __call__(self, step: int, of: int, preview: Image.Image | None = None) -> None:
        """Tell a step; raises Stopped when the host said so or is gone."""
        if self._stopped.is_set():
            raise Stopped
        self.send({"op": "progress", "step": step, "of": of}, [_rgb(preview)] if preview else [])

    def remember(self, text: str) -> None:
        """Have *text* kept for the next attempt, and wait until it is; raises Stopped as a step does."""
        self.send({"op": "remember", "text": text})
        self._kept.get()
        if self._stopped.is_set():
            raise Stopped

    def next_order(self) -> Inputs:
        """The next run that the host wants; raises EOFError when it is gone."""
        order = self._orders.get()
        if order is None:
            raise EOFError
        return order

    def is_done(self, inputs: Inputs) -> None:
        """The run of *inputs* has ended.

        To give large pictures back takes milliseconds: they are kept until the next run is under way.
        """
        self._spent = inputs

    def send(self, header: dict[str, Any], images: Sequence[Image.Image] = ()) -> None:
        """Send the host a message behind those before it; *images* are not changed any more."""
        self._unsent.put((header, images))

    def _listen(self) -> None:
        try:
            while True:
                self._hear(*frames.receive(self._channel))
        except (EOFError, ConnectionError):
            self._stopped.set()
            self._kept.put(False)  # noqa: FBT003 - what is put is never looked at
            self._orders.put(None)

    def _talk(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # the host is gone, as the listener hears too
                frames.send(self._channel, *self._unsent.get())

    def _hear(self, header: frames.Header, pictures: frames.Images) -> None:
        match header["op"]:
            case "stop":
                self._stopped.set()
            case "kept":
                self._kept.put(True)  # noqa: FBT003 - likewise
            case "ahead":
                self._ahead, self._spent = pictures, None
            case "run":
                images = self._ahead if header["ahead"] else pictures
                self._ahead = ()
                self._stopped.clear()  # a word to stop that came after its run had ended
                self._orders.put(frames.inputs_from_json(header["inputs"], images))


def main() -> None:
    """Serve the channel given as a file descriptor on the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group or service; the host decides
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent()
    channel = socket.socket(fileno=int(sys.argv[1]))
    order, _ = frames.receive(channel)
    try:
        engine = registry.make(order["engine"], order["options"])
        engine.load()
    except GessoError as fault:
        frames.send(channel, _failed(fault))
        return
    except Exception as fault:
        log.exception("the engine did not load")
        frames.send(channel, _failed(EngineFailed(reason=f"it did not load: {type(fault).__name__}: {fault}")))
        return
    frames.send(channel, {"op": "ready", "abilities": asdict(engine.abilities)})
    reports = Channel(channel)
    try:
        while True:
            _serve(reports, engine)
    except (EOFError, ConnectionError):
        engine.close()


def _serve(channel: Channel, engine: Engine) -> None:
    inputs = channel.next_order()
    try:
        made = engine.run(inputs, channel)
        if not made.images:
            raise EngineFailed(reason="it made no picture")
        images = [exact(image, inputs.size) for image in made.images]
        channel.send({"op": "made", "notes": _told(engine, inputs, made)}, images)
    except GessoError as fault:
        channel.send(_failed(fault))
    except (EOFError, ConnectionError):
        raise
    except Exception as fault:
        log.exception("the engine broke")
        channel.send(_failed(EngineFailed(reason=type(fault).__name__)))
    finally:
        channel.is_done(inputs)


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
    detail = [(each.loc, each.type, each.facts) for each in told.detail] if isinstance(told, RunFailed) else []
    return {"op": "failed", "name": type(told).__name__, "facts": told.facts, "detail": detail}


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()
