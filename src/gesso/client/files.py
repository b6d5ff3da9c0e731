"""Files on their way to a server: their types, and pictures as text. It sends nothing."""

import base64
import io
import mimetypes
from pathlib import Path
from typing import Any


def content_type(path: str | Path) -> str:
    """The type of a file, by its name."""
    return mimetypes.guess_type(str(path), strict=False)[0] or "application/octet-stream"


def encode(data: bytes, type: str) -> str:
    """*data* as a data URI.

    >>> encode(b"hi", "image/png")
    'data:image/png;base64,aGk='
    """
    return f"data:{type};base64,{base64.b64encode(data).decode()}"


def encode_file(path: str | Path) -> str:
    """A file as a data URI, good in any image field; for small pictures that need no upload."""
    return encode(Path(path).read_bytes(), content_type(path))


def encode_image(image: Any, format: str = "png") -> str:
    """A Pillow image as a data URI."""
    return encode(image_bytes(image, format), f"image/{format}")


def image_bytes(image: Any, format: str) -> bytes:
    """The file of a Pillow image; whatever has such a `save` will do, so the client needs no Pillow."""
    file = io.BytesIO()
    image.save(file, format=format.upper())
    return file.getvalue()
