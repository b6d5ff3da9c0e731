"""The engine that asks Alibaba's DashScope: Wan 2.6 itself, hosted and paid for, as a task that is asked after.

https://help.aliyun.com/en/model-studio/wan-image-generation-api-reference
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from gesso.core.errors import ContentRejected, EngineFailed, GessoError
from gesso.core.inputs import Inputs
from gesso.core.ports import Abilities, Made, Report
from gesso.engines import remote
from gesso.engines.remote import UNSENT, Answer, Job, Upstream, Waiting

CREATE = "/api/v1/services/aigc/image-generation/generation"
MAX_IMAGES, MAX_IMAGE_BYTES = 4, 10 * 10**6
LONGEST = {"prompt": 2000, "negative_prompt": 500}  # more is cut there without a word
ANSWER_S = 60.0
MODERATION = ("DataInspectionFailed", "data_inspection_failed", "IPInfringementSuspect")
ACCOUNT = {
    "InvalidApiKey": "the upstream does not accept the key of {key_env}; keys are valid in one region only",
    "Arrearage": "the account at the upstream is in arrears",
}


@dataclass(kw_only=True)
class DashScopeEngine:
    """One model of one region; the definition's options are its fields.

    Attributes:
        base_url: of the region that the key belongs to.
        api_key_env: the environment variable of the key.
        poll_s: seconds between two polls, at most.
        timeout_s: how long a task may take; keep it below the server's `run_timeout`.
    """

    model: str = "wan2.6-image"
    base_url: str = "https://dashscope.aliyuncs.com"
    api_key_env: str = "DASHSCOPE_API_KEY"
    watermark: bool = False
    poll_s: float = 5.0
    timeout_s: float = 570.0
    trust_env: bool = True
    _upstream: Upstream = field(init=False, repr=False)
    _open: ExitStack = field(default_factory=ExitStack, init=False, repr=False)

    @property
    def abilities(self) -> Abilities:
        """What the vendor documents; a task that runs cannot be stopped, only left alone."""
        return Abilities(name="dashscope", weights=self.model, licence="proprietary", max_images=MAX_IMAGES,
                         negative_prompt="native", seed="best_effort", progress=True)  # fmt: skip

    def load(self) -> None:
        """Look at the options and for the key; raises ConfigError and says what would be right."""
        remote.require_positive(poll_s=self.poll_s, timeout_s=self.timeout_s)
        remote.require(bool(self.model), "model is missing; wan2.6-image is one")
        remote.require(bool(self.api_key_env), "api_key_env is missing; it names the variable that holds the key")
        base = self.base_url.rstrip("/").removesuffix("/api/v1")
        self._upstream = Upstream([base], self.api_key_env, answer_s=ANSWER_S, trust_env=self.trust_env)
        self._open.callback(self._upstream.close)

    def run(self, inputs: Inputs, report: Report) -> Made:
        """Have one picture made, or go on waiting for the one that an earlier attempt ordered."""
        waiting = Waiting(report, self.timeout_s)
        task_id = inputs.remembered or self._create(inputs, waiting)
        answer = self._upstream.follow(_job(task_id), waiting, self.poll_s)
        if inputs.remembered and _word(answer) == "CANCELED":  # by an attempt that was stopped: it never ran
            task_id = self._create(inputs, waiting)
            answer = self._upstream.follow(_job(task_id), waiting, self.poll_s)
        if _word(answer) != "SUCCEEDED":
            raise self._failure(answer)
        image = self._upstream.picture(_address(answer), waiting)
        told = {"upstream": answer.host, "upstream_request": task_id, "prompt_extend": "native"}
        return self._upstream.made(inputs, [image], told | {"prompt_used": _output(answer).get("actual_prompt")})

    def close(self) -> None:
        """Close the connections; twice is safe."""
        self._open.close()

    def _create(self, inputs: Inputs, waiting: Waiting) -> str:
        headers, body = {"X-DashScope-Async": "enable"}, self._body(inputs)
        answer = self._upstream.ask("POST", CREATE, waiting, again=_was_refused, headers=headers, json=body)
        task_id = _output(answer).get("task_id")
        if not answer.is_good or not isinstance(task_id, str):
            raise self._failure(answer)
        return task_id

    def _body(self, inputs: Inputs) -> dict[str, Any]:
        remote.judge_count(inputs.images, MAX_IMAGES)
        for name, most in LONGEST.items():
            if len(getattr(inputs, name)) > most:
                raise EngineFailed(reason=f"the {name.replace('_', ' ')} is longer than {most} characters")
        images = [{"image": remote.data_uri(image, MAX_IMAGE_BYTES)} for image in inputs.images]
        parameters = {
            "negative_prompt": inputs.negative_prompt,
            "size": f"{inputs.size.width}*{inputs.size.height}",
            "n": 1,  # the default is 4, and each is billed
            "seed": inputs.seed,
            "prompt_extend": inputs.expand_prompt,
            "watermark": self.watermark,
            "enable_interleave": False,
        }
        messages = [{"role": "user", "content": [{"text": inputs.prompt}, *images]}]
        return {"model": self.model, "input": {"messages": messages}, "parameters": parameters}

    def _failure(self, answer: Answer) -> GessoError:
        told = {**answer.body, **_output(answer)}
        code = str(told.get("code", ""))
        if code.startswith(MODERATION):
            return ContentRejected()
        if code in ACCOUNT:
            return EngineFailed(reason=ACCOUNT[code].replace("{key_env}", self.api_key_env))
        words = f"{code}: {told.get('message', '')}" if code else f"the task is {told.get('task_status', 'unknown')}"
        return self._upstream.failure(answer, words)


def _job(task_id: str) -> Job:
    path = f"/api/v1/tasks/{quote(task_id, safe='')}"
    return Job(task_id, path, f"{path}/cancel", _word, waits="PENDING", runs="RUNNING")


def _was_refused(answer: Answer) -> bool:
    """Whether the task was certainly not created, and might be later; a gateway's 502 or 504 leaves that open."""
    is_rate = answer.status == 429 and answer.body.get("code") == "Throttling.RateQuota"
    return is_rate or answer.status in {UNSENT, 500, 503}


def _output(answer: Answer) -> dict[str, Any]:
    output = answer.body.get("output")
    return output if isinstance(output, dict) else {}


def _word(answer: Answer) -> Any:
    return _output(answer).get("task_status")


def _address(answer: Answer) -> Any:
    """Where the picture lies for 24 hours."""
    match _output(answer).get("choices"):
        case [{"message": {"content": [*parts]}}, *_]:
            return next((part["image"] for part in parts if isinstance(part, dict) and "image" in part), None)
    return None
