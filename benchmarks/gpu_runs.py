"""The runs of gpu_edit.py: a pipeline under one speed, by the engine and bare, in turns. Needs torch."""

import argparse
import gc
import importlib.util
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import architectures
import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from tables import table

from gesso.core.inputs import Inputs, Size
from gesso.engines.diffusers.engine import DiffusersEngine
from gesso.testing import Recorder

SIZE, TINY_SIZE, TINY_STEPS = 1024, 64, 14
PROMPT = "Put the person of image 1 onto the beach of image 2, in warm evening light, seen from afar."


def words(*, tiny: bool) -> str:
    """The hardware and the versions under the figures."""
    device = "CPU, TINY ARCHITECTURES: these figures say nothing" if tiny else torch.cuda.get_device_name()
    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}, transformers {transformers.__version__}"
    return f"{device}; {versions}, Python {platform.python_version()}"


def measure(name: str, told: argparse.Namespace) -> str:
    """The table of one architecture."""
    if name in architectures.NEEDS_TORCHVISION and importlib.util.find_spec("torchvision") is None:
        return "Not measured: torchvision is not installed."
    rows = []
    bare_s = 0.0
    for speed in ("exact", "balanced", "fast"):
        bench = Bench(name, speed, told)
        bench.warm_up()
        pairs: list[tuple[str, Callable[[int], float]]] = [(f"engine, {speed}", bench.engine_s)]
        if speed == "exact":
            pairs.insert(0, ("bare diffusers loop", bench.bare_s))
        spent: dict[str, list[float]] = {label: [] for label, _ in pairs}
        for turn in range(told.rounds):
            for label, run in pairs:
                spent[label].append(run(turn))
        for label, seconds in spent.items():
            bare_s = bare_s or median(seconds)
            rows.append(bench.row(label, median(seconds), bare_s))
        bench.close()
    return table(["", "steps", "s an image", "images/s", "times the bare loop", "blocks run", "peak GB"], rows)


class Bench:
    """One pipeline under one speed, by the engine and bare."""

    def __init__(self, name: str, speed: str, told: argparse.Namespace) -> None:
        self._told = told
        self._device = "cpu" if told.tiny else "cuda"
        self._side = TINY_SIZE if told.tiny else SIZE
        pipe, found = architectures.build(name, "tiny" if told.tiny else "full", self._device)
        # The LoRA is merged into the weights while loading: here there is none, and nothing is different.
        few = {"path": "none", "steps": 4, "guidance": 1.0} if found.call.steps > 8 else None
        tiny_steps = TINY_STEPS if told.tiny and found.call.steps > 8 and speed != "fast" else None
        self._engine = DiffusersEngine(
            model="random",
            speed=speed,
            few_steps=few,
            device=self._device,
            licence="none",
            warm_up=[],
            steps=tiny_steps,
        )
        self._engine.adopt(pipe, found)
        self._pipe, self._call = pipe, found.call
        self._blocks = _counted(pipe.transformer)

    def warm_up(self) -> None:
        """Compile and tune, then forget what that took."""
        self.engine_s(1000)
        self.engine_s(1001)
        self._blocks["run"] = self._blocks["asked"] = 0
        if self._device == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def engine_s(self, turn: int) -> float:
        """Seconds for one picture by the engine."""
        inputs = self._inputs(turn * 2)
        began = self._now()
        self._engine.run(inputs, Recorder())
        return self._now() - began

    def bare_s(self, turn: int) -> float:
        """Seconds for one picture by the pipeline as its documentation calls it."""
        inputs, todo = self._inputs(turn * 2 + 1), self._engine._work(self._inputs(0))
        told = {
            self._call.images: list(inputs.images), "prompt": inputs.prompt, "width": self._side, "height": self._side,
            "num_inference_steps": todo.steps, "generator": torch.Generator("cpu").manual_seed(inputs.seed),
        }  # fmt: skip
        if self._call.guidance:
            told[self._call.guidance] = todo.scale
        if todo.negative == "native":
            told["negative_prompt"] = inputs.negative_prompt
        began = self._now()
        self._pipe(**told)
        return self._now() - began

    def row(self, label: str, seconds: float, bare_s: float) -> list[object]:
        """One line of the table."""
        share = self._blocks["run"] / max(self._blocks["asked"], 1)
        peak = torch.cuda.max_memory_allocated() / 1e9 if self._device == "cuda" else 0
        steps = self._engine._work(self._inputs(0)).steps
        return [label, steps, f"{seconds:.3f}", f"{1 / seconds:.2f}", f"{bare_s / seconds:.3f}", f"{share:.0%}",
                f"{peak:.1f}" if peak else "-"]  # fmt: skip

    def close(self) -> None:
        """Give the memory back before the next one is built."""
        self._engine.close()
        del self._pipe, self._engine
        gc.collect()
        if self._device == "cuda":
            torch.cuda.empty_cache()

    def _inputs(self, number: int) -> Any:
        """A request with references that nobody has seen, made before the clock starts."""
        draw = np.random.default_rng(number)
        shape = (self._side, self._side, 3)
        images = tuple(
            Image.fromarray(draw.integers(0, 255, shape, dtype=np.uint8)) for _ in range(self._told.references)
        )
        return Inputs(images, PROMPT, "blur, low quality", Size(self._side, self._side), seed=number)

    def _now(self) -> float:
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def _counted(transformer: Any) -> dict[str, int]:
    """How many of the last blocks were asked for, and how many did any work: what a step cache leaves out."""
    lists = [each for each in transformer.children() if type(each).__name__ == "ModuleList" and len(each) > 1]
    last, counts = lists[-1][-1], {"asked": 0, "run": 0}
    inner = next(each for each in last.modules() if type(each).__name__ == "Linear")
    transformer.register_forward_hook(lambda *_: counts.update(asked=counts["asked"] + 1))
    inner.register_forward_hook(lambda *_: counts.update(run=counts["run"] + 1))
    return counts
