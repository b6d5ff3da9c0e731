"""Two or three references in one picture: beside or above each other, inside each other, over each other."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from gesso.core.inputs import Size
from gesso.engines.embedded.frame import cover
from gesso.engines.embedded.pixels import Pixels, Plane, blur, clip, floats, luma, mix, smooth_noise, unit
from gesso.engines.embedded.recolour import transport
from gesso.engines.embedded.subject import Cutout, cut_out

_INSETS = {"small": 0.24, "medium": 0.34, "large": 0.44}  # of the frame's width
_PAPER = 0.96  # the grey of gaps and borders


def strips(images: Sequence[Image.Image], size: Size, rng: np.random.Generator, *, rows: bool, soft: bool) -> Pixels:
    """*images* from left to right, or from top to bottom, in equal parts of *size*.

    Args:
        rows: from top to bottom.
        soft: neighbours run into each other along a slightly wavering seam (Laplacian pyramid blend; Burt and Adelson,
            "A Multiresolution Spline With Application to Image Mosaics", 1983); else a thin pale gap parts them.
    """
    long = size.height if rows else size.width
    cuts = [round(long * n / len(images)) for n in range(len(images) + 1)]
    overlap = round(long * 0.06) if soft else 0
    parts = []
    for image, start, end in zip(images, cuts, cuts[1:], strict=False):
        low, high = max(start - overlap, 0), min(end + overlap, long)
        part = cover(image, Size(size.width, high - low) if rows else Size(high - low, size.height))
        parts.append(_across(part, low, long - high, rows=rows))
    canvas = parts[0]
    for part, cut in zip(parts[1:], cuts[1:], strict=False):
        mask = _beyond(canvas.shape[:2], cut, overlap * 0.25, rng)
        canvas = (
            _pyramid_blend(canvas, part, mask, levels=max(2, int(np.log2(max(overlap, 4)))))
            if soft
            else mix(canvas, part, mask)
        )
    if not soft:
        _gaps(canvas, cuts[1:-1], max(2, round(7 * unit(size))))
    return np.ascontiguousarray(canvas.transpose(1, 0, 2)) if rows else canvas


def picture_in_picture(images: Sequence[Image.Image], size: Size, at: str, scale: str) -> Pixels:
    """The first image fills the frame; the others lie in its corners, with a border and a shadow: one *at* its place,
    the next one beside it.
    """
    canvas, share = cover(images[0], size), _INSETS[scale]
    border, margin = round(9 * unit(size)), round(40 * unit(size))
    is_right = at.endswith("right")
    for image, right in zip(images[1:3], (is_right, not is_right), strict=False):
        aspect = min(max(image.width / image.height, 0.6), 1.7)
        width = round(share * size.width * min(1, aspect))
        inner = Size(width, min(round(width / aspect), round(1.25 * share * size.height)))
        card = np.pad(cover(image, inner), ((border, border), (border, border), (0, 0)), constant_values=_PAPER)
        left = size.width - margin - card.shape[1] if right else margin
        top = margin if at.startswith("top") else size.height - margin - card.shape[0]
        canvas = _laid_on(canvas, floats(card), left, top)
    return canvas


def double_exposure(images: Sequence[Image.Image], size: Size) -> Pixels:
    """All images over each other as on one film: the light of each shows in the darks of the others."""
    canvas = cover(images[0], size)
    for image in images[1:]:
        other = cover(image, size)
        screened = 1 - (1 - canvas * 0.9) * (1 - other * 0.9)
        through = mix(screened, canvas * (0.35 + 0.75 * other), luma(canvas))
        canvas = clip(through * through * (3 - 2 * through) * 0.5 + through * 0.5)
    return canvas


def subject_on(subject: Image.Image, backdrop: Image.Image, size: Size, *, at: str, seed: int) -> tuple[Pixels, bool]:
    """The subject of one reference, cut out and set on the other, a little in its colours.

    Returns:
        The picture, and whether a subject was found; where it was not, the middle of the reference stands for it.
    """
    scene = cover(backdrop, size)
    cutout, found = _cutout(subject, size, seed)
    toned = transport(cutout.pixels, scene, strength=0.22)
    height, width = cutout.matte.shape
    share = {"left": 0.28, "right": 0.72}.get(at, 0.5)
    left = round(min(max(share * size.width - width / 2, 0), size.width - width))
    stands = cutout.touches_bottom
    top = size.height - height if stands else round((size.height - height) * 0.62)
    if not stands:
        scene = (
            scene * (1 - _placed(_shadow(cutout.matte), scene.shape[:2], left, top + round(height * 0.04)))[..., None]
        )
    matte = _placed(cutout.matte, scene.shape[:2], left, top)
    layer = np.zeros_like(scene)
    layer[top : top + height, left : left + width] = toned
    return clip(mix(scene, layer, matte)), found


def _cutout(image: Image.Image, size: Size, seed: int) -> tuple[Cutout, bool]:
    """The subject of *image* without its surroundings, at the scale at which it is set into *size*."""
    scale = min(size.width / image.width, size.height / image.height)
    room = cover(image, Size(max(16, round(image.width * scale)), max(16, round(image.height * scale))))
    return cut_out(room, fill=Size(round(size.width * 0.8), round(size.height * 0.78)), seed=seed)


def _across(part: Pixels, before: int, after: int, *, rows: bool) -> Pixels:
    """*part* lying from left to right, its edges continued by reflection to the length of the canvas."""
    lying = np.ascontiguousarray(part.transpose(1, 0, 2)) if rows else part
    return floats(cv2.copyMakeBorder(lying, 0, 0, before, after, cv2.BORDER_REFLECT_101))


def _beyond(shape: tuple[int, int], cut: int, waver: float, rng: np.random.Generator) -> Plane:
    """1 to the right of *cut*, 0 to the left; the line between wavers by up to *waver* pixels."""
    line = cut + waver * (smooth_noise((shape[0], 8), max(8, shape[0] // 6), rng)[:, :1] * 2 - 1)
    return floats(np.clip(np.arange(shape[1])[None] - line + 0.5, 0, 1))


def _gaps(canvas: Pixels, cuts: Sequence[int], width: int) -> None:
    for cut in cuts:
        canvas[:, cut - width // 2 : cut - width // 2 + width] = _PAPER


def _pyramid_blend(a: Pixels, b: Pixels, mask: Plane, *, levels: int) -> Pixels:
    """*a* where *mask* is 0, *b* where it is 1, each band of detail blended over its own width."""
    bands: list[Pixels] = []
    for _ in range(levels):
        size = (a.shape[1], a.shape[0])
        small_a, small_b = cv2.pyrDown(a), cv2.pyrDown(b)
        bands.append(mix(a - cv2.pyrUp(small_a, dstsize=size), b - cv2.pyrUp(small_b, dstsize=size), mask))
        a, b, mask = floats(small_a), floats(small_b), floats(cv2.pyrDown(mask))
    canvas = mix(a, b, mask)
    for band in reversed(bands):
        canvas = floats(cv2.pyrUp(canvas, dstsize=(band.shape[1], band.shape[0]))) + band
    return clip(canvas)


def _laid_on(canvas: Pixels, card: Pixels, left: int, top: int) -> Pixels:
    shape = card.shape[:2]
    shadow = blur(
        _placed(np.ones(shape, np.float32), canvas.shape[:2], left, top + max(2, shape[0] // 40)), shape[0] / 28
    )
    canvas = canvas * (1 - 0.45 * shadow[..., None])
    canvas[top : top + shape[0], left : left + shape[1]] = card
    return canvas


def _placed(plane: Plane, shape: tuple[int, int], left: int, top: int) -> Plane:
    """*plane* on an empty plane of *shape*; what lies outside is cut off."""
    canvas = np.zeros(shape, np.float32)
    height, width = min(plane.shape[0], shape[0] - top), min(plane.shape[1], shape[1] - left)
    canvas[top : top + height, left : left + width] = plane[:height, :width]
    return canvas


def _shadow(matte: Plane) -> Plane:
    """What *matte* takes of the light beneath it: soft, and stronger towards its foot."""
    fall = np.linspace(0.05, 0.6, matte.shape[0], dtype=np.float32)[:, None]
    return blur(matte, matte.shape[0] / 22) * fall
