"""A reference brought to an exact size: the part of it that fills the frame, or the whole of it in a frame."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from PIL import Image

from gesso.core.inputs import Size
from gesso.engines.embedded.pixels import Pixels, Plane, blur, floats, from_image, unit

Box = tuple[float, float, float, float]
_HEED = 0.6  # how far a crop moves from the middle of the picture towards the middle of its detail


def cover(image: Image.Image, size: Size, *, zoom: float = 1.0) -> Pixels:
    """The part of *image* that fills *size* without distortion, placed where most of the detail is.

    Args:
        image: RGB, any size; a large one is reduced by whole factors first, which is fast and looks the same.
        zoom: above 1, only that fraction of it around the middle.
    """
    return _resized(image, size, _window(image, size, zoom))


def cover_alike(plane: Plane, image: Image.Image, size: Size, *, zoom: float = 1.0) -> Plane:
    """The part of *plane* that lies where `cover` finds its part of *image*; *plane* shows the same at any scale."""
    across, down = plane.shape[1] / image.width, plane.shape[0] / image.height
    left, top, right, bottom = _window(image, size, zoom)
    box = (left * across, top * down, min(right * across, plane.shape[1]), min(bottom * down, plane.shape[0]))
    layer = Image.fromarray(floats(plane))
    return floats(layer.resize((size.width, size.height), Image.Resampling.BILINEAR, box=box))


def contain(image: Image.Image, size: Size) -> Pixels:
    """The whole of *image* within *size*; what is left of the frame shows the picture itself, blurred and dimmed."""
    scale = min(size.width / image.width, size.height / image.height)
    inner = Size(max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = blur(cover(image, size), 60 * unit(size)) * 0.62
    left, top = (size.width - inner.width) // 2, (size.height - inner.height) // 2
    canvas[top : top + inner.height, left : left + inner.width] = _resized(image, inner, (0, 0, *image.size))
    return floats(np.clip(canvas, 0, 1))


def turned(image: Pixels, turns: int) -> Pixels:
    """*image* turned clockwise by *turns* quarters; an odd number swaps its sides."""
    return np.ascontiguousarray(np.rot90(image, -turns))


def mirror(image: Pixels) -> Pixels:
    """Left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def flip(image: Pixels) -> Pixels:
    """Top and bottom exchanged."""
    return np.ascontiguousarray(image[::-1])


GEOMETRY: dict[str, Callable[[Pixels], Pixels]] = {
    "mirror": mirror,
    "flip": flip,
    "rotate_90": partial(turned, turns=1),
    "rotate_180": partial(turned, turns=2),
    "rotate_270": partial(turned, turns=3),
}
QUARTER_TURNS = frozenset({"rotate_90", "rotate_270"})


def _window(image: Image.Image, size: Size, zoom: float) -> Box:
    scale = min(image.width / size.width, image.height / size.height) / max(zoom, 1.0)
    width, height = size.width * scale, size.height * scale
    x, y = (0.5, 0.5) if zoom > 1 else _middle_of_detail(image)
    # Rounding may carry a side past the picture by 1e-13, which Pillow refuses: so the bounds come last.
    left = max(min(x * image.width - width / 2, image.width - width), 0)
    top = max(min(y * image.height - height / 2, image.height - height), 0)
    return left, top, min(left + width, image.width), min(top + height, image.height)


def _resized(image: Image.Image, size: Size, box: Box) -> Pixels:
    flat = image.convert("RGB")
    return from_image(flat.resize((size.width, size.height), Image.Resampling.LANCZOS, box=box, reducing_gap=2.0))


def _middle_of_detail(image: Image.Image) -> tuple[float, float]:
    """Where the edges of *image* balance, 0..1 in both directions, drawn halfway back to its middle."""
    small = np.asarray(
        image.convert("RGB").resize((64, 64), Image.Resampling.BOX, reducing_gap=2.0).convert("L"), np.float32
    )
    energy = cv2.GaussianBlur(np.abs(cv2.Laplacian(small, cv2.CV_32F)), (0, 0), 3)
    energy = np.maximum(energy - np.median(energy), 0) + 1e-3
    at = (np.arange(64) + 0.5) / 64
    x, y = float(energy.sum(0) @ at / energy.sum()), float(energy.sum(1) @ at / energy.sum())
    return 0.5 + _HEED * (x - 0.5), 0.5 + _HEED * (y - 0.5)
