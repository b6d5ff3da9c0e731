"""What lies behind the subject: blurred, or replaced by a colour or a gradient."""

import numpy as np

from gesso.engines.embedded.colours import rgb
from gesso.engines.embedded.pixels import Pixels, Plane, blur, clip, floats, mix, unit_of
from gesso.engines.embedded.subject import without_spill

_DEFAULT_GRADIENT = ("blue", "purple")


def blur_background(image: Pixels, matte: Plane, strength: float = 1.0) -> Pixels:
    """*image* sharp where *matte* is 1, out of focus elsewhere; the subject does not bleed into its surroundings.

    Source: normalised convolution (Knutsson and Westin, 1993): only background pixels are averaged.
    """
    sigma, outside = 16 * strength * unit_of(image), 1 - matte
    behind = blur(image * outside[..., None], sigma) / (blur(outside, sigma) + 1e-2)[..., None]
    return clip(mix(behind, image, matte))


def plain_background(image: Pixels, matte: Plane, colour: str) -> Pixels:
    """The subject on one colour, with a soft fall of light so that it does not look cut from paper."""
    height, width = matte.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    fall = ((x / width - 0.5) ** 2 + (y / height - 0.42) ** 2) * 0.22
    return _before(image, matte, floats(rgb(colour) * (1 - fall[..., None])))


def gradient_background(image: Pixels, matte: Plane, colours: tuple[str, ...]) -> Pixels:
    """The subject before a gradient from the first colour, above, to the second, below; one colour runs out pale."""
    first = rgb((*colours, *_DEFAULT_GRADIENT)[0])
    second = mix(first, 1.0, 0.8) if len(colours) == 1 else rgb((*colours, *_DEFAULT_GRADIENT)[1])
    height, width = matte.shape
    slope = np.linspace(0, 1, height, dtype=np.float32)[:, None] * 0.85 + np.linspace(0, 0.15, width, dtype=np.float32)
    # Mixed in squares, as light mixes: halfway between two colours would be muddy otherwise.
    squares = mix(first**2, second**2, (3 * slope**2 - 2 * slope**3)[..., None])
    return _before(image, matte, np.sqrt(squares))


def _before(image: Pixels, matte: Plane, behind: Pixels) -> Pixels:
    return clip(mix(behind, without_spill(image, matte), matte))
