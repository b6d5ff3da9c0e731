"""Which pixels of a picture are its subject: no network, so a guess from colour, contrast and the middle."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gesso.core.inputs import Size
from gesso.engines.embedded.pixels import Pixels, Plane, blur, clip, floats, luma, to_bytes

_SIDE = 192  # grabCut takes about 0.3 s at this size and 20 s at 1024
_PLAIN = 6.0  # border pixels that lie closer than this, in CIELAB, to a smooth surface through them are a background
_PLAIN_SHARE = 0.7  # of the border; the rest belongs to things that stick out of the frame


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

    A plain background, also an unevenly lit one, is told by the colours of its border. Else grabCut decides at 192 px
    (Rother et al., "GrabCut", 2004), begun from what the border cannot be followed into (the minimum barrier; Zhang et
    al., "Minimum Barrier Salient Object Detection at 80 FPS", 2015) and from the middle. A guided filter carries the
    result to full size (He et al., "Guided Image Filtering", 2010).

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
    behind = _continued(lab)
    coarse = _grabbed(small, lab, seed) if behind is None else _unlike(lab, behind)
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


def _border(plane: Pixels) -> Pixels:
    """The outermost pixels at the top and the sides, (n, channels); the bottom mostly belongs to the subject."""
    edge = max(2, plane.shape[0] // 40)
    sides = (plane[:edge], plane[:, :edge], plane[:, -edge:])
    return floats(np.concatenate([each.reshape(-1, plane.shape[2]) for each in sides]))


def _continued(lab: Pixels) -> Pixels | None:
    """The background as its border continues it over the whole picture; None where the border is no smooth surface.

    A quadratic surface for each channel, fitted again and again to what lies near it (iterated trimming, as in
    Rousseeuw's "Least Median of Squares Regression", 1984): a sky grows darker upwards, a studio wall to its sides.
    """
    height, width = lab.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = x / width - 0.5, y / height - 0.5
    terms = np.dstack([np.ones_like(u), u, v, u * u, v * v, u * v])
    known, colours = _border(floats(terms)), _border(lab)
    near = np.ones(len(known), bool)
    for _ in range(6):
        surface = np.linalg.lstsq(known[near], colours[near], rcond=None)[0]
        off = np.linalg.norm(colours - known @ surface, axis=1)
        near = off <= max(_PLAIN, float(np.quantile(off, _PLAIN_SHARE)))
    return floats(terms @ surface) if float((off < _PLAIN).mean()) >= _PLAIN_SHARE else None


def _unlike(lab: Pixels, behind: Pixels) -> Plane:
    """What differs in colour from what is behind."""
    return _solid((np.linalg.norm(lab - behind, axis=2) > 14).astype(np.uint8))


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
    return bool(edge.any()) and float(np.mean(np.linalg.norm(means[0] - means[1], axis=2)[edge] > 12)) > 0.72


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
