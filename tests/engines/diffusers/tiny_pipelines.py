"""Tiny pipelines with random weights: nothing is downloaded, and the pictures are noise. What is real is the path:
class, safetensors, tokenizer, references, the loop, its callbacks, the VAE, the grid of sizes.

Made as seeds allow: the same seed gives the same weights. torch must be there when this is imported.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # so small that a second thread only waits

import torch

TORCHVISION_FOLDER = "TORCHVISION_FOLDER"
SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{{ c['text'] if c['type'] == 'text' else '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def torchvision_works() -> bool:
    """Whether torchvision can be imported: as installed, or from the folder that the environment names.

    A wheel built for CUDA beside a torch for the CPU lacks its compiled operators. The transforms are pure Python, so
    declaring the schemas of two operators is enough for tests. Must come before transformers and diffusers.
    """
    if (folder := os.environ.get(TORCHVISION_FOLDER)) and folder not in sys.path:
        sys.path.append(folder)
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            return False
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declare()
        importlib.import_module("torchvision")
    return True


def _declare() -> None:
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIVES.append(library)  # the schemas live as long as this object


_LIVES: list[Any] = []


def make(kind: str, folder: Path, *, seed: int = 0) -> Path:
    """Save a tiny pipeline of *kind* (a key of MAKERS) into *folder*."""
    torch.manual_seed(seed)
    MAKERS[kind]().save_pretrained(folder, safe_serialization=True)
    return folder


@contextmanager
def small_references(side: int = 64) -> Iterator[None]:
    """Let Qwen's and Joy's edit pipelines scale references to side x side, not about 1 MP: 0.1 s a run instead of 9."""
    module = importlib.import_module("diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus")
    buckets = importlib.import_module("diffusers.pipelines.joyimage.image_processor").BUCKETS
    before = module.VAE_IMAGE_SIZE, module.CONDITION_IMAGE_SIZE, buckets[1024]
    module.VAE_IMAGE_SIZE = module.CONDITION_IMAGE_SIZE = side * side
    buckets[1024] = [(side, side), (side, side * 3 // 2), (side * 3 // 2, side)]  # height, width
    try:
        yield
    finally:
        module.VAE_IMAGE_SIZE, module.CONDITION_IMAGE_SIZE, buckets[1024] = before


def tokenizer() -> Any:
    """Byte-level BPE: 256 byte symbols, no merges. Every string tokenises and nothing is unknown."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    vocab = {symbol: number for number, symbol in enumerate(sorted(ByteLevel.alphabet()))}
    made = Qwen2Tokenizer(vocab=vocab, merges=[], model_max_length=4096)
    made.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    made.chat_template = CHAT_TEMPLATE
    return made


def klein(*, distilled: bool) -> Any:
    """FLUX.2 klein. The text encoder keeps 28 layers because three of them, up to the 27th, are read."""
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )
    from transformers import Qwen3Config, Qwen3ForCausalLM

    words = tokenizer()
    text_encoder = Qwen3ForCausalLM(
        Qwen3Config(
            hidden_size=16, intermediate_size=32, num_hidden_layers=28, num_attention_heads=2, head_dim=8,
            num_key_value_heads=2, vocab_size=len(words) + 16, max_position_embeddings=1024,
        )
    )  # fmt: skip
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64
    )
    transformer = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=3 * 16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae.eval(), text_encoder=text_encoder.eval(), tokenizer=words, transformer=transformer.eval(),
        is_distilled=distilled,
    )  # fmt: skip


def qwen_edit_plus() -> Any:
    """Qwen-Image-Edit-2509/-2511. Patch 14, merge 2, three VAE downsamplings as in the real one: the /16 grid holds."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImageEditPlusPipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    words = tokenizer()
    images = Qwen2VLImageProcessor(
        min_pixels=56 * 56, max_pixels=28 * 28 * 1280, patch_size=14, temporal_patch_size=2, merge_size=2
    )
    processor = Qwen2VLProcessor(
        image_processor=images, tokenizer=words, video_processor=Qwen2VLVideoProcessor(), chat_template=CHAT_TEMPLATE
    )
    end = words.convert_tokens_to_ids("<|endoftext|>")
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}  # sums to head_dim / 2
    text_encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                "num_key_value_heads": 2, "vocab_size": len(words) + 16, "max_position_embeddings": 8192,
                "rope_parameters": rope, "bos_token_id": end, "eos_token_id": end, "pad_token_id": end,
            },
            vision_config={
                "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
                "patch_size": 14, "window_size": 112, "fullatt_block_indexes": [1], "spatial_merge_size": 2,
                "temporal_patch_size": 2,
            },
            **_vision_ids(words),
        )
    )  # fmt: skip
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, guidance_embeds=False, axes_dims_rope=(8, 4, 4),  # sums to attention_head_dim
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(
        base_shift=0.5, max_shift=0.9, base_image_seq_len=256, max_image_seq_len=8192, shift=1.0, shift_terminal=0.02,
        use_dynamic_shifting=True, time_shift_type="exponential",
    )  # fmt: skip
    return QwenImageEditPlusPipeline(
        scheduler=scheduler, vae=vae.eval(), text_encoder=text_encoder.eval(), tokenizer=words, processor=processor,
        transformer=transformer.eval(),
    )  # fmt: skip


def qwen_2_1() -> Any:
    """Qwen-Image-2.1: RGBA out, sizes floored to multiples of 32."""
    from diffusers import (
        AutoencoderKLQwenImage21,
        FlowMatchEulerDiscreteScheduler,
        QwenImage21Pipeline,
        QwenImage21Transformer2DModel,
    )

    text_encoder, processor = _qwen3_vl()
    vae = AutoencoderKLQwenImage21(
        base_dim=8, decoder_base_dim=8, z_dim=8, dim_mult=[1, 2, 2, 2, 2], num_res_blocks=1,
        latents_mean=[0.0] * 8, latents_std=[1.0] * 8,
    )  # fmt: skip
    transformer = QwenImage21Transformer2DModel(
        in_channels=8, out_channels=8, num_layers=2, attention_head_dim=16, num_attention_heads=2, context_in_dim=32,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    return QwenImage21Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=vae.eval(),
        text_encoder=text_encoder.eval(), processor=processor, transformer=transformer.eval(),
    )  # fmt: skip


def joy_edit_plus() -> Any:
    """JoyAI-Image-Edit-Plus: one sequence of patches, the picture's own first, then those of each reference."""
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        JoyImageEditPlusPipeline,
        JoyImageEditPlusTransformer3DModel,
    )

    text_encoder, processor = _qwen3_vl()
    vae = AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.1, 0.0, -0.1, 0.2], latents_std=[1.0, 2.0, 1.5, 1.0],
    )  # fmt: skip
    transformer = JoyImageEditPlusTransformer3DModel(
        in_channels=4, hidden_size=32, num_attention_heads=2, text_dim=32, num_layers=2,
        rope_dim_list=[4, 6, 6],  # sums to hidden_size / num_attention_heads
    )  # fmt: skip
    return JoyImageEditPlusPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.5), vae=vae.eval(), text_encoder=text_encoder.eval(),
        tokenizer=processor.tokenizer, transformer=transformer.eval(), processor=processor,
    )  # fmt: skip


def _qwen3_vl() -> tuple[Any, Any]:
    """A Qwen3-VL that reads prompts and pictures, and its processor."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    words = tokenizer()
    images = Qwen2VLImageProcessor(
        patch_size=16, temporal_patch_size=2, merge_size=2, min_pixels=32 * 32, max_pixels=1024 * 1024
    )
    processor = Qwen3VLProcessor(
        image_processor=images, tokenizer=words, video_processor=Qwen3VLVideoProcessor(), chat_template=CHAT_TEMPLATE
    )
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [2, 3, 3], "mrope_interleaved": True}
    text_encoder = Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(
            text_config={
                "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2,
                "head_dim": 16, "num_key_value_heads": 2, "vocab_size": len(words) + 16, "rope_parameters": rope,
            },
            vision_config={
                "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
                "patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
            },
            **_vision_ids(words),
        )
    )  # fmt: skip
    return text_encoder, processor


def _vision_ids(words: Any) -> dict[str, int]:
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    keys = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return {key: words.convert_tokens_to_ids(f"<|{name}|>") for key, name in zip(keys, names, strict=True)}


MAKERS: dict[str, Callable[[], Any]] = {
    "klein-base": lambda: klein(distilled=False),
    "klein-distilled": lambda: klein(distilled=True),
    "qwen-edit-plus": qwen_edit_plus,
    "qwen-2.1": qwen_2_1,
    "joy-edit-plus": joy_edit_plus,
}
