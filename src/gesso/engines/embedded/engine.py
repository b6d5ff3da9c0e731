"""A plan to a picture: the engine that runs anywhere, needs no weights and makes nothing up."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from gesso.core.errors import EngineFailed
from gesso.core.inputs import Inputs, Size
from gesso.core.ports import Abilities, Made, Report
from gesso.engines.embedded import background, compose, frame, lettering, recolour
from gesso.engines.embedded.parser import parse
from gesso.engines.embedded.pixels import Pixels, Plane, from_image, to_image
from gesso.engines.embedded.plan import Plan, Step
from gesso.engines.embedded.stylise import STYLES
from gesso.engines.embedded.subject import find_subject
from gesso.engines.embedded.tone import TONES, grain
from gesso.engines.embedded.weather import WEATHER

_SEEN_PX = 1024  # the longer side of a picture in which a subject is looked for
_FILTERS = TONES | STYLES  # (image, strength)
_SEEDED = WEATHER | {"grain": grain}  # (image, strength, rng)
_MESSAGES = {
    "subject_uncertain": "No subject stood out from its background; the middle of the picture was taken for it.",
    "text_not_drawn": "The characters cannot be drawn with the fonts here: {text}",
}


class EmbeddedEngine:
    """Classical image operators, chosen by a rule-based reading of the prompt in English, Japanese, Russian or Chinese.

    The negative prompt is "native" in this sense: every operator that it names is left out, also where the prompt asks
    for it; it does nothing else. The seed drives weather, grain, seams and the search for the subject; the same inputs
    and seed give the same bytes with the same versions of its libraries, and of the font where text is drawn.

    Args:
        fonts: font files to try before those of the system, for text in scripts that its fonts lack.
    """

    def __init__(self, *, fonts: Sequence[str] = ()) -> None:
        self._fonts = tuple(fonts)

    @property
    def abilities(self) -> Abilities:
        """What it can do; nothing of it depends on the machine."""
        return Abilities(name="embedded", negative_prompt="native", seed="exact", progress=True, stop=True)

    def load(self) -> None:
        """Nothing to load; holds OpenCV to one thread, as one engine is one worker's slot."""
        cv2.setNumThreads(1)

    def run(self, inputs: Inputs, report: Report) -> Made:
        """Carry out the plan for the prompt, one report after each step.

        Raises:
            EngineFailed: when there is no reference, or more than three.
            Stopped: let through from *report*.
        """
        count, most = len(inputs.images), self.abilities.max_images
        if not 1 <= count <= most:
            raise EngineFailed(
                reason=f"it edits pictures: at least one image and at most {most} are needed, not {count}."
            )
        plan = parse(inputs.prompt, inputs.negative_prompt, count)
        easel = _Easel(inputs, plan, self._fonts)
        for done, _ in enumerate(easel, start=1):
            report(done, len(plan.steps))
        return Made([to_image(easel.canvas)], _notes(plan, easel.messages, told=inputs.expand_prompt))

    def close(self) -> None:
        """Nothing is held."""


class _Easel:
    """One run: the canvas, and what became known on the way. Iterating carries out step after step."""

    def __init__(self, inputs: Inputs, plan: Plan, fonts: Sequence[str]) -> None:
        self.canvas: Pixels = np.zeros((1, 1, 3), np.float32)
        self.messages: dict[str, str] = dict(plan.warnings)
        self._inputs, self._plan, self._fonts = inputs, plan, fonts

    def __iter__(self) -> Iterator[Step]:
        for step in self._plan.steps:
            self.canvas = self._done(step)
            yield step

    def _done(self, step: Step) -> Pixels:
        if step.operator in frame.GEOMETRY:
            return frame.GEOMETRY[step.operator](self.canvas)
        if step.operator in _FILTERS:
            return _FILTERS[step.operator](self.canvas, step.strength)
        if step.operator in _SEEDED:
            return _SEEDED[step.operator](self.canvas, step.strength, self._rng(step.operator))
        if step.operator.endswith("_background"):
            return self._before_background(step)
        return self._coloured(step) if self.canvas.size > 3 else self._laid_out(step)

    def _laid_out(self, step: Step) -> Pixels:
        settings, size, images = step.settings, self._size, self._inputs.images
        shown = [images[number - 1] for number in settings.get("references", ())]
        match step.operator:
            case "columns" | "rows":
                soft = settings["seam"] == "soft"
                return compose.strips(shown, size, self._rng("seam"), rows=step.operator == "rows", soft=soft)
            case "picture_in_picture":
                return compose.picture_in_picture(shown, size, settings["at"], settings["size"])
            case "double_exposure":
                return compose.double_exposure(shown, size)
            case "subject_on":
                pair = images[settings["subject"] - 1], images[settings["backdrop"] - 1]
                canvas, found = compose.subject_on(*pair, size, at=settings["at"], seed=self._inputs.seed)
                return self._told(canvas, found=found)
            case _:
                return self._framed(step)

    def _framed(self, step: Step) -> Pixels:
        image = self._inputs.images[step.settings["reference"] - 1]
        if step.settings["mode"] == "contain":
            return frame.contain(image, self._size)
        return frame.cover(image, self._size, zoom=_zoom(step))

    def _subject(self) -> tuple[Plane, bool]:
        """The subject's matte on the canvas, and whether one was found.

        Looked for in the whole reference: what a crop cuts through would be taken for background.
        """
        first, *others = self._plan.steps
        if first.operator != "frame" or first.settings["mode"] == "contain":
            return find_subject(self.canvas, seed=self._inputs.seed)
        image = self._inputs.images[first.settings["reference"] - 1]
        whole = image.copy()
        whole.thumbnail((_SEEN_PX, _SEEN_PX), reducing_gap=2.0)
        matte, found = find_subject(from_image(whole), seed=self._inputs.seed)
        matte = frame.cover_alike(matte, image, self._size, zoom=_zoom(first))
        for step in others:
            matte = frame.GEOMETRY[step.operator](matte) if step.operator in frame.GEOMETRY else matte
        return matte, found

    def _before_background(self, step: Step) -> Pixels:
        matte, found = self._subject()
        if step.operator == "blur_background":
            return self._told(background.blur_background(self.canvas, matte, step.strength), found=found)
        if step.operator == "gradient_background":
            return self._told(background.gradient_background(self.canvas, matte, step.settings["colours"]), found=found)
        return self._told(background.plain_background(self.canvas, matte, step.settings["colour"]), found=found)

    def _coloured(self, step: Step) -> Pixels:
        settings = step.settings
        match step.operator:
            case "style_from":
                style = frame.cover(self._inputs.images[settings["reference"] - 1], Size(256, 256))
                return recolour.transport(self.canvas, style, strength=0.9 * step.strength)
            case "recolour" if settings["source"] == "main":
                matte, found = self._subject()
                return self._told(recolour.recolour_subject(self.canvas, matte, settings["target"]), found=found)
            case "recolour":
                matte, found = self._subject()
                return recolour.recolour(self.canvas, matte * found, settings["source"], settings["target"])
            case "tint":
                return recolour.tint(self.canvas, settings["colour"], step.strength)
            case _:
                return self._written(settings["text"], settings["at"], settings["size"], settings["colour"])

    def _written(self, text: str, at: str, scale: str, colour: str) -> Pixels:
        font = lettering.fitting_font(text, self._inputs.size, scale=scale, fonts=self._fonts)
        if font is None:
            self.messages["text_not_drawn"] = _MESSAGES["text_not_drawn"].format(text=text)
            return self.canvas
        return lettering.draw_text(self.canvas, text, font, at=at, colour=colour)

    def _told(self, canvas: Pixels, *, found: bool) -> Pixels:
        if not found:
            self.messages["subject_uncertain"] = _MESSAGES["subject_uncertain"]
        return canvas

    @property
    def _size(self) -> Size:
        """What the layout measures: the asked size, on its side where the plan turns the canvas by a quarter."""
        turned = sum(step.operator in frame.QUARTER_TURNS for step in self._plan.steps) % 2
        asked = self._inputs.size
        return Size(asked.height, asked.width) if turned else asked

    def _rng(self, name: str) -> np.random.Generator:
        """An operator's own generator: what it draws does not depend on which others run before it."""
        return np.random.default_rng([self._inputs.seed, zlib.crc32(name.encode())])


def _zoom(step: Step) -> float:
    return 1 + 0.6 * step.strength if step.settings["mode"] == "zoom" else 1.0


def _notes(plan: Plan, messages: dict[str, str], *, told: bool) -> dict[str, Any]:
    notes: dict[str, Any] = {
        "plan": [step.note() for step in plan.steps],
        "not_understood": list(plan.not_understood),
        "warnings": list(messages),
        "messages": list(messages.values()),
    }
    return notes | ({"prompt_used": str(plan)} if told else {})
