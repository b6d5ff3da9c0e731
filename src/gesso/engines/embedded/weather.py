"""Snow, rain and fog, drawn by a seeded generator: every operator takes (H, W, 3) float32 in 0..1."""

from collections.abc import Callable

import cv2
import numpy as np

from gesso.engines.embedded.pixels import Pixels, Plane, blur, clip, floats, luma, mix, saturate, smooth_noise, unit_of


def snow(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Falling snow in four depths, from many small flakes to a few large ones out of focus, in colder light."""
    cold = saturate(image, 0.8) * np.array([0.93, 0.97, 1.03], np.float32)
    canvas = clip(mix(cold, 0.9, 0.07 * strength))
    scale = unit_of(image)
    for share, radius, softness, opacity in (
        (420, 1.1, 0.6, 0.8),
        (260, 1.9, 0.8, 0.85),
        (110, 3.2, 1.4, 0.8),
        (26, 7.0, 4.5, 0.6),
    ):
        flakes = _flakes(image.shape[:2], round(share * strength), radius * scale, rng)
        canvas = mix(canvas, 0.985, clip(blur(flakes, softness * scale) * opacity))
    return clip(canvas)


def rain(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Slanting streaks in two depths under a grey sky; distant detail is veiled."""
    scale = unit_of(image)
    grey_sky = mix(saturate(image, 0.68) * np.array([0.80, 0.84, 0.90], np.float32), 0.5, 0.1)
    canvas = mix(grey_sky, blur(grey_sky, 3 * scale), 0.3)
    for density, length, opacity in ((0.0026, 26, 0.22), (0.0008, 60, 0.34)):
        streaks = _streaks(image.shape[:2], density * strength, length * scale, rng)
        canvas = mix(canvas, 0.92, clip(streaks * opacity))
    return clip(canvas)


def fog(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Drifting banks of fog, thicker towards the horizon and where the picture is calm, as distance is."""
    height, width = image.shape[:2]
    cells = [max(8, round(size * unit_of(image))) for size in (520, 240, 110)]
    banks = sum(
        weight * smooth_noise((height, width), cell, rng) for cell, weight in zip(cells, (0.6, 0.28, 0.12), strict=True)
    )
    up = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    horizon = 0.45 + 0.55 * np.exp(-(((up - 0.4) / 0.42) ** 2))
    thick = np.clip((0.5 + 0.45 * floats(banks)) * horizon * 0.95 * strength, 0, 0.92)
    haze = np.array([0.86, 0.88, 0.90], np.float32) * (0.72 + 0.28 * blur(luma(image), 60 * unit_of(image)))[..., None]
    return clip(mix(saturate(image, 0.75), haze, floats(thick)))


WEATHER: dict[str, Callable[[Pixels, float, np.random.Generator], Pixels]] = {"fog": fog, "rain": rain, "snow": snow}


def _flakes(shape: tuple[int, ...], count: int, radius: float, rng: np.random.Generator) -> Plane:
    plane = np.zeros(shape[:2], np.float32)
    xs, ys, sizes = rng.random(count) * shape[1], rng.random(count) * shape[0], radius * (0.6 + 0.8 * rng.random(count))
    for x, y, size in zip(xs, ys, sizes, strict=True):
        # Sixteenths of a pixel, by OpenCV's fixed-point coordinates.
        cv2.circle(plane, (int(x * 16), int(y * 16)), max(8, int(size * 16)), 1.0, -1, cv2.LINE_AA, 4)
    return plane


def _streaks(shape: tuple[int, ...], density: float, length: float, rng: np.random.Generator) -> Plane:
    drops = (rng.random(shape[:2], np.float32) < density).astype(np.float32) * (
        0.4 + 0.6 * rng.random(shape[:2], np.float32)
    )
    side = max(5, round(length)) | 1
    kernel = np.zeros((side, side), np.float32)
    cv2.line(kernel, (round(side * 0.62), 0), (round(side * 0.38), side - 1), 1.0, 1, cv2.LINE_AA)
    fade = np.sin(np.linspace(0, np.pi, side, dtype=np.float32))[:, None]
    return floats(cv2.filter2D(blur(drops, 0.7) * 3.2, -1, kernel * fade, borderType=cv2.BORDER_CONSTANT))
