"""Asks somebody else's server: repeats only what is safe, tells the host that it waits, and shows no key or address."""

import io
import json
import logging
import os
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from PIL import Image

from gesso import __version__
from gesso.client.exchange import growing
from gesso.client.urls import DIRECT, base_url
from gesso.core.errors import ConfigError, EngineFailed, GessoError, Stopped
from gesso.core.inputs import Inputs
from gesso.core.ports import Made, Report
from gesso.core.wire import URL

BEAT_S, CONNECT_S, CANCEL_S = 1.0, 10.0, 5.0
REPEATS, FIRST_PAUSE_S, LONGEST_PAUSE_S = 4, 1.0, 60.0
USUAL_STEPS = 20  # a guess, for the progress that is shown
MAX_BYTES, MAX_PIXELS = 64 * 2**20, 64_000_000
UNSENT, LOST = 0, -1  # instead of a status: it never left this machine; it did, and nobody knows what came of it
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
PRIVATE = re.compile(rf"{URL.pattern}|(?<![\w.])/[\w.-]+(?:/[\w.-]+)+|\b\d+(?:\.\d+){{3}}(?::\d+)?\b", re.IGNORECASE)
SENTENCES = {
    UNSENT: "the upstream cannot be reached",
    LOST: "the upstream's answer was lost; it may have taken the job all the same",
    401: "the upstream does not accept the key of the environment variable {key_env}",
    402: "the account at the upstream has no balance left",
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one exchange with *host*: a status of HTTP, or UNSENT or LOST, and the bytes of the body."""

    host: str
    status: int
    content: bytes = b""
    retry_after_s: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether it is a 2xx."""
        return 200 <= self.status < 300

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object; an empty one where there is none."""
        try:
            told = json.loads(self.content)
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}


def may_pass(answer: Answer) -> bool:
    """Whether the same might go well later: for what may be asked twice."""
    return answer.status in {UNSENT, LOST, 429} or answer.status >= 500


class Waiting:
    """The waiting of one run: it tells the host that the run goes on, hears the word to stop, and has an end."""

    def __init__(self, report: Report, limit_s: float) -> None:
        self.remember = report.remember
        self._report, self._ends, self._limit_s = report, time.monotonic() + limit_s, limit_s
        self._step, self._stopped = 0, False

    def beat(self) -> None:
        """Tell the step again; raises Stopped, also when that was heard earlier."""
        if self._stopped:
            raise Stopped
        self._report(self._step, max(self._step + 1, USUAL_STEPS))

    def out(self, future: Future[T]) -> T:
        """What *future* gives. A word to stop is kept for the next `beat`: what is under way cannot be called back."""
        while not wait((future,), BEAT_S).done:
            self._step += not self._stopped
            try:
                self.beat()
            except Stopped:
                self._stopped = True
        return future.result()

    def sleep(self, seconds: float) -> None:
        """Let so much time pass; raises Stopped within a second of the word."""
        ends = time.monotonic() + seconds
        self.beat()
        while (left_s := ends - time.monotonic()) > 0:
            time.sleep(min(left_s, BEAT_S))
            self.beat()

    def polls(self, longest_s: float) -> Iterator[None]:
        """Once for each poll that is due, with pauses that grow to *longest_s*; raises EngineFailed at the end."""
        for pause_s in growing(longest_s / 10, 1.5, longest_s):
            self._step += 1
            self.beat()
            yield
            if time.monotonic() > self._ends:
                raise EngineFailed(reason=f"the upstream did not finish within {self._limit_s:g} seconds")
            self.sleep(pause_s)


@dataclass(frozen=True, slots=True)
class Job:
    """What an upstream does for us; `word` is what an answer says of its state, `waits` and `runs`: not ended yet."""

    id: str
    status_path: str
    cancel_path: str
    word: Callable[[Answer], Any]
    waits: str
    runs: str


class Upstream:
    """Servers that are asked in turn, with one key, from a thread, so that the host hears of us meanwhile.

    Args:
        base_urls: more than one only where all do the same; raises ConfigError when one is none.
        key_env: the environment variable that holds the key; empty: none is sent. Raises ConfigError without the key.
        answer_s: how long an answer may take.
    """

    def __init__(self, base_urls: Sequence[str], key_env: str, *, answer_s: float, trust_env: bool) -> None:
        is_list = isinstance(base_urls, list | tuple) and bool(base_urls)
        require(is_list, "base_url is missing, or base_urls is no list; one looks like http://127.0.0.1:30000")
        bases = [base_url(str(each)) for each in base_urls]
        first = os.getpid() % len(bases)  # so that several workers do not begin with the same one
        self._next_base = cycle(bases[first:] + bases[:first])
        self._hosts = {urlsplit(each).hostname for each in bases}
        self._key_env, self._key, self._answer_s = key_env, key_in(key_env), answer_s
        # A kept connection may be closed while a message is on its way, and nobody could say whether it was taken.
        limits = httpx2.Limits(max_keepalive_connections=0)
        timeout = httpx2.Timeout(answer_s, connect=CONNECT_S)
        self._http = httpx2.Client(timeout=timeout, limits=limits, trust_env=trust_env, mounts=DIRECT)
        self._thread = ThreadPoolExecutor(1, "upstream")
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs whole URLs, and those of outputs are secrets

    def ask(self, method: str, path: str, waiting: Waiting, *, again: Callable[[Answer], bool] = may_pass,
            **content: Any) -> Answer:  # fmt: skip
        """The answer to a message, asked again a few times with growing pauses as long as *again* says so of it.

        *path* lies below the base URL; a whole URL is asked without the key. *content* is as httpx takes it.
        """
        waiting.beat()  # after a word to stop nothing new is begun
        for pause_s in islice(growing(FIRST_PAUSE_S, 2.0, LONGEST_PAUSE_S), REPEATS):
            answer = waiting.out(self._thread.submit(self._exchange, method, path, **content))
            if not again(answer):
                return answer
            waiting.sleep(max(pause_s, min(answer.retry_after_s, LONGEST_PAUSE_S)))
        return waiting.out(self._thread.submit(self._exchange, method, path, **content))

    def follow(self, job: Job, waiting: Waiting, poll_s: float) -> Answer:
        """Remember *job*, and ask after it until it neither waits nor runs: the answer that says so.

        An upstream that is away is asked again until the time is over, because the job goes on, and is paid for.
        When the run ends while the job still waits, it is cancelled there.
        """
        word = job.waits
        try:
            waiting.remember(job.id)
            for _ in waiting.polls(poll_s):
                answer = self.ask("GET", job.status_path, waiting, again=lambda _: False)
                if may_pass(answer):
                    waiting.sleep(min(answer.retry_after_s, LONGEST_PAUSE_S))
                elif (word := job.word(answer)) not in {job.waits, job.runs}:
                    return answer
        except GessoError:
            if word == job.waits:
                self._exchange("POST", job.cancel_path, timeout=CANCEL_S)  # whatever comes of it
            raise
        raise AssertionError("polls never end")

    def picture(self, url: Any, waiting: Waiting) -> Image.Image:
        """The picture at *url*, asked without the key; plain http is only for the upstream's own hosts."""
        parts = urlsplit(url if isinstance(url, str) else "")
        if not parts.hostname or not (parts.scheme == "https" or parts.hostname in self._hosts):
            raise EngineFailed(reason="the upstream gave no address of a picture that may be fetched")
        answer = self.ask("GET", url, waiting)
        if not answer.is_good:
            raise EngineFailed(reason=f"the upstream's picture could not be fetched (HTTP {max(answer.status, 0)})")
        return decode(answer.content)

    def failure(self, answer: Answer, told: Any = "") -> EngineFailed:
        """The error that *answer* is: a sentence of ours where there is one, else what the other side *told*."""
        words = self.clean(told) or f"the upstream answered HTTP {answer.status}, not as expected"
        named = SENTENCES.get(answer.status, words).replace("{key_env}", self._key_env or "(no api_key_env is set)")
        return EngineFailed(reason=named)

    def clean(self, told: Any) -> str:
        """One short line of somebody else's *told*, without our key, addresses and paths."""
        return PRIVATE.sub("…", self.keyless(" ".join(str(told or "").split())))[:200]

    def keyless(self, text: str) -> str:
        """*text* without our key."""
        return text.replace(self._key, "…") if self._key else text

    def made(self, inputs: Inputs, images: Sequence[Image.Image], told: Mapping[str, Any]) -> Made:
        """What the upstream made, with what a result's metadata says of it; empty values are left out."""
        fits = all(image.size == (inputs.size.width, inputs.size.height) for image in images)
        notes = {name: self.keyless(str(value)) for name, value in told.items() if value}
        return Made(images, {**notes, "warnings": [] if fits else ["upstream_made_another_size"]})

    def close(self) -> None:
        """Close the connections; twice is safe."""
        self._thread.shutdown()
        self._http.close()

    def _exchange(self, method: str, path: str, **content: Any) -> Answer:
        url = path if "://" in path else next(self._next_base) + path
        headers = {"User-Agent": f"gesso/{__version__}", **content.pop("headers", {})}
        if self._key and "://" not in path:
            headers["Authorization"] = f"Bearer {self._key}"
        host, ends, told = urlsplit(url).hostname or "", time.monotonic() + self._answer_s, bytearray()
        try:
            with self._http.stream(method, url, headers=headers, **content) as response:
                for chunk in response.iter_bytes():
                    told += chunk
                    if len(told) > MAX_BYTES or time.monotonic() > ends:
                        return Answer(host, LOST)
        except NOT_SENT:
            return Answer(host, UNSENT)
        except (httpx2.RequestError, httpx2.InvalidURL):
            return Answer(host, LOST)
        seconds = response.headers.get("retry-after", "")
        wanted_s = float(seconds) if seconds.isascii() and seconds.isdigit() else 0.0
        return Answer(host, response.status_code, bytes(told), wanted_s)


def decode(content: bytes | str) -> Image.Image:
    """The picture in a file or in base64, in RGB; raises EngineFailed when it is none, damaged, or far too large."""
    try:
        file = io.BytesIO(b64decode(content) if isinstance(content, str) else content)
        with Image.open(file, formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise EngineFailed(reason="the upstream's picture has too many pixels")
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise EngineFailed(reason="the upstream's picture cannot be read") from None


def encode(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    """*image* as a file without alpha; PNG quickly."""
    file = io.BytesIO()
    image.convert("RGB").save(file, kind, **options or {"compress_level": 1})
    return file.getvalue()


def data_uri(image: Image.Image, most_bytes: int) -> str:
    """*image* as a data URI: PNG, or JPEG where that is larger than *most_bytes*; raises EngineFailed when both are."""
    for kind, options in (("png", {}), ("jpeg", {"quality": 95}), ("jpeg", {"quality": 85})):
        if len(content := encode(image, kind, **options)) <= most_bytes:
            return f"data:image/{kind};base64,{b64encode(content).decode()}"
    raise EngineFailed(reason=f"an image is too large for the upstream, which takes {most_bytes // 2**20} MiB")


def judge_count(images: Sequence[Image.Image], most: int) -> None:
    """Raises EngineFailed unless there are 1 to *most* images."""
    if not 1 <= len(images) <= most:
        raise EngineFailed(reason=f"1 to {most} images are taken, not {len(images)}")


def require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raises ConfigError unless an option is as it must be."""
    if not holds:
        raise ConfigError(reason=otherwise)


def require_positive(**options: Any) -> None:
    """Raises ConfigError unless all are numbers above 0."""
    for name, value in options.items():
        require(type(value) in (int, float) and value > 0, f"{name} must be a number above 0")


def key_in(key_env: str) -> str:
    """The key in an environment variable; empty where none is named. Raises ConfigError when it holds none."""
    key = os.environ.get(key_env, "").strip() if key_env else ""
    require(bool(key) or not key_env, f"the environment variable {key_env} must hold the upstream's key")
    can_be_sent = key.isascii() and " " not in key and (key.isprintable() or not key)
    require(can_be_sent, f"the key in {key_env} holds characters that no header can carry; was it copied whole?")
    return key
