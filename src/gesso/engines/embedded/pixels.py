"""The one picture format of the operators, float32 RGB in sRGB's own encoding, 0..1; and the moves all of them use."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gesso.core.inputs import Size

Pixels = NDArray[np.float32]  # (H, W, 3), sRGB, 0..1
Plane = NDArray[np.float32]  # (H, W), 0..1

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, for sRGB-encoded values


def from_image(image: Image.Image) -> Pixels:
    """The pixels of an RGB image."""
    return floats(image.convert("RGB")) / np.float32(255)


def to_bytes(pixels: Pixels) -> NDArray[np.uint8]:
    """(H, W, 3) or (H, W) uint8, rounded and clipped: for those of OpenCV's functions that want bytes."""
    return (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)


def to_image(pixels: Pixels) -> Image.Image:
    """The RGB image of *pixels*."""
    return Image.fromarray(to_bytes(pixels))


def floats(values: Any) -> NDArray[np.float32]:
    """*values* as float32, without a copy where they are; OpenCV's stubs promise less than its functions keep."""
    return np.asarray(values, np.float32)


def clip(pixels: Any) -> Pixels:
    """*pixels* as float32 in 0..1."""
    return floats(np.clip(pixels, 0, 1))


def luma(image: Pixels) -> Plane:
    """The brightness of *image*, (H, W), 0..1."""
    return floats(cv2.transform(image, LUMA[None]))


def grey(plane: Plane) -> Pixels:
    """*plane* as a colourless picture."""
    return floats(cv2.merge([plane, plane, plane]))


def mix(a: Any, b: Any, share: Any) -> Pixels:
    """*a* where *share* is 0, *b* where it is 1; *share* is a number, a (H, W) plane or an (H, W, 1) array."""
    weight = share[..., None] if isinstance(share, np.ndarray) and share.ndim == 2 else share
    return floats(a + (b - a) * weight)


def blur(pixels: Any, sigma: float) -> NDArray[np.float32]:
    """Gaussian blur; a wide one is done on a smaller copy, where it looks the same and costs a tenth."""
    source = floats(pixels)
    height, width = source.shape[:2]
    factor = min(int(sigma // 4), min(height, width) // 8)
    if factor < 2:
        return floats(cv2.GaussianBlur(source, (0, 0), max(sigma, 0.1), borderType=cv2.BORDER_REFLECT_101))
    small = cv2.resize(source, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REFLECT_101)
    return floats(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def saturate(image: Pixels, by: float) -> Pixels:
    """Colourfulness times *by*; the colours near the edge of sRGB move less, so that they keep their detail."""
    base, spread = grey(luma(image)), image.max(axis=2) - image.min(axis=2)
    gain = by if by <= 1 else 1 + (by - 1) * (1 - spread)
    return clip(mix(base, image, gain))


def smooth_noise(shape: tuple[int, int], cell: int, rng: np.random.Generator) -> Plane:
    """Value noise of about 0..1 whose bumps are *cell* pixels wide, (H, W)."""
    height, width = shape
    grid = rng.random((height // cell + 3, width // cell + 3), np.float32)
    return floats(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC))


def unit(size: Size) -> float:
    """How many pixels stand for one pixel of a 1024x1024 picture; radii are multiplied by it."""
    return float(np.sqrt(size.width * size.height)) / 1024


def unit_of(image: Pixels) -> float:
    """`unit` of a picture."""
    return unit(Size(image.shape[1], image.shape[0]))
