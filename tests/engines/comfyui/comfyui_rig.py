"""What the tests of the ComfyUI engine share: workflows and their bindings, a report, an engine on the fake server."""

import uuid
from collections.abc import Callable
from typing import Any

from fake_comfyui import FakeComfyUI, jobs, workflow
from PIL import Image

from gesso.core.errors import Stopped
from gesso.core.inputs import Inputs, Size
from gesso.engines.comfyui.engine import ComfyUIEngine

RED, GREEN = (200, 30, 10), (10, 200, 30)
TWO = {"image1": "1.image", "image2": "2.image", "width": ["3.width", "4.width"], "height": ["3.height", "4.height"],
       "output": "9"}  # fmt: skip
STEPS = {"image1": "1.image", "seed": "7.seed", "prompt": "7.prompt", "output": "9"}
QWEN = {"prompt": "20.prompt", "negative_prompt": "21.prompt", "seed": "23.seed", "width": "22.width",
        "height": "22.height", "image1": "1.image", "image2": "2.image", "output": "9"}  # fmt: skip
EARLIER = str(uuid.UUID(int=7))
Serve = Callable[..., FakeComfyUI]


class Heard:
    """A report that stops at step *stop_at*, and calls *meanwhile* at each."""

    def __init__(self, stop_at: int | None = None, meanwhile: Callable[[int], None] = lambda _: None) -> None:
        self.steps: list[tuple[int, int]] = []
        self.previews: list[Image.Image] = []
        self.remembered: list[str] = []
        self._stop_at, self._meanwhile = stop_at, meanwhile

    def __call__(self, step: int, of: int, preview: Image.Image | None = None) -> None:
        self.steps.append((step, of))
        if preview:
            self.previews.append(preview)
        self._meanwhile(step)
        if self._stop_at is not None and step >= self._stop_at:
            raise Stopped

    def remember(self, text: str) -> None:
        self.remembered.append(text)


def engine(fake: FakeComfyUI, graph: Any = None, bindings: Any = None, **more: Any) -> ComfyUIEngine:
    options = {"timeout_s": 20, "poll_s": 0.02, **more}
    graph = graph or workflow("two_references")
    made = ComfyUIEngine(base_url=fake.url, workflow=graph, bindings=bindings or TWO, **options)
    made.load()
    return made


def stepped(fake: FakeComfyUI, recording: str, **more: Any) -> ComfyUIEngine:
    return engine(fake, jobs(recording)[0].graph, STEPS, **more)


def asked(images: int = 2, **more: Any) -> Inputs:
    sizes = ((80, 60), (64, 96), (40, 40))
    return Inputs(images=tuple(Image.new("RGB", size) for size in sizes[:images]), size=Size(64, 48), **more)


def colour(image: Image.Image) -> Any:
    return image.getpixel((0, 0))


def sent(fake: FakeComfyUI) -> Any:
    """The graph of the last post."""
    return fake.posts()[-1]["prompt"]
