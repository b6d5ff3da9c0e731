"""Edit pipelines at full size with random weights, built where they run; and at a tiny size, to try the code.

Speed does not depend on the weights (but for step caches, see gpu_edit.py). The tokenizer is one of bytes, because the
real one is a download: a prompt has about four times as many tokens as it would have.
"""

import json
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from gesso.engines.diffusers.calls import call_of
from gesso.engines.diffusers.weights import Weights, hidden_of, vae_width_of

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


@dataclass(frozen=True)
class Sizes:
    """The numbers of one architecture: keyword arguments of transformer, text encoder and VAE."""

    transformer: dict[str, Any]
    text: dict[str, Any]
    vision: dict[str, Any]
    vae: dict[str, Any]


KLEIN = {
    "full": Sizes(
        {"num_layers": 5, "num_single_layers": 20, "attention_head_dim": 128, "num_attention_heads": 24,
         "joint_attention_dim": 7680, "guidance_embeds": False},
        {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32,
         "head_dim": 128, "num_key_value_heads": 8, "vocab_size": 151936, "tie_word_embeddings": True},
        {}, {},
    ),
    "tiny": Sizes(
        {"in_channels": 16, "num_layers": 1, "num_single_layers": 3, "attention_head_dim": 16,
         "num_attention_heads": 2, "joint_attention_dim": 48, "axes_dims_rope": (4, 4, 4, 4), "guidance_embeds": False},
        {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 28, "num_attention_heads": 2, "head_dim": 8,
         "num_key_value_heads": 2, "vocab_size": 512},
        {}, {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4},
    ),
}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 1e6}
QWEN = {
    "full": Sizes(
        {"num_layers": 60, "zero_cond_t": True},
        {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
         "num_key_value_heads": 4, "vocab_size": 152064, "rope_parameters": {**ROPE, "mrope_section": [16, 24, 24]}},
        {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
         "patch_size": 14, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]},
        {},
    ),
    "tiny": Sizes(
        {"in_channels": 16, "out_channels": 4, "num_layers": 3, "attention_head_dim": 16, "num_attention_heads": 2,
         "joint_attention_dim": 32, "axes_dims_rope": (8, 4, 4)},
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 2, "vocab_size": 512, "rope_parameters": {**ROPE, "mrope_section": [2, 3, 3]}},
        {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
         "patch_size": 14, "window_size": 112, "fullatt_block_indexes": [1]},
        {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1, "latents_mean": [0.0] * 4,
         "latents_std": [1.0] * 4},
    ),
}  # fmt: skip


def klein(sizes: Sizes, *, distilled: bool) -> Any:
    """FLUX.2 klein."""
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=AutoencoderKLFlux2(**sizes.vae).eval(),
        text_encoder=Qwen3ForCausalLM(Qwen3Config(**sizes.text)).eval(),
        tokenizer=tokenizer(),
        transformer=Flux2Transformer2DModel(**sizes.transformer).eval(),
        is_distilled=distilled,
    )


def qwen(sizes: Sizes) -> Any:
    """Qwen-Image-Edit-2511."""
    words = tokenizer()
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    keys = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    ids = {key: words.convert_tokens_to_ids(f"<|{name}|>") for key, name in zip(keys, names, strict=True)}
    config = Qwen2_5_VLConfig(text_config=sizes.text, vision_config=sizes.vision, **ids)
    images = Qwen2VLImageProcessor(patch_size=14, temporal_patch_size=2, merge_size=2)
    return QwenImageEditPlusPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            base_shift=0.5, max_shift=0.9, base_image_seq_len=256, max_image_seq_len=8192, shift=1.0,
            shift_terminal=0.02, use_dynamic_shifting=True, time_shift_type="exponential",
        ),
        vae=AutoencoderKLQwenImage(**sizes.vae).eval(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=words,
        processor=Qwen2VLProcessor(
            image_processor=images, tokenizer=words, video_processor=Qwen2VLVideoProcessor(), chat_template=TEMPLATE
        ),
        transformer=QwenImageTransformer2DModel(**sizes.transformer).eval(),
    )  # fmt: skip


BUILDERS: dict[str, Callable[[str], Any]] = {
    "klein-4b": lambda size: klein(KLEIN[size], distilled=True),
    "klein-base-4b": lambda size: klein(KLEIN[size], distilled=False),
    "qwen-edit-2511": lambda size: qwen(QWEN[size]),
}
NEEDS_TORCHVISION = {"qwen-edit-2511"}


def build(name: str, size: str, device: str) -> tuple[Any, Weights]:
    """The pipeline *name* in bf16 on *device*, and what the engine would know of its folder."""
    torch.manual_seed(0)
    with torch.device(device), default_dtype(torch.bfloat16):
        pipe = BUILDERS[name](size)
    pipe.set_progress_bar_config(disable=True)
    parts = {
        part: sum(each.numel() for each in module.parameters())
        for part, module in pipe.components.items()
        if isinstance(module, torch.nn.Module)
    }
    index = {"_class_name": type(pipe).__name__, "is_distilled": pipe.config.get("is_distilled", False)}
    call = call_of(index)
    assert call is not None
    widths = hidden_of(pipe.transformer.config), vae_width_of(pipe.vae.config)
    return pipe, Weights(Path(), f"{name}, {size}, random", type(pipe).__name__, call, parts, *widths, "none")


@contextmanager
def default_dtype(dtype: Any) -> Any:
    """New tensors have *dtype*: weights are never there twice, nor in fp32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def tokenizer() -> Any:
    """Byte-level BPE without merges: every string tokenises, and nothing is fetched."""
    vocab = {symbol: number for number, symbol in enumerate(sorted(ByteLevel.alphabet()))}
    made = Qwen2Tokenizer(vocab=vocab, merges=[], model_max_length=4096)
    made.add_special_tokens({"additional_special_tokens": SPECIAL})
    made.chat_template = TEMPLATE
    return made


if __name__ == "__main__":  # parameters of each, counted without building them
    with torch.device("meta"):
        for each in sys.argv[1:] or BUILDERS:
            modules = BUILDERS[each]("full").components.items()
            counts = {
                name: sum(weight.numel() for weight in module.parameters())
                for name, module in modules
                if isinstance(module, torch.nn.Module)
            }
            print(each, json.dumps(counts))
