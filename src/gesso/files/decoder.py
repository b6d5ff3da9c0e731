"""Pictures judged and decoded in a process of their own. This file opens no picture itself."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from PIL import Image

from gesso.core.errors import Unavailable
from gesso.core.pictures import Facts, PictureFault, Validation
from gesso.files.decoding import BEGUN, LENGTH, WALL_S
from gesso.files.images import LARGEST_PIXELS

START_S = 10
LONGEST_HEAD = 4096
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")  # of the environment: what Python may need to start


class Decoder:
    """Looks into foreign pictures without touching them.

    A small process with Pillow in it is started at the first use, and again whenever it has died; each picture gets a
    fork of it, under limits on memory, time, files and sockets. What such a fork does not survive is `image_corrupt`.

    Args:
        processes: how many pictures at once: those of one request, or the last of them keeps its engine waiting.
    """

    def __init__(self, processes: int = 3) -> None:
        self._slots = asyncio.Semaphore(processes)
        self._changing = asyncio.Lock()
        self._forker: _Forker | None = None
        self._closed = False

    async def inspect(self, data: bytes, validations: Sequence[Validation] = ()) -> Facts:
        """Judge a file: its header by *validations*, then every pixel by decoding it.

        Raises:
            PictureFault: as `images.inspect`, and `image_corrupt` when the pixels are.
            Unavailable: when the process cannot be started, or the decoder is closed.
        """
        rules = [[each.rule, each.value] for each in validations]
        answer, _ = await self._ask({"ask": "inspect", "validations": rules}, data)
        return Facts(*answer["facts"])

    async def decode(self, data: bytes) -> Image.Image:
        """The picture in canonical form, as `images.decode` describes it.

        Raises:
            PictureFault, Unavailable: as `inspect`.
        """
        answer, raw = await self._ask({"ask": "decode"}, data)
        return await asyncio.to_thread(Image.frombytes, "RGB", tuple(answer["size"]), raw)

    async def close(self) -> None:
        """End the process; pictures that are being decoded still get their answer. Twice is safe."""
        self._closed = True
        await self._drop(self._forker)

    async def _ask(self, question: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytearray]:
        async with self._slots:
            for _ in range(2):  # the forker may have died since the last picture
                forker = await self._running()
                try:
                    with forker.fork() as child:
                        return await _converse(child, question, data)
                except _NeverBegan:
                    await self._drop(forker)
        raise Unavailable

    async def _running(self) -> "_Forker":
        async with self._changing:
            if self._closed:
                raise Unavailable
            if self._forker is None:
                self._forker = await asyncio.to_thread(_Forker.start)
            return self._forker

    async def _drop(self, forker: "_Forker | None") -> None:
        async with self._changing:
            if forker is not None and forker is self._forker:
                self._forker = None
                await asyncio.to_thread(forker.end)


class _NeverBegan(Exception):
    """No child was forked: nothing is known about the picture."""


class _Forker:
    """The process that forks a child for each socket that it is sent."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control

    @classmethod
    def start(cls) -> Self:
        ours, theirs = socket.socketpair()
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "gesso.files.decoding"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd="/",
                env=kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # a Ctrl-C in the terminal is for the server, which ends us in its own time
            )
        return cls(process, ours)

    def fork(self) -> socket.socket:
        """Our end of the socket of a new child; the caller closes it."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise _NeverBegan from None
        ours.settimeout(0)
        return ours

    def end(self) -> None:
        """Let it go and reap it; it is killed where it does not answer."""
        self._control.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


async def _converse(child: socket.socket, question: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytearray]:
    try:
        async with asyncio.timeout(START_S):
            await _receive(child, len(BEGUN))
    except (OSError, EOFError):
        raise _NeverBegan from None
    try:
        async with asyncio.timeout(WALL_S + 2):  # its own alarm rings first; this is for a child that has none any more
            await _send(child, question | {"bytes": len(data)}, data)
            return await _answer(child)
    except (OSError, EOFError, ValueError, TypeError, KeyError):
        raise PictureFault("image_corrupt") from None


async def _send(child: socket.socket, question: dict[str, Any], data: bytes) -> None:
    loop, head = asyncio.get_running_loop(), json.dumps(question).encode()
    with suppress(BrokenPipeError, ConnectionResetError):  # to an empty file it may have answered already
        await loop.sock_sendall(child, LENGTH.pack(len(head)) + head)
        await loop.sock_sendall(child, data)


async def _answer(child: socket.socket) -> tuple[dict[str, Any], bytearray]:
    """What the child says: believed only as far as it has the right form, because a picture may have taken it over."""
    (length,) = LENGTH.unpack(await _receive(child, LENGTH.size))
    if length > LONGEST_HEAD:
        raise ValueError(length)
    answer = json.loads(await _receive(child, length))
    match answer:
        case {"fault": str(fault)}:
            raise PictureFault(fault)
        case {"facts": [str(), int(), int(), int()]}:
            return answer, bytearray()
        case {"size": [int(width), int(height)]} if min(width, height) > 0 and width * height <= LARGEST_PIXELS:
            return answer, await _receive(child, width * height * 3)
    raise ValueError(answer)


async def _receive(child: socket.socket, length: int) -> bytearray:
    loop, received = asyncio.get_running_loop(), bytearray(length)
    rest = memoryview(received)
    while rest:
        count = await loop.sock_recv_into(child, rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return received
