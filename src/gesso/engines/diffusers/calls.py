"""How each class of diffusers pipelines is called: one table, and the arguments that follow from it. No torch.

Read off the signatures of diffusers 0.42.1; a test holds the table against the signatures of the installed version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from gesso.core.inputs import Inputs, Size


@dataclass(frozen=True, slots=True)
class Call:
    """How one class is called.

    Attributes:
        images: its argument for the references, as a list in their order.
        most_images: how many references it was trained for.
        negative: how a negative prompt goes in, where guidance is above 1.
        guidance: its argument for classifier-free guidance; empty: it has none.
        scale, steps: what its authors recommend.
        least_steps: with fewer the picture is black or noise.
        grid: output sides are multiples of this.
        reference_area: pixels that a larger reference is scaled to; a smaller one too where `scales_up`.
        cached_blocks: lists of transformer blocks that First-Block Cache may go over; empty: it cannot.
        batches_guidance: whether both halves of guidance run as one batch, which takes twice the memory.
        block_states, vae_states: how many tensors live at once in a block and in the VAE, as `memory` counts them.
        memo: whether `_encode_vae_image` encodes the references, one after another.
        needs_torchvision: whether its processor does.
        more: arguments that are always given.
        few_steps: settings of the scheduler under a few-step LoRA.
    """

    images: str = "image"
    most_images: int = 3
    negative: Literal["native", "embeddings", "ignored"] = "native"
    guidance: str = "true_cfg_scale"
    scale: float = 4.0
    steps: int = 50
    least_steps: int = 1
    grid: int = 16
    reference_area: int = 1024 * 1024
    scales_up: bool = False
    cached_blocks: tuple[str, ...] = ()
    batches_guidance: bool = False
    block_states: int = 18
    vae_states: int = 20
    memo: bool = True
    needs_torchvision: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)
    few_steps: Mapping[str, Any] = field(default_factory=dict)


# From the card of lightx2v/Qwen-Image-Lightning: distilled with shift 3, and without stretching to a terminal sigma.
LIGHTNING = {"base_shift": 1.0986122886681098, "max_shift": 1.0986122886681098, "shift_terminal": None}

Flux2 = partial(Call, block_states=24, vae_states=8)

CALLS: dict[str, Call] = {
    "QwenImageEditPlusPipeline": Call(
        steps=40, least_steps=2, scales_up=True, cached_blocks=("transformer_blocks",), needs_torchvision=True,
        few_steps=LIGHTNING,
    ),
    "QwenImage21Pipeline": Call(
        most_images=10, scale=1.0, steps=40, least_steps=2, grid=32, scales_up=True, memo=False,
        needs_torchvision=True,
    ),
    # First-Block Cache cannot start in Flux's double blocks and end in its single ones (they return different things:
    # a TypeError in diffusers 0.42.1), so it goes over the single ones only.
    "Flux2KleinPipeline": Flux2(
        negative="embeddings", guidance="guidance_scale", cached_blocks=("single_transformer_blocks",)
    ),
    "Flux2KleinKVPipeline": Flux2(negative="ignored", guidance="", steps=4),
    "Flux2Pipeline": Flux2(
        negative="ignored", guidance="guidance_scale", cached_blocks=("single_transformer_blocks",)
    ),
    "JoyImageEditPlusPipeline": Call(
        images="images", most_images=5, guidance="guidance_scale", steps=30, scales_up=True,
        batches_guidance=True, memo=False, needs_torchvision=True,
    ),
    "BriaFibo2Pipeline": Call(most_images=5, guidance="guidance_scale", scale=5.0, steps=30, memo=False),
}  # fmt: skip
DISTILLED_KLEIN = Flux2(negative="ignored", guidance="guidance_scale", scale=1.0, steps=4)


def call_of(index: Mapping[str, Any]) -> Call | None:
    """The row for a pipeline's model_index.json; None where there is none."""
    name = str(index.get("_class_name"))
    if name == "Flux2KleinPipeline" and index.get("is_distilled"):
        return DISTILLED_KLEIN
    return CALLS.get(name)


@dataclass(frozen=True, slots=True)
class Work:
    """What one run asks of a pipeline: how many steps, how much guidance, and what becomes of the negative prompt."""

    steps: int
    scale: float
    negative: Literal["native", "embeddings", "ignored"]


def work(call: Call, steps: int | None, scale: float | None) -> Work:
    """The work with what was asked; None: as the authors recommend. Never so few steps that the picture is lost."""
    wanted = call.scale if scale is None or not call.guidance else scale
    negative = call.negative if wanted > 1 else "ignored"
    return Work(max(call.steps if steps is None else steps, call.least_steps), wanted, negative)


def rendered(call: Call, size: Size) -> Size:
    """What is rendered for *size*: the next multiples up. Pipelines round down by themselves, and say nothing."""
    return Size(-(-size.width // call.grid) * call.grid, -(-size.height // call.grid) * call.grid)


def plain(text: str) -> str:
    """*text* without what would be read as a mark of the model's own: a place for one more picture is an error."""
    return text.replace("<|", "< |").replace("<image>\n", "<image>")


def arguments(call: Call, inputs: Inputs, todo: Work) -> dict[str, Any]:
    """The keyword arguments that need no torch; without generator, callback and embeddings.

    Width and height are always given: without them the size would follow the last reference.
    """
    size = rendered(call, inputs.size)
    told: dict[str, Any] = {
        call.images: list(inputs.images),
        "prompt": plain(inputs.prompt),
        "width": size.width,
        "height": size.height,
        "num_inference_steps": todo.steps,
        **call.more,
    }
    if call.guidance:
        told[call.guidance] = todo.scale
    if todo.negative == "native":
        told["negative_prompt"] = plain(inputs.negative_prompt) or " "  # without one, guidance is silently off
    return told
