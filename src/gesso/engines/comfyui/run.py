"""One run on a ComfyUI server: from inputs to pictures, through lost sockets, lost jobs and stops."""

import contextlib
import io
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from PIL import Image
from websockets.sync.client import ClientConnection

from gesso.core.errors import EngineDied, EngineFailed, EngineTimeout, Stopped
from gesso.core.inputs import Inputs
from gesso.core.ports import Report
from gesso.engines.comfyui.messages import Job
from gesso.engines.comfyui.server import LOST, Server, words
from gesso.engines.comfyui.workflow import Optional, Workflow

POSTS = 2  # a server that was restarted has forgotten its jobs; it may do so once
SILENT_POLLS = 10  # then the server is asked what became of the job
AWAY_S = 30.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a job may take, and how often a silent one is looked at."""

    timeout_s: float
    poll_s: float


class Run:
    """One run; `pictures` is called once.

    A job's id is also its client id: a later attempt that knows the id opens the same socket and takes over.

    Attributes:
        prompt_id: the job that made, or makes, the pictures.
    """

    def __init__(
        self, server: Server, workflow: Workflow, inputs: Inputs, report: Report, *, optional: Optional, limits: Limits
    ) -> None:
        self._server, self._workflow, self._inputs, self._report = server, workflow, inputs, report
        self._optional, self._limits = optional, limits
        self._ends = time.monotonic() + limits.timeout_s
        self._reached = (0, 1)
        self.prompt_id = _known_id(inputs.remembered)

    def pictures(self) -> list[Image.Image]:
        """The pictures, from the earlier attempt's job if it can be found, else from a new one.

        Raises:
            EngineFailed, EngineTimeout, EngineDied, Stopped: as `ComfyUIEngine.run` says.
        """
        if self.prompt_id and (found := self._again(self.prompt_id)):
            return found
        folder = self.prompt_id or str(uuid.uuid4())  # the same names again: the server knows their nodes' outputs
        references = [
            self._patiently(partial(self._server.upload, image, f"image{number}.png", folder))
            for number, image in enumerate(self._inputs.images, start=1)
        ]
        for _ in range(POSTS):
            if found := self._anew(references):
                return found
        raise EngineFailed(reason="ComfyUI lost the job, and its repetition as well")

    def _again(self, prompt_id: str) -> list[Image.Image] | None:
        """What the job of an earlier attempt makes; None when there is none, or it was stopped."""
        if not self._patiently(lambda: self._server.is_queued(prompt_id) or self._server.history(prompt_id)):
            return None
        job = Job(prompt_id, self._workflow.graph, self._workflow.output)
        return self._followed(job, None, is_ours=False)

    def _anew(self, references: list[str]) -> list[Image.Image] | None:
        """What a new job makes; None when the server has lost it, or its result."""
        self.prompt_id = str(uuid.uuid4())
        prefix = f"gesso-{self.prompt_id}"
        graph = self._workflow.filled(self._inputs, references, prefix=prefix, optional=self._optional)
        self._report.remember(self.prompt_id)
        return self._followed(Job(self.prompt_id, graph, self._workflow.output), graph, is_ours=True)

    def _followed(self, job: Job, graph: Any, *, is_ours: bool) -> list[Image.Image] | None:
        try:
            is_known = self._heard_out(job, graph)
        except (Stopped, EngineTimeout):
            with contextlib.suppress(EngineDied):
                self._server.stop(job.id)
            raise
        if not is_known or not job.ended:
            return None
        kind, about = job.ended
        if kind == "execution_error":
            said = words(about.get("exception_message", ""))
            raise EngineFailed(reason=f"{about.get('node_type', 'a node')}: {said}")
        if kind == "execution_interrupted":
            if is_ours:
                raise EngineFailed(reason="the job was interrupted on the ComfyUI server")
            return None  # by the earlier attempt, when it was told to stop
        return self._fetched(job)

    def _heard_out(self, job: Job, graph: Any) -> bool:
        """Post *graph*, if there is one, and listen until the job ends; False when the server does not know it."""
        away_until = time.monotonic() + AWAY_S
        while True:
            try:
                with self._server.listen(job.id) as socket:
                    if graph is not None:  # only now: messages that come before the socket is open are lost
                        self._server.post(graph, job.id)
                    is_posted, graph = graph is not None, None
                    away_until = time.monotonic() + AWAY_S
                    # One that is taken up may have ended unheard: ask as soon as nothing comes.
                    return self._until_end(socket, job, 0 if is_posted else SILENT_POLLS - 1)
            except LOST:
                if time.monotonic() > away_until:
                    raise EngineDied from None
                self._tell(job)
                time.sleep(self._limits.poll_s)

    def _patiently(self, call: Callable[[], T]) -> T:
        """What *call* gives, which may be made again: a server that is restarted is away for a while."""
        away_until = time.monotonic() + AWAY_S
        while True:
            try:
                return call()
            except EngineDied:
                if time.monotonic() > away_until:
                    raise
            self._tell()
            time.sleep(self._limits.poll_s)

    def _until_end(self, socket: ClientConnection, job: Job, silent: int) -> bool:
        while job.ended is None:
            try:
                silent = 0 if job.hear(socket.recv(timeout=self._limits.poll_s)) else silent
            except TimeoutError:
                silent += 1
                if silent % SILENT_POLLS == 0 and not self._patiently(partial(self._is_there, job)):
                    return False
            self._tell(job)
        return True

    def _is_there(self, job: Job) -> bool:
        """Whether the server knows the job; if it has ended unheard, that is noted."""
        entry = self._server.history(job.id)
        if entry is None and not self._server.is_queued(job.id):
            entry = self._server.history(job.id, wait=True)
            if entry is None:
                return False
        if entry:
            job.ended = _end(entry)
        return True

    def _tell(self, job: Job | None = None) -> None:
        """Report how far *job* is; without one, that nothing has changed."""
        if time.monotonic() > self._ends:
            raise EngineTimeout(seconds=round(self._limits.timeout_s))
        self._reached = (job.step, job.of) if job else self._reached
        self._report(*self._reached, job.take_preview() if job else None)

    def _fetched(self, job: Job) -> list[Image.Image] | None:
        """The results; None when they are gone: sent while nobody listened, or the file was deleted."""
        files: Sequence[bytes | None] = job.results or self._patiently(partial(self._files, job.id))
        if not files or None in files:
            return None
        self._report(job.of, job.of)
        return [_opened(each) for each in files if each is not None]

    def _files(self, prompt_id: str) -> list[bytes | None]:
        entry = self._server.history(prompt_id, wait=True) or {}
        output = entry.get("outputs", {}).get(self._workflow.output, {})
        return [self._server.view(each) for each in output.get("images", ())]


def _end(entry: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The last message of a job, out of its entry in the history."""
    messages = dict(entry["status"]["messages"])
    for kind in ("execution_error", "execution_interrupted"):
        if kind in messages:
            return kind, messages[kind]
    return "execution_success", {}


def _opened(file: bytes) -> Image.Image:
    """The picture alone: ComfyUI writes the whole workflow, prompt included, into its PNG files."""
    try:
        picture = Image.open(io.BytesIO(file)).convert("RGB")
    except OSError as fault:
        raise EngineFailed(reason="what ComfyUI made is no picture") from fault
    picture.info = {}
    return picture


def _known_id(remembered: str | None) -> str:
    """An id that this engine has remembered; empty for what another one did."""
    try:
        return str(uuid.UUID(remembered or ""))
    except ValueError:
        return ""
