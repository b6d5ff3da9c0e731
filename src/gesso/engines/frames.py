"""The messages between a host and its engine's process: a JSON header, then pictures as raw RGB bytes. No pickle."""

import asyncio
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
from PIL import Image

from gesso.core.inputs import Inputs, Size

_LENGTH = struct.Struct("!I")
CHANNELS = 3


def pack(header: Mapping[str, Any], images: Sequence[Image.Image] = ()) -> list[bytes]:
    """The message as buffers to be sent in a row; *images* are RGB."""
    sizes = [image.size for image in images]
    text = msgspec.json.encode({**header, "sizes": sizes})
    return [_LENGTH.pack(len(text)), text, *(image.tobytes() for image in images)]


def unpack_images(sizes: Sequence[Sequence[int]], buffers: Sequence[bytes | bytearray]) -> tuple[Image.Image, ...]:
    """The pictures of a message."""
    pairs = zip(sizes, buffers, strict=True)
    return tuple(Image.frombytes("RGB", (width, height), buffer) for (width, height), buffer in pairs)


async def read(reader: asyncio.StreamReader) -> tuple[dict[str, Any], list[bytes]]:
    """The next message: its header, and the bytes of its pictures.

    Raises:
        asyncio.IncompleteReadError: when the other side is gone.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    header = msgspec.json.decode(await reader.readexactly(length))
    return header, [await reader.readexactly(width * height * CHANNELS) for width, height in header["sizes"]]


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[bytearray]]:
    """The same, in a process without an event loop.

    Raises:
        EOFError: when the other side is gone.
    """
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    header = msgspec.json.decode(_exactly(channel, length))
    return header, [_exactly(channel, width * height * CHANNELS) for width, height in header["sizes"]]


def send(channel: socket.socket, header: Mapping[str, Any], images: Sequence[Image.Image] = ()) -> None:
    """Send a message in one go."""
    for buffer in pack(header, images):
        channel.sendall(buffer)


def inputs_to_json(inputs: Inputs) -> dict[str, Any]:
    """All but the pictures, which travel behind the header."""
    values = {name: getattr(inputs, name) for name in inputs.__slots__ if name != "images"}
    return {**values, "size": asdict(inputs.size), "extra": dict(inputs.extra)}


def inputs_from_json(values: Mapping[str, Any], images: tuple[Image.Image, ...]) -> Inputs:
    """The inputs on the other side."""
    return Inputs(images=images, **{**values, "size": Size(**values["size"])})


def _exactly(channel: socket.socket, length: int) -> bytearray:
    buffer = bytearray(length)
    view, filled = memoryview(buffer), 0
    while filled < length:
        count = channel.recv_into(view[filled:])
        if not count:
            raise EOFError
        filled += count
    return buffer
