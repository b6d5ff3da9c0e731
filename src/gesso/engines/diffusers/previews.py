"""What a picture will be, in the midst of its making: what noise is still in it is taken out; shown small.

With flow matching the noise lies on a straight line: two neighbouring steps give its direction, and where it leads.
"""

from collections.abc import Callable
from typing import Any

from PIL import Image

from gesso.core.inputs import Size

SIDE = 256
SPATIAL = 8  # pixels for one latent, along a side

Decode = Callable[[Any, Any, Size], Image.Image]


class Previews:
    """The previews of one run of *pipe*, which renders *size*; one after each *every* steps, from the second on."""

    def __init__(self, pipe: Any, size: Size, every: int) -> None:
        self._pipe, self._size, self._every = pipe, size, every
        self._before: Any = None

    def after(self, step: int, latents: Any) -> Image.Image | None:
        """The preview after *step* (from 1), where one is due. Must hear of each step."""
        before, self._before = self._before, latents
        if before is None or not self._every or step % self._every:
            return None
        was, now = (float(each) for each in self._pipe.scheduler.sigmas[step - 1 : step + 1])
        if was == now:
            return None
        clean = latents - now * (latents - before) / (now - was)
        return DECODERS[type(self._pipe).__name__](self._pipe, clean.to(latents.dtype), self._size)


def _flux2(pipe: Any, latents: Any, size: Size) -> Image.Image:
    """Flux 2: rows of 2 x 2 patches, whitened by the VAE's batch norm."""
    height, width = size.height // (SPATIAL * 2), size.width // (SPATIAL * 2)
    grid = latents.reshape(1, height, width, -1).permute(0, 3, 1, 2)
    norm = pipe.vae.bn
    mean, spread = norm.running_mean, (norm.running_var + pipe.vae.config.batch_norm_eps) ** 0.5
    grid = grid * spread.view(1, -1, 1, 1).to(grid) + mean.view(1, -1, 1, 1).to(grid)
    small = _small(pipe._unpatchify_latents(grid))
    return _picture(pipe, pipe.vae.decode(small.to(pipe.vae.dtype), return_dict=False)[0])


def _qwen(pipe: Any, latents: Any, size: Size) -> Image.Image:
    """Qwen-Image: packed patches of one frame of a video's latents, whitened by its own table."""
    return _of_a_frame(pipe, pipe._unpack_latents(latents, size.height, size.width, pipe.vae_scale_factor))


def _joy(pipe: Any, latents: Any, size: Size) -> Image.Image:
    """JoyImage: the picture's own patches come first, then those of the references; they are whitened as Qwen's."""
    height, width = size.height // (SPATIAL * 2), size.width // (SPATIAL * 2)
    own = latents[0, : height * width, :, 0]  # patch, channel, row, column
    rows = own.unflatten(0, (height, width)).permute(2, 0, 3, 1, 4)
    return _of_a_frame(pipe, rows.reshape(1, -1, 1, height * 2, width * 2))


DECODERS: dict[str, Decode] = {
    "Flux2KleinPipeline": _flux2,
    "Flux2Pipeline": _flux2,
    "JoyImageEditPlusPipeline": _joy,
    "QwenImageEditPlusPipeline": _qwen,
}
"""The classes that previews are known for."""


def _of_a_frame(pipe: Any, frame: Any) -> Image.Image:
    """The picture of *frame* (1, C, 1, H, W), of a VAE for videos that are one frame long."""
    config = pipe.vae.config
    mean, spread = (frame.new_tensor(each).view(1, -1, 1, 1, 1) for each in (config.latents_mean, config.latents_std))
    small = _small((frame * spread + mean)[:, :, 0]).unsqueeze(2)
    return _picture(pipe, pipe.vae.decode(small.to(pipe.vae.dtype), return_dict=False)[0][:, :, 0])


def _small(latents: Any) -> Any:
    """*latents* (1, C, H, W) with so few of them that the picture's longer side is about SIDE."""
    from torch.nn.functional import interpolate  # noqa: PLC0415 - this room is read without it

    scale = SIDE / SPATIAL / max(latents.shape[-2:])
    return interpolate(latents, scale_factor=scale, mode="area") if scale < 1 else latents


def _picture(pipe: Any, decoded: Any) -> Image.Image:
    image: Image.Image = pipe.image_processor.postprocess(decoded.detach(), output_type="pil")[0]
    return image.convert("RGB")
