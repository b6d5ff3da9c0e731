"""Remembers what references were encoded to. A reference comes again with each variation that somebody tries."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

Encode = Callable[..., Any]
MOST_BYTES = 256 * 2**20  # a 1 MP reference takes about half a megabyte


class Memo:
    """An encoder of pictures that encodes none twice.

    Only for one that takes the mode of the VAE's distribution, as the pipelines of `calls` with `memo` do: what it
    gives depends on the picture alone, not on the generator.

    Attributes:
        hits, misses: how often the picture was known, and was not.
    """

    def __init__(self, encode: Encode, most_bytes: int = MOST_BYTES) -> None:
        self.hits = self.misses = 0
        self._encode, self._most_bytes, self._bytes = encode, most_bytes, 0
        self._kept: OrderedDict[bytes, Any] = OrderedDict()

    def __call__(self, image: Any, generator: Any = None) -> Any:
        """The latents of *image*, a tensor; *generator* is passed on, and must not matter."""
        key = _digest(image)
        if key in self._kept:
            self.hits += 1
            self._kept.move_to_end(key)
            return self._kept[key].clone()
        self.misses += 1
        latents = self._encode(image=image, generator=generator)
        self._keep(key, latents.clone())
        return latents

    def _keep(self, key: bytes, latents: Any) -> None:
        self._kept[key] = latents
        self._bytes += latents.nbytes
        while self._bytes > self._most_bytes and self._kept:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes


def _digest(image: Any) -> bytes:
    """What tells *image* from others: its numbers, its shape and its type."""
    import torch  # noqa: PLC0415 - this room is read without it

    flat = image.detach().contiguous().cpu().view(torch.uint8)
    words = f"{tuple(image.shape)} {image.dtype} ".encode()
    return hashlib.blake2b(words + flat.numpy().tobytes(), digest_size=16).digest()
