"""Quoted text drawn into the picture, with a font of this machine that has all its letters; never boxes."""

import textwrap
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gesso.core.inputs import Size
from gesso.engines.embedded.colours import COLOURS, rgb
from gesso.engines.embedded.pixels import Pixels, blur, clip, floats, luma, mix

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Common file names, looked for in the system's own font folders; the first one that has all the letters is taken.
FONTS = (
    "DejaVuSans-Bold.ttf", "NotoSans-Bold.ttf", "LiberationSans-Bold.ttf", "Arial Bold.ttf", "arialbd.ttf",
    "NotoSansCJK-Bold.ttc", "NotoSansCJK-Regular.ttc", "NotoSansCJKjp-Bold.otf", "NotoSansJP-Bold.otf",
    "NotoSansSC-Bold.otf", "ipaexg.ttf", "ipag.ttf", "TakaoPGothic.ttf", "wqy-zenhei.ttc", "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc", "YuGothB.ttc", "msyhbd.ttc", "simhei.ttf",
)  # fmt: skip
_SIZES = {"small": 0.05, "medium": 0.085, "large": 0.14}  # of the shorter side
_NOWHERE = "\U0010fffe"  # a noncharacter: whatever a font draws for it, it draws for all that it lacks


def draw_text(image: Pixels, text: str, font: Font, *, at: str, colour: str) -> Pixels:
    """*text* on *image*, in a band at *at*, with a soft shadow of the opposite brightness around it.

    Args:
        font: as `fitting_font` gives it.
        at: "top", "centre" or "bottom", with " left" or " right" after it or not.
        colour: a colour's name, or "auto": white on a dark band, near-black on a light one.
    """
    lines, (left, top, right, bottom) = _set(text, font, at, Size(image.shape[1], image.shape[0]))
    mask = Image.new("L", (image.shape[1], image.shape[0]))
    ImageDraw.Draw(mask).multiline_text((left, top), lines, 255, font, spacing=_gap(font), align=_align(at))
    letters, pad = floats(mask) / 255, _gap(font) * 3
    rows, columns = slice(max(top - pad, 0), bottom + pad), slice(max(left - pad, 0), right + pad)
    band, shape = image[rows, columns], letters[rows, columns]
    tone = (
        rgb(colour)
        if colour in COLOURS
        else rgb("white" if float(luma(np.ascontiguousarray(band)).mean()) < 0.62 else "black")
    )
    behind = 0.0 if float(tone.mean()) > 0.45 else 1.0
    edge = cv2.dilate(shape, np.ones((3, 3), np.uint8), iterations=max(1, _gap(font) // 8))
    shadow = clip(blur(edge, _gap(font) * 0.45) * 0.75)
    canvas = image.copy()
    canvas[rows, columns] = mix(mix(band, behind, shadow * _fading(shape.shape, pad)), tone, shape)
    return clip(canvas)


def fitting_font(text: str, size: Size, *, scale: str, fonts: Sequence[str]) -> Font | None:
    """The first font that has every letter of *text*, at a size at which it fits *size*; None where there is none.

    Args:
        scale: "small", "medium" or "large".
        fonts: files to try before the system's own.
    """
    wanted = round(_SIZES[scale] * min(size.width, size.height))
    for font in _fonts(fonts, max(10, wanted)):
        if has_letters(font, text):
            return _shrunk(font, text, size)
    return None


def has_letters(font: Font, text: str) -> bool:
    """Whether *font* draws every letter of *text* otherwise than as a missing one."""
    missing = bytes(font.getmask(_NOWHERE))
    letters = {letter for letter in text if not letter.isspace()}
    return all((drawn := bytes(font.getmask(letter))) and drawn != missing for letter in letters)


def _fonts(own: Sequence[str], size: int) -> Iterator[Font]:
    for name in (*own, *FONTS):
        try:
            yield ImageFont.truetype(name, size)
        except OSError:  # not on this machine; the next may be
            continue
    yield ImageFont.load_default(size)


def _shrunk(font: Font, text: str, size: Size) -> Font:
    """*font*, smaller by steps until *text*, in lines, fits into nine tenths of the width and half of the height."""
    while isinstance(font, ImageFont.FreeTypeFont) and font.size > 10:
        _, (left, top, right, bottom) = _set(text, font, "centre", size)
        if right - left <= 0.9 * size.width and bottom - top <= 0.5 * size.height:
            break
        font = font.font_variant(size=font.size * 0.9)
    return font


def _set(text: str, font: Font, at: str, size: Size) -> tuple[str, tuple[int, int, int, int]]:
    """The lines of *text*, and the box that they fill when drawn at its corner."""
    wide = max(float(font.getlength(text)) / max(len(text), 1), 1)
    lines = "\n".join(textwrap.wrap(text, max(1, int(0.86 * size.width / wide)))) or text
    draw = ImageDraw.Draw(Image.new("L", (1, 1)))
    box = draw.multiline_textbbox((0, 0), lines, font, spacing=_gap(font), align=_align(at))
    width, height, margin = box[2], box[3], round(0.05 * min(size.width, size.height))
    vertical, _, side = at.partition(" ")
    left = {"left": margin, "right": size.width - width - margin}.get(side, (size.width - width) // 2)
    top = {"top": margin, "bottom": size.height - height - margin}.get(vertical, (size.height - height) // 2)
    return lines, (round(left), round(top), round(left + width), round(top + height))


def _gap(font: Font) -> int:
    return max(2, round(getattr(font, "size", 12) * 0.22))


def _align(at: str) -> str:
    return at.partition(" ")[2] or "center"


def _fading(shape: tuple[int, ...], pad: int) -> Pixels:
    """1 inside, 0 at the edge of a shadow's box, so that the box is not seen."""
    y = np.minimum(np.arange(shape[0]) + 1, np.arange(shape[0], 0, -1))[:, None]
    x = np.minimum(np.arange(shape[1]) + 1, np.arange(shape[1], 0, -1))[None]
    return floats(np.clip(np.minimum(y, x) / max(pad, 1), 0, 1))
