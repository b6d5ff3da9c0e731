"""An engine in a process of its own: started, timed, killed and replaced from here.

A crash, an out-of-memory or a hung call costs that process and one attempt, nothing else.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gesso.core import errors
from gesso.core.errors import EngineDied, EngineFailed, EngineTimeout, GessoError
from gesso.core.inputs import Inputs
from gesso.core.ports import Abilities, Made, Progress, Remember
from gesso.engines import frames

READ_AHEAD = 16 * 1024 * 1024
GRACE_S = 2.0


async def nowhere(_: str) -> None:
    """For runs that are not requests: there is no next attempt."""


class Host:
    """One engine's process. Its calls come one after another; start it anew by simply running again.

    Args:
        engine: entry-point name.
        options: keyword arguments of the engine's class.
        run_timeout: a run that takes longer is failed, and its process killed.
        load_timeout: how long loading the weights may take.
    """

    def __init__(
        self,
        engine: str,
        options: Mapping[str, Any],
        *,
        run_timeout: timedelta = timedelta(minutes=10),
        load_timeout: timedelta = timedelta(minutes=30),
    ) -> None:
        self.engine = engine
        self._order = {"op": "load", "engine": engine, "options": dict(options)}
        self._run_timeout = run_timeout
        self._load_timeout = load_timeout
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
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
            answer, _ = await frames.read(self._reader)
        if answer["op"] == "failed":
            await self.close()
            raise _fault(answer)
        self.abilities = Abilities(**answer["abilities"])

    async def run(self, inputs: Inputs, on_progress: Progress, on_remember: Remember = nowhere) -> Made:
        """Run the engine; *on_progress* hears of each step, *on_remember* of what the next attempt must know.

        Raises:
            EngineFailed, ContentRejected, Stopped: as the engine says.
            EngineTimeout: when it takes longer than it may; the process is replaced at the next run.
            EngineDied: when the process ends; it is replaced likewise.
        """
        await self.start()
        async with self._limited(self._run_timeout):
            await self._send({"op": "run", "inputs": frames.inputs_to_json(inputs)}, inputs)
            while True:
                answer, buffers = await frames.read(self._reader)
                if answer["op"] == "made":
                    return Made(frames.unpack_images(answer["sizes"], buffers), answer["notes"])
                if answer["op"] == "failed":
                    raise _fault(answer)
                if answer["op"] == "remember":
                    await on_remember(answer["text"])
                    await self._send({"op": "kept"})
                else:
                    preview = next(iter(frames.unpack_images(answer["sizes"], buffers)), None)
                    on_progress(answer["step"], answer["of"], preview)

    async def stop_run(self) -> None:
        """Tell the run to stop at its next step; `run` then raises Stopped. Without a run, nothing happens."""
        if self._process is None:
            return
        with contextlib.suppress(ConnectionError):
            await self._send({"op": "stop"})

    async def close(self) -> None:
        """End the process; twice is safe."""
        process, self._process = self._process, None
        if process is None:
            return
        self._writer.close()
        try:
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

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

    async def _send(self, header: Mapping[str, Any], inputs: Inputs | None = None) -> None:
        self._writer.writelines(frames.pack(header, inputs.images if inputs else ()))
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
            await self.close()


def _fault(answer: Mapping[str, Any]) -> GessoError:
    """The error that the engine's process told of."""
    kind = getattr(errors, answer["name"], EngineFailed)
    fault: GessoError = kind(**answer["facts"])
    return fault
