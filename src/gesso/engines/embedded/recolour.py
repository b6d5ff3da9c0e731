"""Colours changed by name, or taken from another picture."""

import cv2
import numpy as np
from numpy.typing import NDArray

from gesso.engines.embedded.colours import rgb
from gesso.engines.embedded.pixels import Pixels, Plane, blur, clip, floats, grey, luma, mix, unit_of

Matrix = NDArray[np.float64]

_COLOURLESS = ("white", "grey", "black")
_LITTLE_COLOUR, _COLOURFUL = 20.0, 42.0  # chroma in CIELAB: fur and wood have 10 to 35, a painted cup 55
_LEAST_SHARE = 0.25  # of a subject: with less of it in one hue, that hue is not its colour


def transport(image: Pixels, style: Pixels, *, strength: float = 1.0) -> Pixels:
    """*image* with the colours of *style*: the same mean and covariance, by the linear map that moves them least.

    Args:
        image: (H, W, 3) float32, sRGB, 0..1.
        style: (h, w, 3) float32, same range; its size does not matter.
        strength: 0 leaves *image* as it is, 1 matches fully.

    Returns:
        (H, W, 3) float32, clipped to 0..1.

    Source: Pitié and Kokaram, "The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer",
    2007.
    """
    mean, spread = _moments(image)
    goal, wanted = _moments(style)
    root, inverse = _power(spread, 0.5), _power(spread, -0.5)
    map_ = inverse @ _power(root @ wanted @ root, 0.5) @ inverse
    moved = floats(cv2.transform(image, np.hstack([map_, (goal - map_ @ mean)[:, None]]).astype(np.float32)))
    return clip(mix(image, moved, strength))


def recolour(image: Pixels, matte: Plane, source: str, target: str) -> Pixels:
    """*image* with what is coloured *source* in the colour *target*; light and shade stay.

    Where the subject has that colour, it is meant: of a red cup on red wood, the cup. Else all that has it.

    Args:
        matte: (H, W), 1 on the subject; 0 everywhere where there is none.
        source, target: colours' names.
    """
    lab = floats(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
    mask = _mask(lab, source)
    inside = floats(mask * _reach(matte))
    is_meant = float(inside.sum()) > _LEAST_SHARE * max(float(matte.sum()), 1.0)
    return _repainted(image, lab, inside if is_meant else mask, target)


def recolour_subject(image: Pixels, matte: Plane, target: str) -> Pixels:
    """*image* with its subject in the colour *target*.

    A colourful subject changes where it has its main hue: a cup, not the spoon in front of it. One of little colour, as
    fur or steel is, changes as a whole.

    Args:
        matte: (H, W), 1 on the subject.
        target: a colour's name.
    """
    lab = floats(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
    by_hue = floats(_near(lab, _main_hue(lab, matte), width=0.3) * _reach(matte))
    share = float(by_hue.sum() / max(float(matte.sum()), 1.0))
    colour = float((np.hypot(lab[..., 1], lab[..., 2]) * by_hue).sum() / max(float(by_hue.sum()), 1.0))
    is_colourful = share > _LEAST_SHARE and colour > _COLOURFUL
    return _repainted(image, lab, by_hue if is_colourful else matte, target)


def _reach(matte: Plane) -> Plane:
    """The subject and a little beyond its edge."""
    return floats(np.clip(blur(matte, 12 * unit_of(matte)) * 4, 0, 1))


def tint(image: Pixels, colour: str, strength: float = 1.0) -> Pixels:
    """*image* seen through a filter of *colour*: its own brightness, its colours drawn towards it."""
    tone = rgb(colour)
    lit = grey(luma(image)) * (tone / max(float(tone @ [0.299, 0.587, 0.114]), 0.25))
    return clip(mix(image, clip(lit), min(0.55 * strength, 0.9)))


def _moments(image: Pixels) -> tuple[Matrix, Matrix]:
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / 90_000)))
    flat = image[::step, ::step].reshape(-1, 3).astype(np.float64)
    return flat.mean(axis=0), np.cov(flat.T) + 1e-6 * np.eye(3)


def _power(matrix: Matrix, exponent: float) -> Matrix:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 1e-9) ** exponent) @ vectors.T)


def _lab(colour: str) -> Pixels:
    return floats(floats(cv2.cvtColor(rgb(colour)[None, None], cv2.COLOR_RGB2LAB))[0, 0])


def _mask(lab: Pixels, colour: str) -> Plane:
    """How much each pixel is of *colour*, 0..1: by hue and colourfulness, by lightness where the colour has no hue."""
    goal, chroma = _lab(colour), np.hypot(lab[..., 1], lab[..., 2])
    if colour in _COLOURLESS:
        return floats(np.clip(1.6 - np.abs(lab[..., 0] - goal[0]) / 22, 0, 1) * np.clip(1.8 - chroma / 12, 0, 1))
    return _near(lab, float(np.arctan2(goal[2], goal[1])), width=0.3)


def _main_hue(lab: Pixels, matte: Plane) -> float:
    """The most colourful hue of the subject, most of all in its middle, in radians."""
    height, width = lab.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    middle = np.exp(-(((x / width - 0.5) / 0.3) ** 2 + ((y / height - 0.5) / 0.3) ** 2))
    hue, chroma = np.arctan2(lab[..., 2], lab[..., 1]), np.hypot(lab[..., 1], lab[..., 2])
    weights = (0.2 + middle) * matte * np.maximum(chroma - 12, 0)
    votes, edges = np.histogram(hue, bins=36, range=(-np.pi, np.pi), weights=weights)
    votes = votes + 0.6 * (np.roll(votes, 1) + np.roll(votes, -1))
    return float(edges[int(votes.argmax())] + np.pi / 36)


def _repainted(image: Pixels, lab: Pixels, mask: Plane, target: str) -> Pixels:
    soft = np.clip(blur(mask, 1.5 * unit_of(image)), 0, 1)[..., None]
    return clip(mix(image, _painted(lab, target, soft), soft))


def _near(lab: Pixels, hue: float, *, width: float) -> Plane:
    """1 for colourful pixels within *width* radians of *hue*, falling to 0 at twice that."""
    away = np.abs((np.arctan2(lab[..., 2], lab[..., 1]) - hue + np.pi) % (2 * np.pi) - np.pi)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    colourful = np.clip((chroma - 10) / 14, 0, 1)
    mask = np.clip(2 - away / width, 0, 1) * colourful
    # A painted thing is purer than wood or skin of the same hue, in the light as well as in its own shadow.
    around = blur(lab, 5 * unit_of(lab))
    purity = np.hypot(around[..., 1], around[..., 2]) / np.maximum(np.linalg.norm(around, axis=2), 1)
    best = float(np.quantile(purity[mask > 0.5], 0.75)) if (mask > 0.5).any() else 1.0
    pure = floats(mask * np.clip((purity / best - 0.74) / 0.14, 0, 1))
    # Reflections within it have another hue; they are closed over as far as they have any.
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_odd(22 * unit_of(lab)),) * 2)
    return floats(cv2.morphologyEx(pure, cv2.MORPH_CLOSE, disc) * colourful)


def _painted(lab: Pixels, target: str, mask: Pixels) -> Pixels:
    """All of the picture in *target*: its hue, the old play of light around a lightness halfway to the target's."""
    goal, weight = _lab(target), mask[..., 0] + 1e-6
    chroma, lightness = np.hypot(lab[..., 1], lab[..., 2]), lab[..., 0]
    mean_l = float((lightness * weight).sum() / weight.sum())
    mean_c = float((chroma * weight).sum() / weight.sum())
    pull = 0.85 if target in _COLOURLESS or goal[0] > 70 else 0.5  # a dark yellow would be olive
    aim = mean_l + (float(goal[0]) - mean_l) * pull
    # Scaled below the mean and above it, so that neither shadows nor lights run out of the range.
    new_l = np.where(
        lightness < mean_l,
        lightness * aim / max(mean_l, 1),
        100 - (100 - lightness) * (100 - aim) / max(100 - mean_l, 1),
    )
    goal_c = float(np.hypot(goal[1], goal[2]))
    kept = chroma * min(goal_c / max(mean_c, 1), 1.2) * 0.85
    # What has little colour of its own is dyed, most in its middle tones: blacks and highlights stay what they are.
    dyed = goal_c * 0.75 * np.clip(1.15 - np.abs(new_l - 55) / 60, 0, 1)
    new_c = mix(kept, dyed, float(np.clip((2 * _LITTLE_COLOUR - mean_c) / _LITTLE_COLOUR, 0, 1)))
    hue = float(np.arctan2(goal[2], goal[1]))
    painted = np.dstack([new_l, new_c * np.cos(hue), new_c * np.sin(hue)]).astype(np.float32)
    return clip(cv2.cvtColor(painted, cv2.COLOR_LAB2RGB))


def _odd(length: float) -> int:
    return max(3, round(length)) | 1
