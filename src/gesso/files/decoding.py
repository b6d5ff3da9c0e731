"""The process in which foreign bytes become pixels. It knows no database, no network and no secret.

Started by `decoder.py` as `python -m gesso.files.decoding` with a socket as its standard input. Over that socket come
further sockets, one for each picture. For each it forks a child of itself, which has Pillow loaded already, puts limits
on it, and lets it answer one question. Nothing is ever unpickled; both sides speak JSON with raw bytes behind.

    question   length (4 bytes), {"ask": "inspect" | "decode", "bytes": n, "validations": [[rule, bound], ...]}, file
    answer     BEGUN, length (4 bytes), {"facts": [format, width, height, bytes]} or {"fault": type}
               or {"size": [width, height]} and raw RGB behind it
"""

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import struct
from typing import Any, NoReturn

# With `preinit`, every plugin that may be needed: a child may not open files any more.
from PIL import Image, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin

from gesso.core.pictures import PictureFault, Validation
from gesso.files import images

PLUGINS = (MpoImagePlugin, TiffImagePlugin, WebPImagePlugin)
BEGUN = b"+"  # a child's first byte: from now on a silence is the picture's fault
LENGTH = struct.Struct(">I")
MIB = 1024 * 1024
CPU_S, WALL_S = 10, 15
STRIP_ROWS = 16

_LIMITS = {
    resource.RLIMIT_AS: 1536 * MIB,
    resource.RLIMIT_CPU: CPU_S,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_NOFILE: 0,  # of new ones: no file, no connection
}


def main() -> None:
    """Fork a child for each socket that comes, until the parent has gone."""
    Image.MAX_IMAGE_PIXELS = None  # `images` has its own, tighter bound, which leaves the model's rules the first word
    Image.preinit()
    control = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    silence = os.open(os.devnull, os.O_RDWR)
    gc.collect()
    gc.freeze()
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            return
        if os.fork() == 0:
            control.close()
            _child(descriptors[0], silence)
        os.close(descriptors[0])


def _child(descriptor: int, silence: int) -> NoReturn:
    """Answer one question and end; whatever goes wrong, nothing of the parent's code runs on."""
    try:
        for standard in range(3):
            os.dup2(silence, standard)
        signal.alarm(WALL_S)  # its default action ends the process, C code or not
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        _limit()
        _answer(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor))
    finally:
        os._exit(0)


def _limit() -> None:
    for limit, most in _LIMITS.items():
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some of them
            resource.setrlimit(limit, (most, most))


def _answer(caller: socket.socket) -> None:
    caller.sendall(BEGUN)
    question = json.loads(_receive(caller, LENGTH.unpack(_receive(caller, LENGTH.size))[0]))
    data = _receive(caller, question["bytes"])
    try:
        if question["ask"] == "inspect":
            _say(caller, {"facts": _facts(data, question["validations"])})
        else:
            image = images.to_rgb(data)
            _say(caller, {"size": image.size})
            _send_pixels(caller, image)
    except PictureFault as fault:
        _say(caller, {"fault": fault.type})


def _facts(data: bytes, rules: list[tuple[str, float]]) -> list[str | int]:
    facts = images.inspect(data, [Validation(rule, bound, "") for rule, bound in rules])
    images.to_rgb(data)
    return [facts.format, facts.width, facts.height, facts.size_bytes]


def _say(caller: socket.socket, answer: dict[str, Any]) -> None:
    head = json.dumps(answer).encode()
    caller.sendall(LENGTH.pack(len(head)) + head)


def _send_pixels(caller: socket.socket, image: Image.Image) -> None:
    """In strips, which reuse the same memory: touching fresh memory is half of a child's time."""
    for top in range(0, image.height, STRIP_ROWS):
        caller.sendall(image.crop((0, top, image.width, min(top + STRIP_ROWS, image.height))).tobytes())


def _receive(caller: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = caller.recv(min(length - len(parts), MIB))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


if __name__ == "__main__":
    main()
