"""The engine that runs open weights in its own process, by the diffusers library."""

import logging
from typing import Any

from PIL import Image

from gesso.core.errors import ConfigError, EngineFailed
from gesso.core.inputs import Inputs, Size, to_size
from gesso.core.ports import Abilities, Made, Report
from gesso.engines.diffusers import calls, memory, pipeline, weights
from gesso.engines.diffusers.calls import Work
from gesso.engines.diffusers.options import Options
from gesso.engines.diffusers.previews import DECODERS, Previews

ON_A_GPU = ("1024x1024", "1200x800")  # two shapes: the second one tells the compiler that sizes vary
NEGATIVES_KEPT = 32
SLOW_STEP_S = 900.0
log = logging.getLogger(__name__)


class DiffusersEngine:
    """A pipeline of diffusers in our process: seed, steps, progress, previews, and stopping at any step.

    The same seed, inputs and options give the same pixels on the same device and versions; with `speed` other than
    "exact" nearly so. Options: see `options.Options`.
    """

    def __init__(self, **options: Any) -> None:
        self._options = Options(**options)
        self._pipe: Any = None
        self._device: Any = None
        self._weights: weights.Weights
        self._place: memory.Place = "resident"
        self._fast: tuple[str, ...] = ()
        self._held = 0
        self._negatives: dict[str, Any] = {}

    @property
    def abilities(self) -> Abilities:
        """What the weights allow, once they are loaded."""
        if self._pipe is None:
            return Abilities(name="diffusers", progress=True, stop=True)
        options, found = self._options, self._weights
        todo = self._work(Inputs())
        return Abilities(
            name="diffusers", weights=found.label, licence=self._licence, max_images=found.call.most_images,
            negative_prompt=todo.negative, seed="exact" if options.speed == "exact" else "best_effort",
            size_multiple=found.call.grid, progress=True, stop=True,
            preview=options.preview_every > 0 and found.class_name in DECODERS, step_s=self._slowest_step_s,
        )  # fmt: skip

    def load(self) -> None:
        """Find the weights, judge them, and lay them where they fit.

        Raises:
            ConfigError: when options, files, packages or memory do not allow it; says what would be right.
        """
        options = self._options
        options.judge()
        pipeline.prepare(local_files_only=options.local_files_only)
        label = weights.label_of(options.model)
        folder = weights.find(options.model, options.revision, local_files_only=options.local_files_only)
        self._look_at(weights.read(folder, label))
        self._adopt(pipeline.read(self._weights, options))
        log.info("loaded %s (%s), licence %s, %s", label, self._weights.class_name, self._licence, self._place)
        if self._licence.lower() not in weights.PERMISSIVE:
            log.warning("the licence of %s is %s: read it before you use its pictures", label, self._licence)

    def adopt(self, pipe: Any, found: weights.Weights) -> None:
        """Take over a pipeline that is in memory already, instead of loading one: for benchmarks."""
        self._options.judge()
        self._look_at(found)
        self._adopt(pipe)

    def run(self, inputs: Inputs, report: Report) -> Made:
        """Make the picture, one report after each step.

        Raises:
            EngineFailed: for the number of images, for memory, or when the model computes no numbers.
            Stopped: let through from *report*; the same request gives the same picture afterwards.
        """
        todo = self._work(inputs)
        self._admit(inputs, todo)
        report(0, todo.steps)
        image = _finished(self._made(inputs, todo, report), inputs.size)
        report(todo.steps, todo.steps)
        return Made([image], self._notes(inputs, todo))

    def close(self) -> None:
        """Let go of the weights; twice is safe."""
        self._pipe = None
        self._negatives.clear()

    def _look_at(self, found: weights.Weights) -> None:
        """Choose device and place for *found*; raises ConfigError when it does not fit."""
        self._weights = found
        pipeline.imported(found.call)
        self._device = pipeline.device_of(self._options.device)
        self._judge_speed()
        self._place, self._held = self._chosen()

    def _adopt(self, pipe: Any) -> None:
        """Make *pipe* ready: its schedule, its place, its speed, and a first picture."""
        options, call = self._options, self._weights.call
        self._few_steps(pipe)
        pipeline.pack(pipe, options)
        pipeline.place(pipe, self._place, self._device)
        compiles = self._device.type == "cuda" and self._place != "group_offload"
        self._fast = pipeline.quicken(pipe, call, options.speed, self._work(Inputs()).steps, compiles=compiles)
        pipeline.remember_references(pipe, call)
        self._pipe = pipe
        self._warm_up()

    def _made(self, inputs: Inputs, todo: Work, report: Report) -> Image.Image:
        import torch  # noqa: PLC0415 - the server is imported without it

        told = calls.arguments(self._weights.call, inputs, todo)
        told["generator"] = torch.Generator("cpu").manual_seed(inputs.seed)  # the CPU's numbers are every device's
        told["callback_on_step_end"] = self._steps(told, report)
        try:
            if todo.negative == "embeddings" and inputs.negative_prompt:
                told["negative_prompt_embeds"] = self._embedded(inputs.negative_prompt)
            image: Image.Image = self._pipe(**told).images[0]
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise EngineFailed(reason=f"the GPU's memory did not suffice for {inputs.size}") from None
        finally:
            # After a stop, too: offloaded parts go back, and the step cache forgets what this run put into it.
            self._pipe.maybe_free_model_hooks()
        return image

    def _steps(self, told: dict[str, Any], report: Report) -> Any:
        """What the pipeline calls after each step; raising from it is the only way to stop it that stops at once."""
        every = self._options.preview_every if type(self._pipe).__name__ in DECODERS else 0
        previews = Previews(self._pipe, Size(told["width"], told["height"]), every)

        def step(pipe: Any, index: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            done, of = index + 1, pipe.num_timesteps
            if done == of and not tensors["latents"].isfinite().all():
                raise EngineFailed(reason="the model computed no numbers; more steps or another precision may help")
            report(done, of, previews.after(done, tensors["latents"]) if done < of else None)
            return tensors

        return step

    def _work(self, inputs: Inputs) -> Work:
        """The steps and guidance of this request: its own, else the options', else the authors'."""
        options = self._options
        few = options.merged[-1] if options.speed == "fast" and options.few_steps else None
        steps = inputs.extra.get("steps") or options.steps or (few.steps if few else None)
        guidance = inputs.extra.get("guidance", options.guidance)
        return calls.work(self._weights.call, steps, few.guidance if few and guidance is None else guidance)

    def _admit(self, inputs: Inputs, todo: Work) -> None:
        count, most = len(inputs.images), self._weights.call.most_images
        if not 1 <= count <= most:
            raise EngineFailed(reason=f"1 to {most} images are taken, not {count}")
        pixels = [image.width * image.height for image in inputs.images]
        needed = self._appetite.bytes(inputs.size, pixels, guided=todo.scale > 1)
        free = pipeline.free_bytes(self._device, self._options.memory_limit_gb, held=self._held)
        memory.admit(needed, free, inputs.size, count)

    def _chosen(self) -> tuple[memory.Place, int]:
        """Where the weights go, and how many bytes of the device they take there."""
        options = self._options
        footprint = memory.footprint(self._weights.parts, options.precision)
        free = pipeline.free_bytes(self._device, options.memory_limit_gb)
        wanted = "resident" if self._device.type != "cuda" and options.memory == "auto" else options.memory
        worst = self._appetite.worst(guided=self._work(Inputs()).scale > 1)
        place = memory.choose(wanted, footprint, worst, free)
        return place, footprint.on_device(place)

    @property
    def _appetite(self) -> memory.Appetite:
        found = self._weights
        element = 4 if self._options.precision == "fp32" else 2
        return memory.Appetite(found.call, found.hidden, found.vae_width, element)

    @property
    def _slowest_step_s(self) -> float | None:
        """How long a step may take: on a CPU, or when the compiler meets a new size, longer than usual."""
        return SLOW_STEP_S if self._device.type == "cpu" or "compiled_blocks" in self._fast else None

    @property
    def _licence(self) -> str:
        return self._options.licence or self._weights.licence or "unknown"

    def _judge_speed(self) -> None:
        if self._options.speed == "fast" and not self._options.few_steps and self._weights.call.steps > 8:
            raise ConfigError(
                reason="speed = 'fast' needs a few-step LoRA as few_steps, or a model that was distilled; "
                "'balanced' needs neither"
            )

    def _few_steps(self, pipe: Any) -> None:
        """Give a few-step LoRA the schedule that it was distilled with."""
        if self._options.speed == "fast" and self._options.few_steps and self._weights.call.few_steps:
            config = pipe.scheduler.config
            pipe.scheduler = type(pipe.scheduler).from_config(config, **self._weights.call.few_steps)

    def _embedded(self, negative_prompt: str) -> Any:
        """The embeddings of a negative prompt, which is mostly the same one."""
        import torch  # noqa: PLC0415 - the server is imported without it

        if negative_prompt not in self._negatives:
            if len(self._negatives) >= NEGATIVES_KEPT:
                self._negatives.clear()
            with torch.no_grad():
                device = self._pipe._execution_device
                self._negatives[negative_prompt] = self._pipe.encode_prompt(prompt=negative_prompt, device=device)[0]
        return self._negatives[negative_prompt]

    def _warm_up(self) -> None:
        """Make a picture of each size that will be asked for: what is compiled or tuned at first use is so now."""
        sizes = self._options.warm_up
        if sizes is None:
            sizes = ON_A_GPU if self._device.type == "cuda" else ()
        grey = Image.new("RGB", (512, 512), "grey")
        for size in map(to_size, sizes):
            steps = max(2, self._weights.call.least_steps)
            self.run(Inputs(images=(grey,), prompt="grey", size=size, extra={"steps": steps}), _Nobody())

    def _notes(self, inputs: Inputs, todo: Work) -> dict[str, Any]:
        """What a result's metadata says of a run."""
        options = self._options
        lost = bool(inputs.negative_prompt.strip()) and todo.negative == "ignored"
        return {
            "pipeline": self._weights.class_name,
            "steps": todo.steps,
            "guidance": todo.scale,
            "speed": options.speed,
            "speed_by": list(self._fast),
            "precision": options.precision,
            "memory": self._place,
            "loras": [weights.label_of(lora.path) for lora in options.merged],
            "negative_prompt": todo.negative,
            **({"prompt_extend": "ignored"} if inputs.expand_prompt else {}),
            "warnings": ["negative_prompt_ignored"] if lost else [],
        }


def _finished(image: Image.Image, size: Size) -> Image.Image:
    """*image* without alpha, on white, and cropped to the middle where more was rendered than asked for.

    Raises:
        EngineFailed: when the pipeline made it smaller than asked.
    """
    if image.mode != "RGB":
        solid = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", solid.size, "white"), solid).convert("RGB")
    left, top = (image.width - size.width) // 2, (image.height - size.height) // 2
    if left < 0 or top < 0:
        raise EngineFailed(reason=f"the model made {image.width}x{image.height} instead of {size}")
    return image.crop((left, top, left + size.width, top + size.height))


class _Nobody:
    """Hears of the steps of warm-up runs."""

    def __call__(self, step: int, of: int, preview: Image.Image | None = None) -> None:
        """Says nothing."""

    def remember(self, text: str) -> None:
        """Keeps nothing."""
