"""Pictures to blobs and back: judged and frozen on the way in, decoded for a run, encoded on the way out."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from PIL import Image

from gesso.core.pictures import Facts, Kept, Validation
from gesso.core.ports import Blobs
from gesso.files.blobs import new_key
from gesso.files.decoder import Decoder
from gesso.files.images import encode_png

EXTENSIONS = {"jpeg": "jpg"}
Finish = Callable[[bytes], Awaitable[bytes]]


class Shelf:
    """Keeps pictures in *blobs*; foreign bytes are opened by *decoder* only."""

    def __init__(self, blobs: Blobs, decoder: Decoder) -> None:
        self.blobs = blobs
        self._decoder = decoder

    async def judge(self, data: bytes, validations: Sequence[Validation] = ()) -> Facts:
        """What is known of a picture's file, once every pixel of it was decoded.

        Raises:
            PictureFault: when it breaks a rule or is no picture.
        """
        return await self._decoder.inspect(data, validations)

    async def keep(self, data: bytes, facts: Facts, *, kind: str = "input", expires_at: datetime | None = None) -> Kept:
        """Keep a judged picture's file as it came; durable on return."""
        key = new_key()  # without an extension it has no URL but ours: foreign bytes go out under our headers only
        name = f"{key}.{EXTENSIONS.get(facts.format, facts.format)}"
        sha256 = await self.blobs.put(key, data)
        return Kept(key, kind, name, f"image/{facts.format}", len(data), sha256, expires_at)

    async def read(self, key: str, sha256: str | None) -> bytes:
        """The bytes of a blob.

        Raises:
            ResourceNotFound: when there is none.
            BlobDamaged: when they are no longer those of *sha256*.
        """
        return await self.blobs.read(key, sha256)

    async def decode(self, key: str, sha256: str | None) -> Image.Image:
        """A frozen picture in canonical form: upright, RGB; raises as `read`."""
        return await self._decoder.decode(await self.read(key, sha256))

    async def keep_png(
        self, name: str, image: Image.Image, text: Mapping[str, str] | None = None, sign: Finish | None = None
    ) -> Kept:
        """Encode *image*, with *text* as its metadata, and keep it as an output called *name*; durable on return.

        Args:
            sign: gives the file its signature, the last thing that is done to it.
        """
        data = await asyncio.to_thread(encode_png, image, text)
        if sign is not None:
            data = await sign(data)
        key = self.blobs.new_key("png")
        sha256 = await self.blobs.put(key, data, name=name, content_type="image/png")
        return Kept(key, "output", name, "image/png", len(data), sha256)
