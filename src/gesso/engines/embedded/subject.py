"""Which pixels of a picture are its subject: no network, so a guess from colour, contrast and the middle."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gesso.core.inputs import Size
from gesso.engines.embedded.pixels import Pixels, Plane, blur, clip, floats, luma, to_bytes

_SIDE = 192  # grabCut takes about 0.3 s at this size and 20 s at 1024
_PLAIN = 7.0  # border pixels that spread less than this in CIELAB are a plain background


@dataclass(frozen=True, slots=True)
class Cutout:
    """A subject without its surroundings.

    Attributes:
        pixels: (H, W, 3), its colours, continued a little beyond its edge.
        matte: (H, W), 1 inside, 0 outside.
        touches_bottom: whether the frame cuts it off at the bottom.
    """

    pixels: Pixels
    matte: Plane
    touches_bottom: bool


def find_subject(image: Pixels, *, seed: int) -> tuple[Plane, bool]:
    """The matte of the subject of *image*, and whether there is one to be found.

    A plain background is told by its border's colour. Else grabCut decides at 192 px (Rother et al., "GrabCut", 2004),
    begun from what the border cannot be followed into (the minimum barrier; Zhang et al., "Minimum Barrier Salient
    Object Detection at 80 FPS", 2015) and from the middle. A guided filter carries the result to full size (He et al.,
    "Guided Image Filtering", 2010).

    Args:
        seed: of OpenCV's own generator, which belongs to the calling thread; grabCut draws from it.

    Returns:
        (H, W) float32, 1 on the subject; and False where nothing stood out and the middle of the picture stands for it.
    """
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    small = floats(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    lab = floats(cv2.cvtColor(small, cv2.COLOR_RGB2LAB))
    plain = _border(lab).std(axis=0).max() < _PLAIN
    coarse = _unlike_border(lab) if plain else _grabbed(small, lab, seed)
    found = 0.03 < float(coarse.mean()) < 0.85 and _stands_out(lab, coarse)
    if not found:
        return clip(cv2.resize(_middle(coarse.shape) * 3 - 0.6, (width, height), interpolation=cv2.INTER_CUBIC)), False
    return _guided(image, small, coarse), True


def cut_out(image: Pixels, *, fill: Size, seed: int) -> tuple[Cutout, bool]:
    """The subject of *image*, scaled to fit into *fill*, and whether one was found.

    Its edge pixels lose the colour of the old background: they are taken from the inside.
    """
    matte, found = find_subject(image, seed=seed)
    rows, columns = np.where(matte.max(axis=1) > 0.5)[0], np.where(matte.max(axis=0) > 0.5)[0]
    top, bottom = max(int(rows[0]) - 4, 0), min(int(rows[-1]) + 5, image.shape[0])
    left, right = max(int(columns[0]) - 4, 0), min(int(columns[-1]) + 5, image.shape[1])
    scale = min(fill.width / (right - left), fill.height / (bottom - top))
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    clean = without_spill(image, matte)[top:bottom, left:right]
    cut = Cutout(
        clip(cv2.resize(clean, size, interpolation=cv2.INTER_CUBIC)),
        clip(cv2.resize(matte[top:bottom, left:right], size, interpolation=cv2.INTER_LINEAR)),
        touches_bottom=float(matte[-3:].mean()) > 0.12,
    )
    return cut, found


def without_spill(image: Pixels, matte: Plane) -> Pixels:
    """*image* with the colours of its inside, by *matte*, continued over its edge and beyond."""
    sure = floats(np.clip(matte * 4 - 3, 0, 1))
    sigma = max(image.shape[:2]) / 160
    spread = blur(image * sure[..., None], sigma) / (blur(sure, sigma) + 1e-3)[..., None]
    known = np.clip(blur(sure, sigma) * 20, 0, 1)
    return clip(image + (spread - image) * ((1 - sure) * known)[..., None])


def _border(lab: Pixels) -> Pixels:
    """The outermost pixels at the top and the sides; the bottom mostly belongs to the subject."""
    edge = max(2, lab.shape[0] // 40)
    return floats(
        np.concatenate([lab[:edge].reshape(-1, 3), lab[:, :edge].reshape(-1, 3), lab[:, -edge:].reshape(-1, 3)])
    )


def _unlike_border(lab: Pixels) -> Plane:
    """What differs from the colour of the border."""
    away = np.linalg.norm(lab - np.median(_border(lab), axis=0), axis=2)
    return _solid((away > 14).astype(np.uint8))


def _grabbed(small: Pixels, lab: Pixels, seed: int) -> Plane:
    height, width = small.shape[:2]
    prior = (0.25 + _barrier(lab)) * (0.2 + _middle((height, width)))
    mask = np.where(prior > np.quantile(prior, 0.6), cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[prior > np.quantile(prior, 0.88)] = cv2.GC_FGD
    mask[prior < np.quantile(prior, 0.2)] = cv2.GC_BGD
    cv2.setRNGSeed(seed)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(to_bytes(small), mask, (0, 0, width, height), *models, 2, cv2.GC_INIT_WITH_MASK)
    return _solid(((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8))


def _barrier(lab: Pixels) -> Plane:
    """How much the colour must change on the easiest way in from the top and the upper sides, 0..1."""
    size = (64, 64)
    plane = cv2.GaussianBlur(cv2.resize(lab, size, interpolation=cv2.INTER_AREA), (0, 0), 0.8)
    high, low = plane.copy(), plane.copy()
    cost = np.full(size, np.inf, np.float32)
    cost[0], cost[:40, 0], cost[:40, -1] = 0, 0, 0
    for n in range(4 * 80):
        axis, by = n % 2, 1 - (n & 2)
        through_high = np.maximum(np.roll(high, by, axis), plane)
        through_low = np.minimum(np.roll(low, by, axis), plane)
        known = np.isfinite(np.roll(cost, by, axis))
        through = np.where(known, (through_high - through_low).max(axis=2), np.inf)
        better = through < cost
        high[better], low[better], cost[better] = through_high[better], through_low[better], through[better]
    plane = cv2.resize(floats(cost), lab.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return clip(plane / (np.quantile(plane, 0.95) + 1e-3))


def _stands_out(lab: Pixels, mask: Plane) -> bool:
    """Whether colours differ across the edge of *mask*, as they do along a real one."""
    solid = mask.astype(np.uint8)
    near, far = np.ones((3, 3), np.uint8), np.ones((9, 9), np.uint8)
    inner, outer = cv2.erode(solid, near) - cv2.erode(solid, far), cv2.dilate(solid, far) - cv2.dilate(solid, near)
    means = [cv2.blur(lab * ring[..., None], (11, 11)) / (cv2.blur(floats(ring), (11, 11)) + 1e-4)[..., None]
             for ring in (inner, outer)]  # fmt: skip
    edge = (cv2.dilate(solid, near) - solid).astype(bool)
    return bool(edge.any()) and float(np.mean(np.linalg.norm(means[0] - means[1], axis=2)[edge] > 12)) > 0.6


def _solid(mask: NDArray[np.uint8]) -> Plane:
    """The largest connected piece of *mask*, its holes filled, with what is at least a third as large."""
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)), np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    areas = stats[1:, cv2.CC_STAT_AREA]
    keep = 1 + np.flatnonzero(areas >= 0.35 * areas.max()) if areas.size else np.array([], int)
    solid = np.isin(labels, keep).astype(np.uint8)
    contours, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(solid, contours, -1, 1, cv2.FILLED)
    return floats(solid)


def _middle(shape: tuple[int, ...]) -> Plane:
    """A soft hill, a little below the middle, 0..1."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    distance = ((x / shape[1] - 0.5) / 0.36) ** 2 + ((y / shape[0] - 0.54) / 0.42) ** 2
    return floats(np.clip(1.6 * np.exp(-distance * 0.75) - 0.25, 0, 1))


def _guided(image: Pixels, small: Pixels, mask: Plane) -> Plane:
    """*mask* at the size of *image*, its edge drawn to the edges of *image*."""
    guide, radius, epsilon = luma(small), (9, 9), 1e-3
    mean_g, mean_m = cv2.blur(guide, radius), cv2.blur(mask, radius)
    slope = (cv2.blur(guide * mask, radius) - mean_g * mean_m) / (cv2.blur(guide * guide, radius) - mean_g**2 + epsilon)
    size = (image.shape[1], image.shape[0])
    a, b = cv2.blur(slope, radius), cv2.blur(mean_m - slope * mean_g, radius)
    full = cv2.resize(a, size) * luma(image) + cv2.resize(b, size)
    return clip((full - 0.12) / 0.76)
