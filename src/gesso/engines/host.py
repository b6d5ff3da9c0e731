"""An engine in a process of its own: started, timed, killed and replaced from here.

A crash, an out-of-memory or a hung call costs that process and one attempt, nothing else.
"""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from PIL.Image import Image

from gesso.core import errors
from gesso.core.errors import EngineDied, EngineFailed, EngineHung, EngineTimeout, GessoError, Problem, RunFailed
from gesso.core.inputs import Inputs
from gesso.core.ports import Abilities, Made, Making, Progress, Remember
from gesso.engines import frames

READ_AHEAD = 16 * 1024 * 1024
GRACE_S = 2.0
log = logging.getLogger(__name__)


async def nowhere(_: str) -> None:
    """For runs that are not requests: there is no next attempt."""


class Host:
    """One engine's process. Its calls come one after another; start it anew by simply running again.

    Args:
        engine: entry-point name.
        options: keyword arguments of the engine's class.
        run_timeout: a run that takes longer is failed, and its process killed.
        step_timeout: an engine that reports steps and is silent for longer has hung, and its process is killed; one
            that is merely slow goes on. Its own `Abilities.step_s` comes first.
        load_timeout: how long loading the weights may take.
    """

    def __init__(
        self,
        engine: str,
        options: Mapping[str, Any],
        *,
        run_timeout: timedelta = timedelta(minutes=10),
        step_timeout: timedelta = timedelta(minutes=2),
        load_timeout: timedelta = timedelta(minutes=30),
    ) -> None:
        self.engine = engine
        self._order = {"op": "load", "engine": engine, "options": dict(options)}
        self._run_timeout = run_timeout
        self._step_timeout = step_timeout
        self._load_timeout = load_timeout
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._sending = asyncio.Lock()  # a message goes out whole
        self._handing: asyncio.Task[None] | None = None
        self._handed: tuple[Image, ...] | None = None
        self._giving: asyncio.Task[frames.Images] | None = None
        self.abilities: Abilities | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while the process is there."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the process and load the engine; does nothing when it runs.

        Raises:
            ConfigError: when there is no such engine.
            EngineDied: when the process ends while loading.
            EngineTimeout: when loading takes longer than it may.
        """
        if self._process is not None and self._process.returncode is None:
            return
        await self._spawn()
        async with self._limited(self._load_timeout):
            await self._send(self._order)
            answer = await frames.read(self._reader)
        if answer["op"] == "failed":
            await self._end()
            raise _fault(answer)
        self.abilities = Abilities(**answer["abilities"])

    async def hand_over(self, inputs: Inputs) -> None:
        """Send the pictures of the run that is likely to come next while the engine is busy with another.

        A run whose pictures are not those that were handed over last brings its own. Does nothing without a process.
        """
        if self._handing is None and self._process is not None and inputs.images:
            self._handing = asyncio.create_task(self._hand_over(inputs.images))
            # Cancelled halfway, the process would wait for the rest of a picture for ever.
            await asyncio.shield(self._handing)

    async def run(self, inputs: Inputs, on_progress: Progress, on_remember: Remember = nowhere) -> Made:
        """Run the engine, and wait for what it made; otherwise as `engage`."""
        making = await self.engage(inputs, on_progress, on_remember)
        return Made(await making.pictures, making.notes)

    async def engage(self, inputs: Inputs, on_progress: Progress, on_remember: Remember = nowhere) -> Making:
        """Run the engine; done as soon as it may run again, while its pictures are on their way.

        *on_progress* hears of each step, *on_remember* of what the next attempt must know.

        Raises:
            EngineFailed, ContentRejected, Stopped: as the engine says.
            EngineTimeout: when it takes longer than it may; the process is replaced at the next run.
            EngineDied: when the process ends; it is replaced likewise.
            EngineHung: when an engine that reports steps reports none for too long; likewise.
        """
        await self.start()
        async with self._limited(self._run_timeout):
            await self._send_run(inputs)
            while True:
                answer = await self._heard()
                if answer["op"] == "made":
                    self._giving = asyncio.create_task(self._given(answer))
                    return Making(self._giving, answer["notes"])
                if answer["op"] == "failed":
                    raise _fault(answer)
                if answer["op"] == "remember":
                    await on_remember(answer["text"])
                    await self._send({"op": "kept"})
                else:
                    previews = await frames.read_images(self._reader, answer)
                    on_progress(answer["step"], answer["of"], next(iter(previews), None))

    async def stop_run(self) -> None:
        """Tell the run to stop at its next step; `run` then raises Stopped. Without a run, nothing happens."""
        if self._process is None:
            return
        with contextlib.suppress(ConnectionError):
            await self._send({"op": "stop"})

    async def close(self) -> None:
        """End the process, once what it made is out; twice is safe."""
        if self._giving is not None:
            await asyncio.wait([self._giving], timeout=GRACE_S)
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._handed = None
        self._writer.close()
        try:
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._giving is not None and self._giving is not asyncio.current_task():
            await asyncio.wait([self._giving])  # else it would take the next process for this one

    async def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 - the name of the argument is not taken
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gesso.engines.child", str(theirs.fileno()), pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=READ_AHEAD)
        self._process = process

    async def _given(self, made: frames.Header) -> frames.Images:
        """The pictures of a run that has ended."""
        try:
            async with self._limited(self._run_timeout):
                return await frames.read_images(self._reader, made)
        finally:
            self._giving = None  # whoever waits for the pictures has them: to free them here would take milliseconds

    async def _heard(self) -> frames.Header:
        """The next message of a run. One that must come in time is waited for no longer than that."""
        limit_s = self._longest_silence_s()
        try:
            async with asyncio.timeout(limit_s):
                if self._giving is not None:
                    await asyncio.wait([self._giving])
                return await frames.read(self._reader)
        except TimeoutError:
            await self._kill()
            raise EngineHung(seconds=limit_s) from None

    def _longest_silence_s(self) -> float | None:
        """How long a run may be silent; None for an engine that reports no steps: it is slow or hung, nobody knows."""
        if self.abilities is None or not self.abilities.progress:
            return None
        return self.abilities.step_s or self._step_timeout.total_seconds()

    async def _send_run(self, inputs: Inputs) -> None:
        """Send what is to be run; its pictures only if they are not there already."""
        if self._handing is not None:
            await asyncio.wait([self._handing])
        is_there = inputs.images is self._handed
        self._handed = None
        header = {"op": "run", "inputs": frames.inputs_to_json(inputs), "ahead": is_there}
        await self._send(header, () if is_there else inputs.images)

    async def _hand_over(self, images: tuple[Image, ...]) -> None:
        self._handed = None
        try:
            await self._send({"op": "ahead"}, images)
            self._handed = images
        except ConnectionError:
            log.debug("the engine's process ended before the next run")
        finally:
            self._handing = None

    async def _send(self, header: Mapping[str, Any], images: Sequence[Image] = ()) -> None:
        async with self._sending:
            for buffer in frames.pack(header, images):
                self._writer.write(buffer)
                await self._writer.drain()

    @contextlib.asynccontextmanager
    async def _limited(self, limit: timedelta) -> Any:
        """Turns the end of the time and of the process into our errors; whatever goes wrong, the process is killed."""
        try:
            async with asyncio.timeout(limit.total_seconds()):
                yield
        except TimeoutError:
            await self._kill()
            raise EngineTimeout(seconds=round(limit.total_seconds())) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            await self._kill()
            raise EngineDied from None
        except asyncio.CancelledError:
            await self._kill()
            raise

    async def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._end()


def _fault(answer: Mapping[str, Any]) -> GessoError:
    """The error that the engine's process told of."""
    kind: type[GessoError] = getattr(errors, answer["name"], EngineFailed)
    if not issubclass(kind, RunFailed):
        return kind(**answer["facts"])
    return kind(detail=tuple(Problem(tuple(loc), *rest) for loc, *rest in answer["detail"]), **answer["facts"])
