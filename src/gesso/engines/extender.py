"""Enriches prompts by a chat endpoint of OpenAI's kind, which is shown the references. Without it, all goes on."""

import asyncio
import io
import json
import logging
import re
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
from PIL import Image

from gesso.client.urls import DIRECT, origin
from gesso.core.errors import ConfigError
from gesso.core.inputs import Inputs
from gesso.engines.remote import key_in

ASKED = """You rewrite instructions for an image editing model. The user gives one instruction, and the reference images
that it is about, in order: image 1, image 2, image 3. Write the instruction that a careful art director would give:
name the subjects as they are seen, what is to change and how, what stays as it is, light and style. Keep the intent,
the language of the user, every number of an image, and every quoted text to the letter. Invent no new subject. Answer
with the instruction alone, in one paragraph of at most 120 words."""
LONGEST_PROMPT = 1999  # characters; what the public schema and the upstreams take
LARGEST_ANSWER = 2**20
SEEN_PX, SEEN_QUALITY = 512, 80
REST_S = 30.0
THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
WARNING = "prompt_not_extended"
log = logging.getLogger(__name__)


class _Failed(Exception):
    """Why there is no other prompt, in a few words that hold nothing secret."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how is asked.

    Attributes:
        url: as in `http://127.0.0.1:8000/v1`; the path of the call is added where it is missing.
        model: the served name; some servers do without.
        key_env: the environment variable that holds the key; empty: none is sent.
        limit: how long an answer may take.
        sees: whether the model is shown the references.
    """

    url: str
    model: str = ""
    key_env: str = ""
    limit: timedelta = timedelta(seconds=20)
    sees: bool = True

    def call_url(self) -> str:
        """The URL that is posted to.

        Raises:
            ConfigError: when `url` is none.
        """
        url = self.url.strip().rstrip("/")
        if origin(url) is None or any(mark in url for mark in "@?#"):
            raise ConfigError(
                reason=f"prompt_extender must be a URL such as http://127.0.0.1:8000/v1, not {self.url!r}"
            )
        if url.endswith("/chat/completions"):
            return url
        return f"{url}{'' if urlsplit(url).path else '/v1'}/chat/completions"


class Extender:
    """Asks *endpoint*. What it cannot do it says in the notes, and the prompt stays as it is.

    After a failure it is left alone for half a minute: no run waits again and again for what does not answer.

    Raises:
        ConfigError: when the URL is none, or the environment variable of the key is empty.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._url = endpoint.call_url()
        key = key_in(endpoint.key_env)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx2.AsyncClient(timeout=endpoint.limit.total_seconds(), mounts=DIRECT)
        self._rests_until = 0.0
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # as for engines: it logs whole URLs

    async def __call__(self, inputs: Inputs) -> tuple[Inputs, Mapping[str, Any]]:
        """The inputs with a better prompt, and what the result's metadata says of it."""
        try:
            if time.monotonic() < self._rests_until:
                raise _Failed("it failed a moment ago")
            prompt = await self._better(inputs)
        except _Failed as fault:
            log.warning("the prompt extender: %s", fault)
            told = f"The prompt was used as it is, because the extender did not help: {fault}."
            return inputs, {"prompt_used": inputs.prompt, "warnings": [WARNING], "messages": [told]}
        notes = {"prompt_used": prompt, "prompt_extended_by": self._endpoint.model or "unknown"}
        return replace(inputs, prompt=prompt, expand_prompt=False), notes

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _better(self, inputs: Inputs) -> str:
        shown = await asyncio.to_thread(_shown, inputs.images) if self._endpoint.sees else []
        content = [{"type": "text", "text": inputs.prompt}, *shown] if shown else inputs.prompt
        messages = [{"role": "system", "content": ASKED}, {"role": "user", "content": content}]
        body = {"model": self._endpoint.model, "messages": messages, "seed": inputs.seed, "temperature": 0}
        try:
            async with asyncio.timeout(self._endpoint.limit.total_seconds()):
                return _prompt_in(await self._answer(body))
        except (TimeoutError, httpx2.TimeoutException):
            self._rest()
            raise _Failed("it did not answer in time") from None
        except httpx2.HTTPError as fault:
            self._rest()
            raise _Failed(f"it cannot be reached ({type(fault).__name__})") from None

    async def _answer(self, body: Mapping[str, Any]) -> bytes:
        told = bytearray()
        given = {name: value for name, value in body.items() if value != ""}
        async with self._http.stream("POST", self._url, json=given, headers=self._headers) as response:
            if response.status_code != 200:
                self._rest()
                raise _Failed(f"it answered HTTP {response.status_code}")
            async for chunk in response.aiter_bytes():
                told += chunk
                if len(told) > LARGEST_ANSWER:
                    raise _Failed("its answer has no end")
        return bytes(told)

    def _rest(self) -> None:
        self._rests_until = time.monotonic() + REST_S


def _prompt_in(answer: bytes) -> str:
    """The prompt that was written; one that is empty or too long for the models is none."""
    try:
        text = json.loads(answer)["choices"][0]["message"]["content"]
        prompt = THOUGHTS.sub("", text).strip()
    except (ValueError, LookupError, TypeError):
        raise _Failed("its answer is not as documented") from None
    if not prompt:
        raise _Failed("it wrote nothing")
    if len(prompt) > LONGEST_PROMPT:
        raise _Failed(f"it wrote {len(prompt)} characters, and {LONGEST_PROMPT} can be used")
    return prompt


def _shown(images: Sequence[Image.Image]) -> list[dict[str, Any]]:
    """The references as a model is shown them: small, as that is cheap, and what is on them can still be seen."""
    return [{"type": "image_url", "image_url": {"url": _data_uri(image)}} for image in images]


def _data_uri(image: Image.Image) -> str:
    small, file = image.copy(), io.BytesIO()
    small.thumbnail((SEEN_PX, SEEN_PX))
    small.convert("RGB").save(file, "JPEG", quality=SEEN_QUALITY)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
