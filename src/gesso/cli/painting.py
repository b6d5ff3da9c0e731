"""A picture as text that a terminal shows: in its graphics protocol, or as half blocks. It writes nothing.

Our own: the libraries for this ask the terminal what it is and read the answer off the keyboard's line, draw on
standard output alone, or want an older Pillow.
"""

import base64
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from gesso.cli.area import Area

FORMATS = ("PNG", "JPEG", "WEBP")
COLOURS = 128
SIXEL_BAND = 6
KITTY_CHUNK = 4096
SIXEL_DIGITS = bytes((63 + bits) & 0xFF for bits in range(256))
REPEATED = re.compile(rb"(.)\1{3,}", re.DOTALL)

Paint = Callable[[Image.Image, Area], str]
"""The text that fills an area of cells, whose upper left corner is at the cursor; where that ends up is not said."""


@dataclass(frozen=True, slots=True)
class Painter:
    """How one kind of terminal is given pictures.

    Attributes:
        forget: what makes it give up one whose cells are cleared; with the area's number.
    """

    paint: Paint
    forget: str = ""

    def read(self, file: bytes) -> Image.Image | None:
        """The picture of a file; None for one that cannot be shown: a preview is not worth an error."""
        try:
            return Image.open(io.BytesIO(file), formats=FORMATS).convert("RGB")
        except Exception:  # noqa: BLE001 - Pillow raises OSError, SyntaxError, struct.error, MemoryError, ...
            return None

    def erase(self, area: Area) -> str:
        """The text that takes away the picture in *area*, as far as clearing its cells does not."""
        return self.forget.format(number=area.number)


def kitty(picture: Image.Image, area: Area) -> str:
    """By https://sw.kovidgoyal.net/kitty/graphics-protocol/: the cursor stays where it was."""
    told = f"a=T,f=100,i={area.number},c={area.columns},r={area.rows},C=1,q=2,"
    data = _png(picture, area)
    chunks = [data[at : at + KITTY_CHUNK] for at in range(0, len(data), KITTY_CHUNK)]
    last = len(chunks) - 1
    return "".join(
        f"\x1b_G{told if at == 0 else ''}m={int(at < last)};{chunk}\x1b\\" for at, chunk in enumerate(chunks)
    )


def iterm(picture: Image.Image, area: Area) -> str:
    """By https://iterm2.com/documentation-images.html."""
    told = f"inline=1;width={area.columns};height={area.rows};preserveAspectRatio=0"
    return f"\x1b]1337;File={told}:{_png(picture, area)}\a"


def sixel(picture: Image.Image, area: Area) -> str:
    """By https://vt100.net/docs/vt3xx-gp/chapter14.html; whole bands of six rows, so that nothing hangs over."""
    width, height = area.width_px, max(1, area.height_px // SIXEL_BAND) * SIXEL_BAND
    indexed = picture.resize((width, height)).quantize(COLOURS)
    palette = indexed.getpalette() or []
    inks = [f"#{at // 3};2;" + ";".join(str(part * 100 // 255) for part in palette[at : at + 3])
            for at in range(0, len(palette), 3)]  # fmt: skip
    bands = [_band(band) for band in _bands(indexed.tobytes(), width)]
    return f'\x1bP0;1q"1;1;{width};{height}' + "".join(inks) + "-".join(bands) + "\x1b\\"


def blocks(picture: Image.Image, area: Area) -> str:
    """Half blocks in 24-bit colours: two pixels a cell."""
    pixels = picture.resize((area.columns, 2 * area.rows)).tobytes()
    stride = 3 * area.columns
    rows = [pixels[at : at + stride] for at in range(0, len(pixels), stride)]
    return f"\x1b[{area.columns}D\x1b[B".join(
        "".join(
            f"\x1b[38;2;{';'.join(map(str, upper[at : at + 3]))};48;2;{';'.join(map(str, lower[at : at + 3]))}m▀"
            for at in range(0, stride, 3)
        )
        + "\x1b[0m"
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )


PAINTERS = {
    "kitty": Painter(kitty, "\x1b_Ga=d,d=I,i={number},q=2\x1b\\"),
    "iterm": Painter(iterm),
    "sixel": Painter(sixel),
    "blocks": Painter(blocks),
}


def _png(picture: Image.Image, area: Area) -> str:
    """Its PNG in base64, no larger than it will be shown: it may travel over a slow line."""
    small = picture.copy()
    small.thumbnail((area.width_px, area.height_px))
    file = io.BytesIO()
    small.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _bands(pixels: bytes, width: int) -> Iterator[list[bytes]]:
    """Six rows at a time."""
    rows = [pixels[at : at + width] for at in range(0, len(pixels), width)]
    return (rows[at : at + SIXEL_BAND] for at in range(0, len(rows), SIXEL_BAND))


def _band(rows: list[bytes]) -> str:
    """Every ink's sixels in this band, one after another over the same place."""
    return "$".join(f"#{ink}" + _sixels(rows, ink) for ink in sorted(set().union(*rows)))


def _sixels(rows: list[bytes], ink: int) -> str:
    """A digit for each column, whose bits tell in which of the rows it has this ink; repeated ones are counted."""
    columns = 0
    for number, row in enumerate(rows):
        has_ink = bytes(ink) + bytes([1 << number]) + bytes(255 - ink)
        columns |= int.from_bytes(row.translate(has_ink))
    digits = columns.to_bytes(len(rows[0])).translate(SIXEL_DIGITS)
    return REPEATED.sub(lambda run: b"!%d%c" % (len(run[0]), run[0][0]), digits).decode()
