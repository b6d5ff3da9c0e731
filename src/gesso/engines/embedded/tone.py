"""Light and colour of the whole picture: every operator takes (H, W, 3) float32 in 0..1 and a strength around 1."""

from collections.abc import Callable

import numpy as np

from gesso.engines.embedded.pixels import LUMA, Pixels, Plane, blur, clip, floats, grey, luma, mix, saturate, unit_of


def black_and_white(image: Pixels, strength: float = 1.0) -> Pixels:
    """Without colour, with a little more contrast than the plain brightness has."""
    return _s_curve(grey(luma(image)), 0.25 * strength)


def sepia(image: Pixels, strength: float = 1.0) -> Pixels:
    """Brown like an old print: black, brown, straw and warm white along the brightness."""
    stops = np.array([[0.09, 0.06, 0.04], [0.42, 0.28, 0.17], [0.79, 0.64, 0.45], [0.99, 0.95, 0.86]], np.float32)
    light = _s_curve(luma(image), 0.2)
    toned = np.dstack([np.interp(light, (0, 0.35, 0.72, 1), stop) for stop in stops.T])
    return clip(mix(image, toned, min(strength, 1.0)))


def vintage(image: Pixels, strength: float = 1.0) -> Pixels:
    """A faded colour print: lifted blacks, yellowed lights, teal shadows, weak colours, dark corners."""
    faded = _lift(saturate(image, 1 - 0.32 * strength), 0.09 * strength)
    toned = _split_tone(faded, (-0.02, 0.025, 0.05), (0.055, 0.015, -0.07), strength)
    return vignette(toned, 0.55 * strength)


def brighter(image: Pixels, strength: float = 1.0) -> Pixels:
    """The middle tones lifted by about two thirds of a stop; black and white stay."""
    return clip(image ** (1 / (1 + 0.5 * strength)))


def darker(image: Pixels, strength: float = 1.0) -> Pixels:
    """The middle tones lowered by about two thirds of a stop; black and white stay."""
    return clip(image ** (1 + 0.55 * strength))


def more_contrast(image: Pixels, strength: float = 1.0) -> Pixels:
    """Lights lighter and darks darker, by a curve that clips neither."""
    return _s_curve(image, 0.7 * strength)


def less_contrast(image: Pixels, strength: float = 1.0) -> Pixels:
    """Everything drawn towards the picture's mean brightness."""
    return mix(image, float(luma(image).mean()), min(0.38 * strength, 0.8))


def saturated(image: Pixels, strength: float = 1.0) -> Pixels:
    """Colours stronger, weak ones most."""
    return saturate(image, 1 + 0.75 * strength)


def muted(image: Pixels, strength: float = 1.0) -> Pixels:
    """Colours weaker, and a little paler."""
    return _lift(saturate(image, max(0.1, 1 - 0.5 * strength)), 0.03 * strength)


def warm(image: Pixels, strength: float = 1.0) -> Pixels:
    """As under a lower sun: more red, less blue, the same brightness."""
    return _balance(image, (1.11, 1.0, 0.80), strength)


def cool(image: Pixels, strength: float = 1.0) -> Pixels:
    """As in open shade: less red, more blue, the same brightness."""
    return _balance(image, (0.86, 1.0, 1.18), strength)


def sunset(image: Pixels, strength: float = 1.0) -> Pixels:
    """Low warm light: orange from the horizon, violet above and in the shadows."""
    height, width = image.shape[:2]
    up = np.linspace(1, 0, height, dtype=np.float32)[:, None]
    glow = np.exp(-(((up - 0.42) / 0.3) ** 2)) * np.ones((1, width), np.float32)
    toned = _balance(image, (1.14, 0.96, 0.78), strength)
    toned = _split_tone(toned, (0.05, -0.02, 0.07), (0.07, 0.01, -0.09), strength)
    tone = (
        np.array([1.0, 0.52, 0.2], np.float32) * glow[..., None]
        + np.array([0.42, 0.22, 0.5], np.float32) * (up**2)[..., None] * 0.55
    )
    veil = clip(tone * 0.42 * min(strength, 1.5))
    return clip(1 - (1 - toned * 0.93) * (1 - veil * (0.35 + 0.65 * luma(toned)[..., None])))


def night(image: Pixels, strength: float = 1.0) -> Pixels:
    """Day for night: dark, blue and weak in colour, while what was brightest still shines, warmly."""
    share = min(strength, 1.6)
    light = luma(image)[..., None]
    dark = (mix(grey(luma(image)), image, 0.45) * np.array([0.5, 0.66, 1.0], np.float32)) ** 1.1 * (0.86 - 0.18 * share)
    lamps = np.clip((light - 0.8) / 0.2, 0, 1) ** 1.5
    shine = image * np.array([1.0, 0.88, 0.66], np.float32) * lamps * 0.75
    lit = 1 - (1 - clip(dark)) * (1 - clip(shine + blur(shine, 14 * unit_of(image)) * 0.6))
    return vignette(mix(image, clip(lit), min(0.6 + 0.4 * share, 1.0)), 0.7)


def soft_blur(image: Pixels, strength: float = 1.0) -> Pixels:
    """Gaussian blur of 7 px at 1024 px."""
    return clip(blur(image, 7 * strength * unit_of(image)))


def sharpen(image: Pixels, strength: float = 1.0) -> Pixels:
    """Unsharp mask on the brightness, fine and middle detail; halos are held to a tenth of the range."""
    light = luma(image)
    detail = 0.9 * (light - blur(light, 1.1)) + 0.35 * (light - blur(light, 6 * unit_of(image)))
    return clip(image + np.clip(detail * strength, -0.1, 0.1)[..., None])


def glow(image: Pixels, strength: float = 1.0) -> Pixels:
    """The lights bloom over their surroundings (an Orton effect)."""
    lights = image * _smoothstep(luma(image), 0.35, 0.95)[..., None]
    bloom = 0.6 * blur(lights, 10 * unit_of(image)) + 0.4 * blur(lights, 38 * unit_of(image))
    return clip(1 - (1 - image) * (1 - clip(bloom) * min(0.55 * strength, 0.95)))


def vignette(image: Pixels, strength: float = 1.0) -> Pixels:
    """Corners darker, by the fourth power of the cosine, as lenses make them."""
    height, width = image.shape[:2]
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
    fall = 1 / (1 + 0.42 * (x**2 + y**2)) ** 2
    return mix(image, image * fall[..., None], min(strength, 1.4))


def grain(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Film grain: brightness only, strongest in the middle tones, a little larger than a pixel."""
    noise = blur(rng.standard_normal(image.shape[:2], np.float32), 0.8 * max(unit_of(image), 0.5))
    light = luma(image)
    return clip(image + (noise / noise.std() * 0.055 * strength * (0.35 + 2.6 * light * (1 - light)))[..., None])


TONES: dict[str, Callable[[Pixels, float], Pixels]] = {
    "sharpen": sharpen, "blur": soft_blur, "black_and_white": black_and_white, "sepia": sepia, "vintage": vintage,
    "brighter": brighter, "darker": darker, "more_contrast": more_contrast, "less_contrast": less_contrast,
    "saturated": saturated, "muted": muted, "warm": warm, "cool": cool, "sunset": sunset, "night": night, "glow": glow,
    "vignette": vignette,
}  # fmt: skip


def _smoothstep(plane: Plane, low: float, high: float) -> Plane:
    share = np.clip((plane - low) / (high - low), 0, 1)
    return floats(share * share * (3 - 2 * share))


def _s_curve(image: Pixels, amount: float) -> Pixels:
    """A blend with the smooth step, whose ends are level: neither shadows nor lights are cut off."""
    return mix(image, image * image * (3 - 2 * image), min(amount, 1.0))


def _lift(image: Pixels, black: float) -> Pixels:
    """Black raised to *black*, white lowered by half as much."""
    return floats(black + image * (1 - 1.5 * black))


def _balance(image: Pixels, gains: tuple[float, float, float], strength: float) -> Pixels:
    """White balance by *gains* in linear light, at the same brightness; lights roll off instead of clipping."""
    gain = np.array(gains, np.float32) ** (strength * 1.1)
    linear = image**2.2 * (gain / float(gain @ LUMA))
    rolled = np.where(linear > 0.8, 0.8 + 0.2 * np.tanh((linear - 0.8) / 0.2), linear)
    return clip(rolled ** (1 / 2.2))


def _split_tone(image: Pixels, shadows: tuple[float, ...], lights: tuple[float, ...], strength: float) -> Pixels:
    """One colour added to the shadows, another to the lights; black and white themselves keep clear of both."""
    light = luma(image)[..., None]
    room = 4 * light * (1 - light)
    return clip(
        image
        + strength * (0.35 + 0.65 * room) * mix(np.array(shadows, np.float32), np.array(lights, np.float32), light)
    )
