"""An engine of somebody else's: it prints a picture in two inks, which the prompt names."""

from PIL import ImageColor, ImageOps

from gesso.core.errors import ConfigError, EngineFailed
from gesso.core.inputs import Inputs
from gesso.core.ports import Abilities, Made, Report


class DuotoneEngine:
    """Image 1 in two inks. The first two colours of the prompt are for the shadows and the lights.

    Args:
        shadows, lights: the inks where the prompt names none; whatever Pillow takes for a colour.
    """

    abilities = Abilities(name="duotone", max_images=1, seed="exact", progress=True, preview=True, stop=True)

    def __init__(self, *, shadows: str = "midnightblue", lights: str = "bisque") -> None:
        self._usual = [shadows, lights]

    def load(self) -> None:
        """Look at the options; here an engine with weights loads them."""
        for ink in self._usual:
            if not is_ink(ink):
                raise ConfigError(reason=f"{ink!r} is no colour; teal and #004488 are")

    def run(self, inputs: Inputs, report: Report) -> Made:
        """Print it, one report after each step; the word to stop is raised by `report`, and passes through."""
        if len(inputs.images) != 1:
            raise EngineFailed(reason=f"one image is printed, not {len(inputs.images)}")
        plate = ImageOps.fit(inputs.images[0], (inputs.size.width, inputs.size.height)).convert("L")
        report(1, 2, plate)
        words = inputs.prompt.lower().replace(",", " ").split()
        inks = [word for word in words if is_ink(word)][:2]
        shadows, lights = inks + self._usual[len(inks) :]
        printed = ImageOps.colorize(ImageOps.autocontrast(plate), shadows, lights)
        report(2, 2)
        return Made([printed], {"inks": [shadows, lights]})

    def close(self) -> None:
        """Nothing is held."""


def is_ink(word: str) -> bool:
    """Whether Pillow knows the colour."""
    return word in ImageColor.colormap or word.startswith("#")
