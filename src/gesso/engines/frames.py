"""The messages between a host and its engine's process: a JSON header, then pictures as raw RGB bytes. No pickle."""

import asyncio
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
from PIL import Image

from gesso.core.inputs import Inputs, Size

_LENGTH = struct.Struct("!I")
CHANNELS = 3
STRIP_BYTES = 256 * 1024
Header = dict[str, Any]
Images = tuple[Image.Image, ...]


def pack(header: Mapping[str, Any], images: Sequence[Image.Image] = ()) -> Iterator[bytes]:
    """The message as buffers to be sent in a row; *images* are RGB.

    Pictures come in strips, which reuse the same memory: touching fresh memory takes longer than copying.
    """
    text = msgspec.json.encode({**header, "sizes": [image.size for image in images]})
    yield _LENGTH.pack(len(text)) + text
    for image in images:
        for top, bottom in _strips(*image.size):
            yield image.crop((0, top, image.width, bottom)).tobytes()


async def read(reader: asyncio.StreamReader) -> Header:
    """The header of the next message; its pictures must be read before another.

    Raises:
        asyncio.IncompleteReadError: when the other side is gone.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    header: Header = msgspec.json.decode(await reader.readexactly(length))
    return header


async def read_images(reader: asyncio.StreamReader, header: Header) -> Images:
    """The pictures behind *header*; raises as `read`."""
    return tuple([await _read_image(reader, *size) for size in header["sizes"]])


async def _read_image(reader: asyncio.StreamReader, width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height))
    for top, bottom in _strips(width, height):
        strip = await reader.readexactly(width * (bottom - top) * CHANNELS)
        image.paste(Image.frombytes("RGB", (width, bottom - top), strip), (0, top))
    return image


def receive(channel: socket.socket) -> tuple[Header, Images]:
    """The next message, header and pictures, in a process without an event loop.

    Raises:
        EOFError: when the other side is gone.
    """
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    header = msgspec.json.decode(_exactly(channel, length))
    return header, tuple(_receive_image(channel, *size) for size in header["sizes"])


def _receive_image(channel: socket.socket, width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height))
    for top, bottom in _strips(width, height):
        strip = _exactly(channel, width * (bottom - top) * CHANNELS)
        image.paste(Image.frombytes("RGB", (width, bottom - top), strip), (0, top))
    return image


def send(channel: socket.socket, header: Mapping[str, Any], images: Sequence[Image.Image] = ()) -> None:
    """Send a message in one go."""
    for buffer in pack(header, images):
        channel.sendall(buffer)


def _strips(width: int, height: int) -> Iterator[tuple[int, int]]:
    """First row and last row, exclusive, of each part of a picture."""
    rows = max(1, STRIP_BYTES // (width * CHANNELS))
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def inputs_to_json(inputs: Inputs) -> dict[str, Any]:
    """All but the pictures, which travel behind the header."""
    values = {name: getattr(inputs, name) for name in inputs.__slots__ if name != "images"}
    return {**values, "size": asdict(inputs.size), "extra": dict(inputs.extra)}


def inputs_from_json(values: Mapping[str, Any], images: Images) -> Inputs:
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
