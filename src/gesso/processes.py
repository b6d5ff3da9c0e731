"""The processes of the server: an API, a worker, and `up`, which is one of each. They begin, end and watch; no more."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvicorn
import uvloop

from gesso import assembly
from gesso.api.polling import PollingProtocol
from gesso.assembly import Parts
from gesso.config import Settings, environment_name
from gesso.core.errors import ConfigError
from gesso.worker.worker import Worker

EXIT_CONFIG = 78
FIELDS = Settings.model_fields
OPENERS = ("fetch_allow_http", "fetch_allow_ports", "fetch_allow_hosts", "fetch_allow_private")
FIRST_OWNER = "local"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
HEALTHY_S = 60.0
log = logging.getLogger(__name__)

Announce = Callable[[str, str | None], None]
"""Told the public URL and, on a fresh install, the first token."""


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run *main* to its end, on the fast event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def serve(settings: Settings, announce: Announce) -> None:
    """An API, until SIGTERM or SIGINT.

    Raises:
        ConfigError: when the settings cannot be, the address is taken, or a public address has no token.
    """
    _tell_what_is_open(settings)
    async with assembly.open_parts(settings) as parts:
        await _serve(parts, announce)


async def work(settings: Settings, *, leashed: bool = False) -> None:
    """A worker, until SIGTERM or SIGINT.

    Args:
        leashed: also until standard input ends: whoever started it is gone then.
    """
    _tell_what_is_open(settings)
    async with assembly.open_parts(settings) as parts, assembly.open_worker(parts) as worker:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        if leashed:
            loop.add_reader(sys.stdin.fileno(), _let_go, worker)
        await worker.run()


async def up(settings: Settings, announce: Announce) -> None:
    """An API with a worker in a process of its own beside it; the worker is replaced when it dies.

    When this process is killed, the worker ends what it runs, and then itself.

    Raises:
        ConfigError: as `serve`, and when the worker cannot start.
    """
    async with assembly.open_parts(settings) as parts:
        watching = asyncio.create_task(_watch(settings))
        serving = asyncio.create_task(_serve(parts, announce))
        await asyncio.wait([watching, serving], return_when=asyncio.FIRST_COMPLETED)
        for task in (serving, watching):
            task.cancel()
        for told in await asyncio.gather(serving, watching, return_exceptions=True):
            if isinstance(told, Exception):
                raise told


async def _serve(parts: Parts, announce: Announce) -> None:
    settings = parts.settings
    with _listen(settings) as listener:
        first_token = await _first_token(parts)
        url = assembly.public_url(settings, listener.getsockname()[1])
        config = uvicorn.Config(
            await assembly.make_api(parts, url),
            http=PollingProtocol, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=round(settings.grace.total_seconds()),
        )  # fmt: skip
        server = uvicorn.Server(config)
        # Ours until uvicorn puts its own in their place, and again for the signal that it raises once it has served.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        announce(url, first_token)
        await server.serve(sockets=[listener])


async def _first_token(parts: Parts) -> str | None:
    """On loopback, a fresh install's first token; None where one exists already."""
    if await parts.tokens.exist():
        return None
    if not parts.settings.is_loopback:
        raise ConfigError(
            reason=f"{parts.settings.host} can be reached from outside, and there is no token yet: "
            "create one with `gesso tokens create --owner NAME`, then start again"
        )
    return await parts.tokens.create(FIRST_OWNER)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as fault:
        listener.close()
        reason = f"cannot listen on {settings.host} port {settings.port}: {fault.strerror}; choose another with --port"
        raise ConfigError(reason=reason) from None
    return listener


async def _watch(settings: Settings) -> None:
    """Keep a worker running; cancelled, end it gently."""
    pause, loop = FIRST_PAUSE_S, asyncio.get_running_loop()
    while True:
        began = loop.time()
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gesso", "work", "--leashed",
            stdin=asyncio.subprocess.PIPE, env=os.environ | to_environment(settings),
            start_new_session=True,  # a Ctrl-C in the terminal is for us; the worker ends when we let go of it
        )  # fmt: skip
        try:
            code = await worker.wait()
        except asyncio.CancelledError:
            assert worker.stdin is not None  # noqa: S101 - it was asked for
            worker.stdin.close()
            await worker.wait()
            raise
        if code == EXIT_CONFIG:
            raise ConfigError(reason="the worker cannot start; its own message stands above")
        if loop.time() - began > HEALTHY_S:
            pause = FIRST_PAUSE_S
        log.error("the worker ended with code %s; another is started in %.1f s", code, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)


def to_environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, for a process that is to have the same."""
    told = settings.model_dump(mode="json", exclude_none=True)
    return {environment_name(name): ",".join(map(str, each)) if isinstance(each, list) else str(each)
            for name, each in told.items()}  # fmt: skip


def _tell_what_is_open(settings: Settings) -> None:
    """Say at each start what an operator has opened: it is easily forgotten."""
    opened = {name: getattr(settings, name) for name in OPENERS if getattr(settings, name) != FIELDS[name].default}
    for name, value in opened.items():
        log.warning(
            "pictures may be fetched from more than public https hosts: %s is %s", environment_name(name), value
        )


def _let_go(worker: Worker) -> None:
    with contextlib.suppress(BlockingIOError):
        if not os.read(sys.stdin.fileno(), 1024):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            worker.stop()
