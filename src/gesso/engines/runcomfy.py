"""The engine that asks another model API, RunComfy's or another Gesso, as any client of it would."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from gesso.client.downloads import output_urls
from gesso.core import wire
from gesso.core.errors import ContentRejected, EngineFailed, GessoError, UnknownModel
from gesso.core.inputs import Inputs, to_size
from gesso.core.ports import Abilities, Made, Report
from gesso.engines import remote
from gesso.engines.remote import UNSENT, Answer, Job, Upstream, Waiting

# what an engine is given -> the upstream's field for it; those of Wan 2.6
FIELDS = {name: name for name in ("prompt", "negative_prompt", "seed")} | {
    "images": "image_urls",
    "size": "image_size",
    "expand_prompt": "prompt_extend",
}
MAX_IMAGE_BYTES, MAX_BODY_BYTES = 6 * 2**20, 64 * 2**20
ANSWER_S = 60.0
SUCCEEDED = ("succeeded", "completed")
KEY = "key:"  # before an idempotency key among what is remembered; no request id has a colon


@dataclass(kw_only=True)
class RunComfyEngine:
    """One model of another model API; the definition's options are its fields.

    Attributes:
        model_id: as in the upstream's catalogue.
        token_env: the environment variable of the token.
        fields: what an engine is given -> the upstream's field, where that is not as in FIELDS; "" sends none.
        idempotent: the upstream keeps `Idempotency-Key`, so that a submit whose answer was lost may be repeated.
        timeout_s: how long a request may take; keep it below the server's `run_timeout`.
    """

    model_id: str
    base_url: str = "https://model-api.runcomfy.net"
    token_env: str = "RUNCOMFY_API_TOKEN"  # noqa: S105 - the name of a variable
    fields: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = False
    max_images: int = 3
    licence: str = "unknown"
    poll_s: float = 3.0
    timeout_s: float = 570.0
    trust_env: bool = True
    _upstream: Upstream = field(init=False, repr=False)
    _open: ExitStack = field(default_factory=ExitStack, init=False, repr=False)

    @property
    def abilities(self) -> Abilities:
        """As far as one can know; a request that runs there cannot be stopped, only left alone."""
        return Abilities(name="runcomfy", weights=self.model_id, licence=self.licence, max_images=self.max_images,
                         negative_prompt="native", seed="best_effort", progress=True)  # fmt: skip

    def load(self) -> None:
        """Look at the options and for the token; raises ConfigError and says what would be right."""
        remote.require_positive(poll_s=self.poll_s, timeout_s=self.timeout_s, max_images=self.max_images)
        has_slash = isinstance(self.model_id, str) and "/" in self.model_id
        remote.require(has_slash, "model_id must be one of the upstream, such as wan-ai/wan-2-6/image-to-image")
        remote.require(bool(self.token_env), "token_env is missing; it names the variable that holds the token")
        self._upstream = Upstream([self.base_url], self.token_env, answer_s=ANSWER_S, trust_env=self.trust_env)
        self._open.callback(self._upstream.close)

    def run(self, inputs: Inputs, report: Report) -> Made:
        """Have the upstream make it, or go on waiting for the request that an earlier attempt submitted."""
        waiting, kept = Waiting(report, self.timeout_s), inputs.remembered or ""
        is_request = bool(kept) and not kept.startswith(KEY)
        request_id = kept if is_request else self._submit(inputs, waiting, kept.removeprefix(KEY))
        answer = self._upstream.follow(_job(request_id), waiting, self.poll_s)
        if is_request and _word(answer) == "cancelled":  # by an attempt that was stopped: it never ran
            request_id = self._submit(inputs, waiting)
            answer = self._upstream.follow(_job(request_id), waiting, self.poll_s)
        if _word(answer) not in SUCCEEDED or answer.body.get("error"):
            raise self._failure(answer)
        images = [self._upstream.picture(url, waiting) for url in output_urls(answer.body)]
        if not images:
            raise EngineFailed(reason="the upstream's result holds no picture")
        metadata = answer.body.get("metadata")
        prompt = metadata.get("prompt_used") if isinstance(metadata, dict) else None  # a Gesso tells it
        told = {"upstream": answer.host, "upstream_request": request_id, "prompt_used": prompt}
        return self._upstream.made(inputs, images, told)

    def close(self) -> None:
        """Close the connections; twice is safe."""
        self._open.close()

    def _submit(self, inputs: Inputs, waiting: Waiting, key: str = "") -> str:
        path = f"/v1/models/{quote(self.model_id.strip('/'))}"
        body, headers = self._body(inputs, self._properties(path, waiting)), {}
        if self.idempotent:
            headers["Idempotency-Key"] = key = key or uuid4().hex
            waiting.remember(KEY + key)
        again = remote.may_pass if self.idempotent else _was_refused
        answer = self._upstream.ask("POST", path, waiting, again=again, json=body, headers=headers)
        request_id = str(answer.body.get("request_id"))
        if not answer.is_good or "request_id" not in answer.body or not re.fullmatch(r"[\w-]{1,128}", request_id):
            raise self._failure(answer)
        return request_id

    def _properties(self, path: str, waiting: Waiting) -> Mapping[str, Any]:
        """The fields of the upstream's own input schema."""
        answer = self._upstream.ask("GET", path, waiting)
        match answer.body:
            case {"input_schema": {"properties": dict() as properties}} if answer.is_good:
                return properties
        raise self._failure(answer)

    def _body(self, inputs: Inputs, properties: Mapping[str, Any]) -> dict[str, Any]:
        """The public input: only what the upstream has a field for."""
        remote.judge_count(inputs.images, self.max_images)
        values = {name: getattr(inputs, name) for name in FIELDS} | dict(inputs.extra)
        names = {name: name for name in inputs.extra} | FIELDS | dict(self.fields)
        told = {names[name]: value for name, value in values.items() if names[name] in properties}
        if (images := names["images"]) in told:
            told[images] = _images(inputs, is_list=properties[images].get("type") == "array")
        if (size := names["size"]) in told:
            told[size] = _size(inputs, properties[size].get("enum"))
        return told

    def _failure(self, answer: Answer) -> GessoError:
        error = answer.body.get("error")
        told = wire.parse_failure(error) if isinstance(error, dict) else wire.parse_error(answer.status, answer.body)
        if isinstance(told, ContentRejected):
            return ContentRejected()
        if isinstance(told, UnknownModel):
            return EngineFailed(reason=f"the upstream has no model {self.model_id}")
        detail = (str(each.facts.get("msg", "")) for each in told.problems[:1])
        return self._upstream.failure(answer, " ".join((str(told), *detail)))


def _job(request_id: str) -> Job:
    path = f"/v1/requests/{quote(request_id, safe='')}"
    return Job(request_id, f"{path}/result", f"{path}/cancel", _word, waits="in_queue", runs="in_progress")


def _was_refused(answer: Answer) -> bool:
    """Whether the request was certainly not taken, and might be later: a paid one must not be submitted twice."""
    return answer.status in {UNSENT, 429, 503}


def _word(answer: Answer) -> Any:
    return answer.body.get("status")


def _images(inputs: Inputs, *, is_list: bool) -> list[str] | str:
    uris = [remote.data_uri(image, MAX_IMAGE_BYTES) for image in inputs.images]
    if sum(map(len, uris)) > MAX_BODY_BYTES:
        raise EngineFailed(reason="the images are too large for the upstream, which takes 64 MiB in all")
    if not is_list:
        remote.judge_count(inputs.images, 1)
    return uris if is_list else uris[0]


def _size(inputs: Inputs, choices: Any) -> str:
    """The upstream's own spelling of the asked size."""
    if not isinstance(choices, list):
        return f"{inputs.size.width}*{inputs.size.height}"
    for choice in map(str, choices):
        if re.match(r"\d", choice) and to_size(choice) == inputs.size:
            return choice
    raise EngineFailed(reason=f"the upstream makes no {inputs.size}; it makes {', '.join(map(str, choices))}")
