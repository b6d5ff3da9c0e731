"""Pictures made to look drawn, painted or printed: operators take (H, W, 3) float32 in 0..1 and a strength around 1."""

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from gesso.engines.embedded.pixels import (
    Pixels,
    Plane,
    blur,
    clip,
    floats,
    from_image,
    grey,
    luma,
    saturate,
    smooth_noise,
    to_bytes,
    to_image,
    unit_of,
)

_PAPER_WHITE = np.array([0.985, 0.975, 0.955], np.float32)


def pencil(image: Pixels, strength: float = 1.0) -> Pixels:
    """Graphite on paper: a colour dodge of the brightness with its blurred negative, hatched where it is dark."""
    light = cv2.createCLAHE(1.6, (6, 6)).apply(to_bytes(luma(image))).astype(np.float32) / 255
    scale = unit_of(image)
    lines = np.minimum(light / np.maximum(blur(light, 5 * scale), 0.02), 1) ** (2.2 * strength)
    fine = np.minimum(light / np.maximum(blur(light, 1.6 * scale), 0.02), 1) ** (1.4 * strength)
    shade = 1 - (1 - light) ** 1.6 * 0.5 * _hatching(light.shape, scale)
    drawn = np.clip(lines * fine, 0, 1) * shade * (0.975 + 0.025 * _paper(light.shape))
    return clip(grey(floats(0.1 + 0.88 * drawn)))


def ink(image: Pixels, strength: float = 1.0) -> Pixels:
    """Black ink on paper. Source: Winnemöller, Kyprianidis and Olsen, "XDoG", 2012."""
    light, scale = blur(luma(image), 0.8), unit_of(image)
    sigma = 1.5 * scale
    sharpened = 19 * blur(light, sigma) - 18 * blur(light, sigma * 1.6)
    drawn = np.where(sharpened > 0.52, 1, 1 + np.tanh(5 * strength * (sharpened - 0.52)))
    drawn = blur(np.clip(drawn, 0, 1), 0.6 * max(scale, 0.5))
    return clip(grey(drawn) * (_PAPER_WHITE - 0.05) + 0.05)


def cartoon(image: Pixels, strength: float = 1.0) -> Pixels:
    """Flat bright colours within dark outlines: bilateral filter at half size, brightness in soft steps, DoG edges."""
    height, width = image.shape[:2]
    small = floats(cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    for _ in range(4):
        small = floats(cv2.bilateralFilter(small, 9, 0.14, 6))
    flat = floats(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))
    light = luma(clip(flat))
    stepped = _soft_steps(light, 6)
    flat = clip(flat * ((stepped + 0.03) / (light + 0.03))[..., None])
    return clip(saturate(flat, 1 + 0.45 * strength) * _outlines(luma(image), 1.4 * unit_of(image), strength)[..., None])


def watercolour(image: Pixels, strength: float = 1.0) -> Pixels:
    """Washes on rough paper: colours run together along wavering edges, pigment gathers where a wash ends."""
    scale, shape = unit_of(image), image.shape[:2]
    rng = np.random.default_rng(7)  # the paper, which is the same sheet for every seed
    height, width = shape
    half = floats(cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    for radius in (4, 3):
        half = _kuwahara(half, max(2, round(radius * scale * strength)))
    wash = _warped(floats(cv2.resize(half, (width, height), interpolation=cv2.INTER_CUBIC)), 3.5 * scale, rng)
    light = luma(wash)
    rim = np.clip(np.abs(light - blur(light, 3 * scale)) * 5, 0, 0.35)
    density = (
        0.86 + 0.14 * (smooth_noise(shape, max(4, round(70 * scale)), rng) - 0.5) + 0.16 * (_paper(shape) - 0.5) + rim
    )
    washed = np.clip(saturate(clip(wash * 0.88 + 0.12), 1.25), 0.02, 1) ** density[..., None]
    return clip(washed * _PAPER_WHITE * (0.965 + 0.035 * _paper(shape)[..., None]))


def oil(image: Pixels, strength: float = 1.0) -> Pixels:
    """Brush strokes that follow the forms, in thick paint lit from the upper left.

    Source: the Kuwahara filter with soft sectors (Papari et al., 2007), then noise smeared along the structure tensor's
    smallest direction (line integral convolution; Cabral and Leedom, 1993) as the relief of the strokes.
    """
    scale = unit_of(image)
    painted = _kuwahara(image, max(2, round(5 * scale * strength)))
    strokes = _strokes(luma(painted), scale)
    shift = max(1, round(1.3 * scale))
    relief = strokes - np.roll(strokes, (shift, shift), (0, 1))
    return clip(saturate(painted, 1.2) * (1 + 0.14 * (strokes - 0.5))[..., None] + (0.3 * strength * relief)[..., None])


def pixel_art(image: Pixels, strength: float = 1.0) -> Pixels:
    """Squares of about 1/110 of the longer side, in 28 colours of its own."""
    height, width = image.shape[:2]
    cells = 110 / max(strength, 0.4)
    size = (max(8, round(width * cells / max(height, width))), max(8, round(height * cells / max(height, width))))
    small = cv2.resize(saturate(image, 1.15), size, interpolation=cv2.INTER_AREA)
    few = to_image(clip(small)).quantize(28, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    return floats(cv2.resize(from_image(few.convert("RGB")), (width, height), interpolation=cv2.INTER_NEAREST))


def halftone(image: Pixels, strength: float = 1.0) -> Pixels:
    """Four screens of dots, each at its printer's angle: cyan 15°, magenta 75°, yellow 0°, black 45°."""
    ink_ = 1 - saturate(image, 1.2)
    key = ink_.min(axis=2) ** 1.6
    cell = max(4.0, 9 * unit_of(image) * strength)
    printed = np.ones_like(image)
    for plane, angle, colour in zip(
        (*np.moveaxis(np.clip((ink_ - key[..., None]) / (1 - key[..., None] + 1e-3), 0, 1), 2, 0), key),
        (15, 75, 0, 45),
        ((0.05, 0.66, 0.9), (0.91, 0.12, 0.52), (1.0, 0.9, 0.06), (0.1, 0.1, 0.12)),
        strict=True,
    ):
        dots = _screen(floats(plane), cell, np.deg2rad(angle))
        printed = printed * (1 - dots[..., None] * (1 - np.array(colour, np.float32)))
    return clip(printed * _PAPER_WHITE)


def poster(image: Pixels, strength: float = 1.0) -> Pixels:
    """A screen print: smoothed forms in seven flat colours of its own."""
    height, width = image.shape[:2]
    small = floats(cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    smooth = floats(cv2.bilateralFilter(_kuwahara(small, max(2, round(4 * unit_of(image) * strength))), 7, 0.15, 5))
    picture = to_image(saturate(smooth, 1.35))
    palette = picture.resize((96, 96), Image.Resampling.BOX).quantize(7, Image.Quantize.MEDIANCUT, kmeans=3)
    flat = cv2.medianBlur(np.asarray(picture.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")), 7)
    return clip(cv2.resize(flat, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255)


STYLES: dict[str, Callable[[Pixels, float], Pixels]] = {
    "watercolour": watercolour, "oil": oil, "cartoon": cartoon, "poster": poster, "pixel_art": pixel_art,
    "halftone": halftone, "ink": ink, "pencil": pencil,
}  # fmt: skip


def _kuwahara(image: Pixels, radius: int) -> Pixels:
    """Each pixel becomes a mean of the four squares around it, the calmest of which count most."""
    side = radius + 1
    light = luma(image)
    mean, square = floats(cv2.blur(image, (side, side))), floats(cv2.blur(light * light, (side, side)))
    variance = np.maximum(square - cv2.blur(light, (side, side)) ** 2, 0)
    total, weights = np.zeros_like(image), np.zeros_like(light)
    half = side // 2
    for dy, dx in ((-half, -half), (-half, half), (half, -half), (half, half)):
        weight = 1 / (1e-4 + _shifted(variance, dy, dx)) ** 2
        total += _shifted(mean, dy, dx) * weight[..., None]
        weights += weight
    return clip(total / weights[..., None])


def _shifted(plane: Pixels, dy: int, dx: int) -> Pixels:
    height, width = plane.shape[:2]
    pad = max(abs(dy), abs(dx))
    framed = cv2.copyMakeBorder(plane, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
    return floats(framed[pad + dy : pad + dy + height, pad + dx : pad + dx + width])


def _strokes(light: Plane, scale: float) -> Plane:
    """Noise smeared along the forms of *light*, 0..1."""
    gx, gy = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
    sigma = 6 * scale
    xx, yy, xy = blur(gx * gx, sigma), blur(gy * gy, sigma), blur(gx * gy, sigma)
    along = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    height, width = light.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    dx, dy = np.cos(along).astype(np.float32), np.sin(along).astype(np.float32)
    noise = blur(np.random.default_rng(7).random(light.shape, np.float32), 1.2 * scale)
    total = noise.copy()
    for step in (-9, -6, -3, 3, 6, 9):
        total += cv2.remap(
            noise, x + dx * step * scale, y + dy * step * scale, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
    return clip(0.5 + (total - total.mean()) / (5 * total.std() + 1e-6))


def _outlines(light: Plane, sigma: float, strength: float) -> Plane:
    """1 everywhere but on dark lines along edges."""
    smooth = luma(_kuwahara(grey(floats(cv2.bilateralFilter(light, 7, 0.12, 5))), max(2, round(2.2 * sigma))))
    difference = blur(smooth, sigma) - 0.985 * blur(smooth, sigma * 1.8)
    return floats(np.clip(1 + np.tanh(np.minimum(difference - 0.001, 0) * 80 * strength), 0.12, 1))


def _soft_steps(light: Plane, steps: int) -> Plane:
    scaled = light * steps
    base = np.floor(scaled)
    return floats((base + 0.5 + 0.5 * np.tanh((scaled - base - 0.5) * 5)) / steps)


def _hatching(shape: tuple[int, ...], scale: float) -> Plane:
    """Slanting strokes, 0..1: noise stretched along one direction."""
    length = max(5, round(34 * scale)) | 1
    kernel = np.zeros((length, length), np.float32)
    cv2.line(kernel, (0, length - 1), (length - 1, 0), 1.0, 1)
    noise = np.random.default_rng(11).random(shape[:2], np.float32)
    strokes = cv2.filter2D(noise, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)
    return clip(0.5 + (strokes - strokes.mean()) / (4 * strokes.std()))


def _paper(shape: tuple[int, ...]) -> Plane:
    """The tooth of the paper, 0..1, the same for every picture of a size."""
    noise = blur(np.random.default_rng(5).random(shape[:2], np.float32), 1.1)
    return clip(0.5 + (noise - noise.mean()) / (5 * noise.std()))


def _warped(image: Pixels, by: float, rng: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    cell = max(3, round(by * 5))
    shift = [(smooth_noise((height, width), cell, rng) - 0.5) * 2 * by for _ in "xy"]
    return clip(cv2.remap(image, x + shift[0], y + shift[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def _screen(plane: Plane, cell: float, angle: float) -> Plane:
    """Round dots whose area is the local mean of *plane*, with edges one pixel soft."""
    height, width = plane.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    wave = 0.5 + 0.25 * (np.cos(2 * np.pi * u / cell) + np.cos(2 * np.pi * v / cell))
    # The wave's values are not evenly spread; this brings a threshold of 0.1 to a tenth of the area.
    threshold = 1 - np.clip(blur(plane, cell / 3), 0, 1)
    return clip((floats(wave) - threshold) * cell * 0.9 + 0.5 * np.minimum(plane * 12, 1))
