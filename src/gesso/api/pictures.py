"""The image values of a submit: spelling is judged at once, bytes that came along are frozen before the answer."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from gesso.core.errors import InvalidInput, Problem, ResourceNotFound
from gesso.core.model import Model
from gesso.core.pictures import Facts, Kept, Picture, PictureFault, largest_bytes
from gesso.core.ports import Blobs, Clock
from gesso.files import addresses, data_uris
from gesso.files.addresses import Policy
from gesso.files.fetcher import Fetcher
from gesso.files.shelf import Shelf
from gesso.files.signing import Signer
from gesso.store.files import Files

TRY_S = 10
MOST_OWN = 100  # looked up for one submit; no model takes as many
Here = Mapping[str, bytes | Kept]
"""Image values that need not be fetched: what each holds, bytes of its own or an upload."""
Own = Mapping[str, Kept | PictureFault]
"""Image values that are our own file URLs: the file, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """What became of a submit's pictures.

    Attributes:
        input: the input without bytes in it.
        pictures: in schema order; those that are to be fetched have no blob yet.
        kept: the blobs that were made.
    """

    input: dict[str, Any]
    pictures: tuple[Picture, ...]
    kept: Sequence[Kept]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A submit whose input obeys the schema; its pictures are not judged yet.

    Attributes:
        input: resolved, defaults filled.
        here: its image values that need not be fetched.
        body: as it came.
    """

    model: Model
    input: dict[str, Any]
    here: Here
    body: Mapping[str, Any]

    @property
    def fingerprint(self) -> bytes:
        """The same for the same model and input: data URIs count by their bytes, keys in any order."""
        told = [self.model.id, _without_bytes(self.model.schema.given(self.body), self.here)]
        return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).digest()


class OwnFiles:
    """Our own file URLs, recognised in inputs: they go to the blob store with the caller's rights, never to the net."""

    def __init__(self, public_url: str, files: Files, blobs: Blobs, signer: Signer, now: Clock) -> None:
        self._prefix = f"{public_url}/files/"
        self._blobs = blobs
        self._files = files
        self._signer = signer
        self._now = now

    def is_ours(self, url: str) -> bool:
        """Whether *url* is one of a file of this server."""
        return url.startswith(self._prefix) or self._blobs.key_in(url) is not None

    async def find(self, url: str, owner: str) -> Kept:
        """The owner's upload or output at *url*.

        Raises:
            PictureFault: when there is none (any more), or it is somebody else's.
        """
        try:
            return await self._files.public_of(self._blobs.key_in(url) or self._signed_key(url), owner)
        except ResourceNotFound:
            raise PictureFault("image_uri") from None

    def _signed_key(self, url: str) -> str:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        path = "/files/" + url[len(self._prefix) :].partition("?")[0]
        if not self._signer.check(path, query.get("expires", ""), query.get("signature", ""), self._now()):
            raise ResourceNotFound
        return path.split("/")[2]


class Pictures:
    """Judges and freezes the pictures of submits.

    Attributes:
        policy: what may be reached.
    """

    def __init__(self, shelf: Shelf, own_files: OwnFiles, policy: Policy, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._shelf = shelf
        self._own_files = own_files
        self.policy = policy

    async def find_own(self, model: Model, body: Mapping[str, Any], owner: str) -> Own:
        """Look up those image values of *body* that are our own file URLs."""
        own: dict[str, Kept | PictureFault] = {}
        for text in islice(filter(self._own_files.is_ours, image_values(model, body)), MOST_OWN):
            try:
                own[text] = await self._own_files.find(text, owner)
            except PictureFault as fault:
                own[text] = fault
        return own

    def accept(self, model: Model, body: Mapping[str, Any], own: Own) -> Accepted:
        """The accepted input, and those of its image values that need not be fetched.

        Args:
            own: what `find_own` found.

        Raises:
            InvalidInput: with every problem, the spelling of images among them.
        """
        here: dict[str, bytes | Kept] = {}

        def judge(field: str, text: str) -> None:
            if data_uris.is_data_uri(text):
                here[text] = data_uris.decode(text, largest_bytes(model.schema.validations(field)))
            elif self._own_files.is_ours(text):
                here[text] = _or_raise(own.get(text))
            else:
                addresses.parse(text, self.policy)

        return Accepted(model, model.accept(body, judge), here, body)

    async def freeze(self, accepted: Accepted) -> Frozen:
        """Judge every picture that is here, then keep them all: a refusal leaves nothing behind.

        Raises:
            InvalidInput: with the first fault of each picture.
        """
        model, input, here = accepted.model, accepted.input, accepted.here
        pictures = model.pictures(input)
        if not here:
            return Frozen(input, pictures, ())
        mine = [picture for picture in pictures if picture.url in here]
        told = await asyncio.gather(*(self._judge(model, picture, here) for picture in mine))
        problems = tuple(each for each in told if isinstance(each, Problem))
        if problems:
            raise InvalidInput(problems)
        kept = await asyncio.gather(*(self._shelf.keep(*each) for each in told if not isinstance(each, Problem)))
        files = dict(zip(mine, kept, strict=True))
        frozen = (each.frozen(files[each]) if each in files else each for each in pictures)
        return Frozen(_without_bytes(input, here), tuple(_without_uri(each, here) for each in frozen), kept)

    async def try_out(self, accepted: Accepted) -> None:
        """Fetch and judge every picture, and keep none.

        Raises:
            InvalidInput: with the first fault of each picture.
        """
        model = accepted.model
        tries = [self._try(model, picture, accepted.here) for picture in model.pictures(accepted.input)]
        problems = tuple(each for each in await asyncio.gather(*tries) if isinstance(each, Problem))
        if problems:
            raise InvalidInput(problems)

    async def _try(self, model: Model, picture: Picture, here: Here) -> tuple[bytes, Facts] | Problem:
        try:
            async with asyncio.timeout(TRY_S):
                return await self._judge(model, picture, here)
        except TimeoutError:
            return PictureFault("image_fetch_failed", seconds=TRY_S).at(*picture.loc)

    async def _judge(self, model: Model, picture: Picture, here: Here) -> tuple[bytes, Facts] | Problem:
        validations = model.validations(picture)
        try:
            data = await self._bytes(picture.url or "", here, largest_bytes(validations))
            return data, await self._shelf.judge(data, validations)
        except PictureFault as fault:
            return fault.at(*picture.loc)

    async def _bytes(self, url: str, here: Here, most: int) -> bytes:
        """What is here, else what *url* answers with."""
        match here.get(url):
            case None:
                return await self._fetcher.fetch(url, most)
            case Kept() as upload:
                return await self._read(upload)
            case data:
                return data

    async def _read(self, upload: Kept) -> bytes:
        try:
            return await self._shelf.read(upload.key, upload.sha256)
        except ResourceNotFound:
            raise PictureFault("image_uri") from None


def image_values(model: Model, body: Mapping[str, Any]) -> list[str]:
    """The texts in the image fields of *body*, which obeys no schema yet."""
    values = [body.get(name) for name in model.schema.image_fields]
    flat = [each for value in values for each in (value if isinstance(value, list) else [value])]
    return [each for each in flat if isinstance(each, str)]


def _or_raise(found: Kept | PictureFault | None) -> Kept:
    if isinstance(found, Kept):
        return found
    raise found or PictureFault("image_uri")


def size_of(here: Here) -> int:
    """How many bytes they will take up once they are kept."""
    return sum(each.size_bytes if isinstance(each, Kept) else len(each) for each in here.values())


def _without_uri(picture: Picture, here: Here) -> Picture:
    """The picture without a URL where that was its bytes."""
    return replace(picture, url=None) if isinstance(here.get(picture.url or ""), bytes) else picture


def _without_bytes(value: Any, here: Here) -> Any:
    """The input with the digest of each data URI in its place: base64 goes into no row."""
    if isinstance(value, dict):
        return {name: _without_bytes(each, here) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_bytes(each, here) for each in value]
    found = here.get(value) if isinstance(value, str) else None
    return f"sha256:{hashlib.sha256(found).hexdigest()}" if isinstance(found, bytes) else value
