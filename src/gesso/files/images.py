"""What a picture's bytes are, and the one form in which the house holds pixels: upright RGB that carries nothing else.

Bytes from outside are opened in the decoding child alone (`decoder.py`); it calls these functions.
"""

import io
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import ExifTags, Image, ImageChops

from gesso.core.pictures import Facts, PictureFault, Validation, judge

LARGEST_SIDE = 12_000
LARGEST_PIXELS = 40_000_000
MAX_SCANS, MAX_SEGMENTS = 100, 1000

_MAGIC = {  # format -> how its files begin
    "jpeg": re.compile(rb"\xff\xd8\xff"),
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "bmp": re.compile(rb"BM"),
}
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # not a stuffed zero, not a restart, not a fill byte
_WEBP_CANVAS = re.compile(
    rb"RIFF.{4}WEBP(?:VP8X.{8}(?P<extended>.{6})|VP8L.{4}/(?P<lossless>.{4})|VP8 .{7}\x9d\x01\x2a(?P<lossy>.{4}))",
    re.DOTALL,
)
_TURNS = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LIES_DOWN = frozenset({5, 6, 7, 8})
_FLAT = 0.5  # from this share of samples that repeat the one above, a picture is a drawing rather than a photo


def inspect(data: bytes, validations: Sequence[Validation] = ()) -> Facts:
    """Judge a file by its header; no pixel is decoded, so a sound header may stand before broken pixels.

    Raises:
        PictureFault: the first of: too many bytes for *validations*, `unsupported_image`, `image_too_complex` (scans
            and segments of a JPEG), `image_corrupt`, another rule of *validations*, `image_too_complex` (beyond 40
            megapixels or 12 000 pixels a side), `image_animated`.
    """
    return _header(data, validations)[1]


def decode(data: bytes) -> Image.Image:
    """The picture in canonical form, made anew from its pixels.

    Orientation is applied, transparency laid on white, 16 bits a channel scaled to 8, CMYK turned to RGB. Of a phone's
    file with two pictures it is the first.

    Raises:
        PictureFault: as `inspect`, and `image_corrupt` when the pixels are.
    """
    image = to_rgb(data)
    return Image.frombytes("RGB", image.size, image.tobytes())


def to_rgb(data: bytes) -> Image.Image:
    """The picture that `decode` copies its pixels from; it may still carry metadata."""
    image, _ = _header(data, ())
    try:
        turn = _TURNS.get(_orientation(image))
        image.load()
        return _flat_rgb(image if turn is None else image.transpose(turn))
    except Exception:  # noqa: BLE001 — Pillow raises OSError, SyntaxError, ValueError, struct.error, MemoryError, ...
        raise PictureFault("image_corrupt") from None


def encode_png(image: Image.Image, text: Mapping[str, str] | None = None) -> bytes:
    """*image* as an RGB PNG, lossless, with *text* as its only metadata.

    Rows are stored as differences to the row above. Photos are then only run-length and Huffman coded: 10 times faster
    than Pillow's default, up to 8 % larger (more where a picture is very smooth). Drawings get zlib's usual search,
    which is cheap there.

    Args:
        text: keyword (1 to 79 characters of Latin-1) -> value.
    """
    rgb = image.convert("RGB")
    above = Image.new("RGB", rgb.size)
    above.paste(rgb, (0, 1))
    differences = ImageChops.subtract_modulo(rgb, above).tobytes()
    stride = 3 * rgb.width
    rows = b"".join([b"\x02" + differences[at : at + stride] for at in range(0, len(differences), stride)])
    flat = differences.count(0) > _FLAT * len(differences)
    coder = zlib.compressobj(6 if flat else 1, memLevel=9, strategy=zlib.Z_DEFAULT_STRATEGY if flat else zlib.Z_RLE)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", *rgb.size, 8, 2, 0, 0, 0)),
        *((b"iTXt", key.encode("latin-1") + bytes(5) + value.encode()) for key, value in (text or {}).items()),
        (b"IDAT", coder.compress(rows) + coder.flush()),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _header(data: bytes, validations: Sequence[Validation]) -> tuple[Image.Image, Facts]:
    judge(Facts("", 1, 1, len(data)), [each for each in validations if each.rule.startswith("file_size_mb")])
    kind = _sniff(data)
    if kind == "jpeg" and _is_too_complex(data):
        raise PictureFault("image_too_complex")
    if kind == "webp" and (canvas := _webp_canvas(data)):
        # Pillow makes a canvas of that size to read a header; the others' headers cost nothing.
        _bound(Facts(kind, *canvas, len(data)), validations)
    image = _open(data, kind)
    facts = Facts(kind, *_upright(image), len(data))
    judge(facts, validations)
    _bound(facts)
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise PictureFault("image_animated")
    return image, facts


def _sniff(data: bytes) -> str:
    for kind, magic in _MAGIC.items():
        if magic.match(data):
            return kind
    raise PictureFault("unsupported_image")


def _is_too_complex(jpeg: bytes) -> bool:
    """Whether it has more scans or segments than an honest file; Pillow limits neither, and each costs time.

    Walks to the end-of-image marker as libjpeg does. Counting FF DA over the file would refuse a phone's picture with a
    film behind it.
    """
    scans, segments, at = 0, 0, 2
    while (marker := _NEXT_MARKER.search(jpeg, at)) is not None:
        kind, at = jpeg[marker.start() + 1], marker.end()
        if kind == 0xD9:
            return False
        scans, segments = scans + (kind == 0xDA), segments + 1
        if scans > MAX_SCANS or segments > MAX_SEGMENTS:
            return True
        if kind not in (0x01, 0xD8):  # these two have no length
            at += max(2, int.from_bytes(jpeg[at : at + 2], "big"))
    return False


def _webp_canvas(webp: bytes) -> tuple[int, int] | None:
    """Its width and height, by https://developers.google.com/speed/webp/docs/riff_container; None where unreadable."""
    match = _WEBP_CANVAS.match(webp)
    if match is None:
        return None
    bits = int.from_bytes(match[match.lastgroup or 0], "little")
    if match.lastgroup == "extended":
        return (bits & 0xFFFFFF) + 1, (bits >> 24) + 1
    if match.lastgroup == "lossless":
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return bits & 0x3FFF, bits >> 16 & 0x3FFF


def _bound(facts: Facts, validations: Sequence[Validation] = ()) -> None:
    """Refuse what is too large to be decoded at all: by the rule that it breaks, where there is one."""
    if max(facts.width, facts.height) > LARGEST_SIDE or facts.width * facts.height > LARGEST_PIXELS:
        judge(facts, validations)
        raise PictureFault("image_too_complex")


def _open(data: bytes, kind: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=(kind.upper(),))
    except Image.DecompressionBombError:  # where Pillow's own limit is on: outside of the decoding child
        raise PictureFault("image_too_complex") from None
    except Exception:  # noqa: BLE001 — as above
        raise PictureFault("image_corrupt") from None


def _orientation(image: Image.Image) -> Any:
    """As the header has it; 1 where it is unreadable."""
    try:
        # Not the PNG plugin's own getexif: that one decodes the pixels in search of a late chunk.
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 — as above
        return 1


def _upright(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) in _LIES_DOWN else (width, height)


def _flat_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # the high byte of each sample: Pillow's own conversion clips
        image = Image.frombytes("L", image.size, image.tobytes()[0 if image.mode.endswith("B") else 1 :: 2])
    elif image.mode == "I":
        image = image.point(lambda sample: sample / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white
