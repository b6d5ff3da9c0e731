"""The engine that returns image 1, resized: for tests and integrations."""

from PIL import Image

from gesso.core.errors import EngineFailed
from gesso.core.inputs import Inputs
from gesso.core.ports import Abilities, Made, Report


class EchoEngine:
    """Image 1 at the asked size; without an image, a plain grey one."""

    abilities = Abilities(name="echo", negative_prompt="ignored", seed="exact", progress=True, stop=True)

    def load(self) -> None:
        """Nothing to load."""

    def run(self, inputs: Inputs, report: Report) -> Made:
        """Resize image 1.

        Raises:
            EngineFailed: when there are more images than `abilities.max_images`.
        """
        if len(inputs.images) > self.abilities.max_images:
            raise EngineFailed(reason=f"at most {self.abilities.max_images} images are taken")
        size = (inputs.size.width, inputs.size.height)
        made = inputs.images[0].resize(size) if inputs.images else Image.new("RGB", size, "grey")
        report(1, 1)
        return Made([made])

    def close(self) -> None:
        """Nothing to give back."""
