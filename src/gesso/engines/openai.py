"""The engine that asks an edit server of OpenAI's kind: SGLang diffusion or vLLM-Omni, `POST /v1/images/edits`.

They are stateless: asked twice, they paint twice, and only GPU time is lost. They cannot be stopped.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from gesso.core.errors import ContentRejected, EngineFailed
from gesso.core.inputs import Inputs, Size
from gesso.core.ports import Abilities, Made, Report
from gesso.engines import remote
from gesso.engines.remote import Answer, Upstream, Waiting

MODERATION = frozenset({"moderation_blocked", "content_policy_violation", "content_filter"})


@dataclass(kw_only=True)
class OpenAIEngine:
    """One replica, or several that are asked in turn; the definition's options are its fields.

    Attributes:
        model: the served name; vLLM-Omni wants it, SGLang does not look at it.
        api_key_env: the environment variable of the key, where a proxy in front wants one.
        size_multiple: the grid of the served model: more is asked for where a side does not fit, and cropped.
        negative_prompt: "ignored" where the served model has none; it is not sent then.
        true_cfg_scale, guidance_scale, num_inference_steps: sent only where they are set.
        timeout_s: how long one answer may take.
    """

    base_url: str = ""
    base_urls: Sequence[str] = ()
    model: str = ""
    api_key_env: str = ""
    size_multiple: int = 1
    negative_prompt: Literal["native", "ignored"] = "native"
    true_cfg_scale: float | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    max_images: int = 3
    licence: str = "unknown"
    timeout_s: float = 600.0
    trust_env: bool = True
    _upstream: Upstream = field(init=False, repr=False)
    _open: ExitStack = field(default_factory=ExitStack, init=False, repr=False)

    @property
    def abilities(self) -> Abilities:
        """As configured: the server tells nothing of its model."""
        return Abilities(name="openai", weights=self.model or "unknown", licence=self.licence, seed="best_effort",
                         max_images=self.max_images, negative_prompt=self.negative_prompt)  # fmt: skip

    def load(self) -> None:
        """Look at the options; raises ConfigError and says what would be right."""
        remote.require_positive(timeout_s=self.timeout_s, max_images=self.max_images, size_multiple=self.size_multiple)
        known = self.negative_prompt in {"native", "ignored"}
        remote.require(known, 'negative_prompt must be "native" or "ignored"')
        bases = self.base_urls or ([self.base_url] if self.base_url else [])
        self._upstream = Upstream(bases, self.api_key_env, answer_s=self.timeout_s, trust_env=self.trust_env)
        self._open.callback(self._upstream.close)

    def run(self, inputs: Inputs, report: Report) -> Made:
        """Ask the next replica; a word to stop is heard, but what the server paints runs out."""
        remote.judge_count(inputs.images, self.max_images)
        asked, waiting = self._grid(inputs.size), Waiting(report, self.timeout_s)
        files = [("image", (f"image-{number}.png", remote.encode(image), "image/png"))
                 for number, image in enumerate(inputs.images, 1)]  # fmt: skip
        answer = self._upstream.ask("POST", "/v1/images/edits", waiting, data=self._fields(inputs, asked), files=files)
        waiting.beat()
        image = self._picture(answer)
        if image.size == (asked.width, asked.height):
            image = _cropped(image, inputs.size)
        told = {"upstream": answer.host, "upstream_request": answer.body.get("id"), "prompt_extend": "ignored"}
        return self._upstream.made(inputs, [image], told)

    def close(self) -> None:
        """Close the connections; twice is safe."""
        self._open.close()

    def _grid(self, size: Size) -> Size:
        step = self.size_multiple
        return Size(-(-size.width // step) * step, -(-size.height // step) * step)

    def _fields(self, inputs: Inputs, asked: Size) -> dict[str, str]:
        """The form beside the images, without what is not set."""
        values = {
            "model": self.model,
            "prompt": inputs.prompt,
            "negative_prompt": inputs.negative_prompt if self.negative_prompt == "native" else "",
            "n": 1,
            "size": str(asked),
            "response_format": "b64_json",
            "output_format": "png",
            "seed": inputs.seed,
            "true_cfg_scale": self.true_cfg_scale,
            "guidance_scale": self.guidance_scale,
            "num_inference_steps": self.num_inference_steps,
        }
        return {name: str(value) for name, value in values.items() if value not in (None, "")}

    def _picture(self, answer: Answer) -> Image.Image:
        if not answer.is_good:
            code, message = _error(answer.body)
            if code in MODERATION:
                raise ContentRejected
            raise self._upstream.failure(answer, message)
        match answer.body.get("data"):
            case [{"b64_json": str() as text}, *_]:
                return remote.decode(text)
        raise EngineFailed(reason="the upstream's answer holds no picture")


def _cropped(image: Image.Image, size: Size) -> Image.Image:
    """The middle of *image*, which is as large or larger."""
    left, top = (image.width - size.width) // 2, (image.height - size.height) // 2
    return image.crop((left, top, left + size.width, top + size.height))


def _error(body: Mapping[str, Any]) -> tuple[Any, Any]:
    """Code and message, as OpenAI (`error`), older vLLM (on top) or FastAPI (`detail`) spell them."""
    match body:
        case {"error": {"message": message, **rest}}:
            return rest.get("code"), message
        case {"detail": [{"msg": message}, *_]} | {"detail": str() as message} | {"message": message}:
            return body.get("code"), message
    return None, ""
