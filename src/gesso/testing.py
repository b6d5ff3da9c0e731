"""The conformance kit for engines: subclass `EngineSuite` in a test of pytest, name your engine, and run it.

    class TestMyEngine(EngineSuite):
        engine = "my-engine"
        options = {"strength": 0.5}

A promise that is not asked for here is not a promise. Engines that are slow load once for the whole class.
"""

import asyncio
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, ClassVar

import msgspec
import pytest
from PIL import Image

from gesso.core.errors import EngineFailed, Stopped
from gesso.core.inputs import Inputs, Size
from gesso.core.ports import Abilities, Engine, Made
from gesso.engines import registry
from gesso.engines.host import Host

CHOICES = {
    "negative_prompt": {"native", "embeddings", "ignored"},
    "seed": {"exact", "best_effort", "ignored"},
}
COLOURS = ("teal", "orange", "ivory", "navy", "crimson", "olive", "orchid", "sienna")


class Recorder:
    """The host's side of a run: keeps what is reported.

    Args:
        stop_at: the number of the report, counted from 1, at which the run is told to stop; 0: never.
    """

    def __init__(self, stop_at: int = 0) -> None:
        self.steps: list[tuple[int, int]] = []
        self.previews: list[Image.Image] = []
        self.remembered: list[str] = []
        self._stop_at = stop_at

    def __call__(self, step: int, of: int, preview: Image.Image | None = None) -> None:
        """Keep a step; raises Stopped when it is time."""
        self.steps.append((step, of))
        self.previews += [preview] if preview is not None else []
        if len(self.steps) == self._stop_at:
            raise Stopped

    def remember(self, text: str) -> None:
        """Keep *text*."""
        assert len(text) <= 1000, "at most 1,000 characters are remembered"
        self.remembered.append(text)


def reference(number: int) -> Image.Image:
    """A small picture to be edited, another one for each *number* from 1: a disc before a plain background."""
    width, height = (96, 64) if number % 2 else (64, 96)
    image = Image.new("RGB", (width, height), COLOURS[number % len(COLOURS)])
    disc = Image.radial_gradient("L").resize((48, 48)).point(lambda value: 255 * (value < 128))
    image.paste(COLOURS[(number + 3) % len(COLOURS)], (width // 2 - 24, height // 2 - 24), disc)
    return image


class EngineSuite:
    """What every engine is asked. Each attribute may be set by the subclass; fixtures may be overridden.

    Attributes:
        engine: its entry-point name, which must be installed.
        options: its keyword arguments; what is known only when tests run comes from the fixture `engine_options`.
        prompt: a prompt that it can carry out.
        sizes: output sizes that it must keep to; the first is used wherever the size is not the question.
        run_timeout: how long a run in its host's process may take, loading included.
    """

    engine: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    prompt: ClassVar[str] = "make it black and white"
    sizes: ClassVar[Sequence[Size]] = (Size(512, 512), Size(400, 600), Size(672, 288))
    run_timeout: ClassVar[timedelta] = timedelta(minutes=10)

    @pytest.fixture(scope="class")
    @classmethod
    def engine_options(cls) -> Mapping[str, Any]:
        """The engine's options. Override it, with the same scope, to start what the engine needs."""
        return cls.options

    @pytest.fixture(scope="class")
    @classmethod
    def loaded(cls, engine_options: Mapping[str, Any]) -> Iterator[Engine]:
        """The engine, loaded once for all tests of the class, as a server does."""
        engine = registry.make(cls.engine, engine_options)
        engine.load()
        yield engine
        engine.close()

    def inputs(self, images: int = 1, **more: Any) -> Inputs:
        """A run that must succeed, with so many references."""
        given = tuple(map(reference, range(1, images + 1)))
        return Inputs(**{"images": given, "prompt": self.prompt, "size": self.sizes[0], "seed": 7, **more})

    def bad_inputs(self, abilities: Abilities) -> Sequence[Inputs]:
        """Runs that must be refused; more references than it takes, unless the subclass knows more."""
        return [self.inputs(abilities.max_images + 1)]

    def test_its_abilities_are_told_in_full(self, loaded: Engine) -> None:
        """Names, choices and bounds are as `Abilities` describes them, and can be sent to the host."""
        told = asdict(loaded.abilities)
        for name, choices in CHOICES.items():
            assert told[name] in choices, f"{name} is {told[name]!r}, not one of {sorted(choices)}"
        assert told["name"], "it has a name"
        assert told["weights"], 'it says which weights run; "none" where there are none'
        assert told["licence"], "it says under which licence they are"
        assert told["max_images"] >= 0, "it takes no negative number of references"
        assert told["size_multiple"] >= 1, "sides are multiples of at least 1"
        assert told["progress"] or not (told["preview"] or told["stop"]), "previews and stopping come with progress"
        assert Abilities(**msgspec.json.decode(msgspec.json.encode(told))) == loaded.abilities

    def test_every_size_is_made_exactly(self, loaded: Engine) -> None:
        """A picture has the asked size to the pixel. (The host would crop it, and lose what lies outside.)"""
        for size in self.sizes:
            for image in made_by(loaded, self.inputs(size=size)).images:
                assert image.size == (size.width, size.height), f"asked for {size}, made {image.width}x{image.height}"

    def test_every_number_of_references_passes(self, loaded: Engine) -> None:
        """One, two, three and so on, up to what it says it takes; they are not written to."""
        for count in range(1, loaded.abilities.max_images + 1):
            inputs = self.inputs(count)
            before = pixels(inputs.images)
            assert made_by(loaded, inputs).images, f"{count} references make a picture"
            assert pixels(inputs.images) == before, "references are left as they are"

    def test_the_same_seed_gives_the_same_picture_as_promised(self, loaded: Engine) -> None:
        """Where the seed is `exact`: pixel for pixel, and whatever was run in between."""
        if loaded.abilities.seed != "exact":
            pytest.skip(f"the seed is {loaded.abilities.seed}: nothing is promised")
        first = made_by(loaded, self.inputs())
        made_by(loaded, self.inputs(seed=8))
        assert pixels(first.images) == pixels(made_by(loaded, self.inputs()).images)

    def test_what_it_made_is_not_changed_by_the_next_run(self, loaded: Engine) -> None:
        """The host reads a run's pictures while the next run goes on."""
        made = made_by(loaded, self.inputs())
        before = pixels(made.images)
        made_by(loaded, self.inputs(seed=8, prompt=f"{self.prompt}, inverted"))
        assert pixels(made.images) == before, "a picture that was made is left as it is"

    def test_a_negative_prompt_is_treated_as_promised(self, loaded: Engine) -> None:
        """It passes in any case; where it is `ignored` and the seed exact, it changes nothing."""
        with_it = made_by(loaded, self.inputs(negative_prompt="blur, low quality"))
        if loaded.abilities.negative_prompt == "ignored" and loaded.abilities.seed == "exact":
            assert pixels(with_it.images) == pixels(made_by(loaded, self.inputs()).images)

    def test_what_it_says_of_a_run_is_json_and_names_no_address(self, loaded: Engine) -> None:
        """Notes go into the result's metadata, where everybody who has the result can read them."""
        for expand in (False, True):
            notes = msgspec.json.encode(dict(made_by(loaded, self.inputs(expand_prompt=expand)).notes)).decode()
            assert not re.search(r"https?://", notes), f"no URL in notes: {notes}"

    def test_a_bad_input_is_refused_and_leaves_it_usable(self, loaded: Engine) -> None:
        """`EngineFailed`, with words for whoever asked; the next run succeeds, and makes the same as before."""
        before = made_by(loaded, self.inputs())
        for inputs in self.bad_inputs(loaded.abilities):
            with pytest.raises(EngineFailed) as refused:
                loaded.run(inputs, Recorder())
            assert str(refused.value) != str(EngineFailed(reason="")), "it says why"
        self._is_usable(loaded, before)

    def test_progress_grows(self, loaded: Engine) -> None:
        """Steps are reported, never fall, and never pass their number."""
        if not loaded.abilities.progress:
            pytest.skip("it reports no progress")
        told = Recorder()
        loaded.run(self.inputs(), told)
        steps = [step for step, _ in told.steps]
        assert steps, "at least one step is reported"
        assert steps == sorted(steps), f"steps fall: {steps}"
        assert all(0 <= step <= of for step, of in told.steps), f"a step lies beyond the end: {told.steps}"

    def test_previews_are_pictures(self, loaded: Engine) -> None:
        """An engine that sends previews sends at least one in a run."""
        if not loaded.abilities.preview:
            pytest.skip("it sends no previews")
        told = Recorder()
        loaded.run(self.inputs(), told)
        assert told.previews, "at least one preview is sent"
        assert all(min(each.size) > 0 for each in told.previews)

    def test_it_stops_when_told_and_stays_usable(self, loaded: Engine) -> None:
        """`Stopped` passes through it, at the first report and halfway; the next run succeeds."""
        if not loaded.abilities.stop:
            pytest.skip("it cannot be stopped")
        told = Recorder()
        before = loaded.run(self.inputs(), told)
        assert told.steps, "it cannot hear the word to stop without a report"
        for report in {1, (len(told.steps) + 1) // 2}:
            with pytest.raises(Stopped):
                loaded.run(self.inputs(), Recorder(stop_at=report))
            self._is_usable(loaded, before)

    def test_closing_twice_is_safe(self, engine_options: Mapping[str, Any]) -> None:
        """Also right after it was loaded."""
        engine = registry.make(self.engine, engine_options)
        engine.load()
        engine.close()
        engine.close()

    def test_it_runs_in_its_hosts_process(self, engine_options: Mapping[str, Any]) -> None:
        """As a server runs it: in a process of its own, which a refused run does not cost, and which ends."""
        asyncio.run(self._hosted(engine_options))

    async def _hosted(self, options: Mapping[str, Any]) -> None:
        host, told = Host(self.engine, options, run_timeout=self.run_timeout, load_timeout=self.run_timeout), Recorder()
        try:
            await host.start()
            pid, abilities = host.pid, host.abilities
            assert abilities is not None
            assert pid not in (None, os.getpid()), "it has a process of its own"
            for inputs in self.bad_inputs(abilities):
                with pytest.raises(EngineFailed):
                    await host.run(inputs, told)
            made = await host.run(self.inputs(), told)
            assert host.pid == pid, "a refused run costs no process"
        finally:
            await host.close()
        assert {each.mode for each in made.images} == {"RGB"}
        assert {each.size for each in made.images} == {(self.sizes[0].width, self.sizes[0].height)}
        assert (made.notes["engine"], made.notes["licence"]) == (abilities.name, abilities.licence)
        assert bool(told.steps) >= abilities.progress, "steps reach the host"

    def _is_usable(self, engine: Engine, before: Made) -> None:
        """Whether a run that succeeded earlier succeeds again; to the pixel, where that is promised."""
        again = made_by(engine, self.inputs())
        assert len(again.images) == len(before.images)
        if engine.abilities.seed == "exact":
            assert pixels(again.images) == pixels(before.images)


def made_by(engine: Engine, inputs: Inputs) -> Made:
    """What *engine* makes of *inputs*: at least one picture."""
    made = engine.run(inputs, Recorder())
    assert made.images, "a run makes at least one picture"
    return made


def pixels(images: Sequence[Image.Image]) -> list[bytes]:
    """The bytes of each picture in RGB."""
    return [image.convert("RGB").tobytes() for image in images]
