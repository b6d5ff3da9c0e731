"""The processes of the server: an API, a worker, and `up`, which is one of each. They begin, end and watch; no more."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from gesso import assembly
from gesso.api.polling import PollingProtocol
from gesso.assembly import Parts
from gesso.config import Settings, environment_name, is_loopback
from gesso.core.errors import ConfigError, StorageBroken
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
    """Run *main* to its end, on the fast event loop. Once it has ended, signals to stop change nothing any more."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_deaf_in_the_end(main))


async def _deaf_in_the_end(main: Coroutine[Any, Any, None]) -> None:
    try:
        await main
    finally:
        # Python gives them their deadly default back while it shuts down, unless they are ignored.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


async def serve(settings: Settings, announce: Announce) -> None:
    """An API, until SIGTERM or SIGINT.

    Raises:
        ConfigError: when the settings cannot be, the address is taken, or a public address has no token.
        StorageBroken: when a sync failed; it has taken no more work since.
    """
    _tell_what_is_open(settings)
    alarm = Alarm()
    async with assembly.open_parts(settings, alarm.ring) as parts:
        await _serve(parts, announce, alarm)


async def work(settings: Settings, *, leashed: bool = False) -> None:
    """A worker, until SIGTERM or SIGINT.

    Args:
        leashed: also until standard input ends: whoever started it is gone then.

    Raises:
        StorageBroken: as `serve`.
    """
    _tell_what_is_open(settings)
    alarm = Alarm()
    async with assembly.open_parts(settings, alarm.ring) as parts, assembly.open_worker(parts) as worker:
        alarm.stop = worker.stop
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        if leashed:
            loop.add_reader(sys.stdin.fileno(), _let_go, worker)
        await worker.run()
        alarm.raise_if_rung()


async def up(settings: Settings, announce: Announce) -> None:
    """An API with a worker in a process of its own beside it; the worker is replaced when it dies.

    When this process is killed, the worker ends what it runs, and then itself.

    Raises:
        ConfigError: as `serve`, and when the worker cannot start.
        StorageBroken: as `serve`; a worker that it happens to is replaced.
    """
    assembly.make_credentials(settings)  # the worker's, but nobody is to be served first
    alarm = Alarm()
    async with assembly.open_parts(settings, alarm.ring) as parts:
        served_at: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def announced(url: str, token: str | None) -> None:
            announce(url, token)
            served_at.set_result(url)

        watching = asyncio.create_task(_watch(settings, alarm, served_at))
        serving = asyncio.create_task(_serve(parts, announced, alarm))
        await asyncio.wait([watching, serving], return_when=asyncio.FIRST_COMPLETED)
        for task in (serving, watching):
            task.cancel()
        for told in await asyncio.gather(serving, watching, return_exceptions=True):
            if isinstance(told, Exception):
                raise told


class Alarm:
    """Rung when this process must take no more work: it stops as it would at SIGTERM, and ends as failed.

    Attributes:
        stop: how it stops; called in the event loop that the alarm was made in.
        is_stopping: whether it is on its way out, for whatever reason.
    """

    def __init__(self) -> None:
        self.stop: Callable[[], None] = lambda: None
        self.is_stopping = False
        self._loop = asyncio.get_running_loop()
        self._fault: Exception | None = None

    def ring(self, fault: Exception) -> None:
        """Stop because of *fault*; in any thread."""
        log.critical("a sync failed, so no more work is taken: %s", fault)
        self._fault = fault
        self.is_stopping = True
        self._loop.call_soon_threadsafe(self._stop_now)

    def _stop_now(self) -> None:
        self.stop()  # as it is by now

    def raise_if_rung(self) -> None:
        """End as failed.

        Raises:
            StorageBroken: when it was rung.
        """
        if self._fault is not None:
            raise StorageBroken from self._fault


class _Server(uvicorn.Server):
    """Passes on that it was told to stop: uvicorn puts its own signal handler in the place of ours."""

    def __init__(self, config: uvicorn.Config, alarm: Alarm, stop_waiting: Callable[[], None]) -> None:
        super().__init__(config)
        self._alarm = alarm
        self._stop_waiting = stop_waiting

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second SIGINT at once."""
        self._alarm.is_stopping = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Send those home first who wait for news: what is under way is waited for."""
        self._stop_waiting()
        await super().shutdown(sockets)


async def _serve(parts: Parts, announce: Announce, alarm: Alarm) -> None:
    settings = parts.settings
    with _listen(settings.host, settings.port, "--port") as listener, _listen_for_admins(settings) as admin:
        first_token = await _first_token(parts)
        url = assembly.public_url(settings, listener.getsockname()[1])
        sockets = [listener, *filter(None, [admin])]
        api = await assembly.make_api(parts, url, admin.getsockname()[1] if admin else -1)
        config = uvicorn.Config(
            api,
            http=PollingProtocol, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=round(settings.grace.total_seconds()),
        )  # fmt: skip
        server = _Server(config, alarm, api.stop)
        alarm.stop = lambda: setattr(server, "should_exit", True)
        # Ours until uvicorn puts its own in their place, and again for the signal that it raises once it has served.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        announce(url, first_token)
        await server.serve(sockets=sockets)
        alarm.raise_if_rung()


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


def _listen_for_admins(settings: Settings) -> contextlib.AbstractContextManager[socket.socket | None]:
    """The listener of /metrics, where there is one: what it tells is for whoever runs the server."""
    if settings.admin_port < 0:
        return contextlib.nullcontext()
    if not settings.metrics_token and not is_loopback(settings.admin_host):
        raise ConfigError(reason=f"{settings.admin_host} can be reached from outside: set metrics_token, or admin_host")
    admin = _listen(settings.admin_host, settings.admin_port, "GESSO_ADMIN_PORT")
    log.info("metrics are told on %s port %d, /metrics", *admin.getsockname()[:2])
    return admin


def _listen(host: str, port: int, flag: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as fault:
        listener.close()
        reason = f"cannot listen on {host} port {port}: {fault.strerror}; choose another with {flag}"
        raise ConfigError(reason=reason) from None
    return listener


async def _watch(settings: Settings, alarm: Alarm, served_at: Awaitable[str]) -> None:
    """Keep a worker running; cancelled, end it gently.

    Args:
        served_at: the public URL, which webhooks name.
    """
    settings = settings.model_copy(update={"public_base_url": await served_at})
    pause, loop = FIRST_PAUSE_S, asyncio.get_running_loop()
    while not alarm.is_stopping:
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
        if not alarm.is_stopping:
            log.error("the worker ended with code %s; another is started in %.1f s", code, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)
    # The worker was told too, as a service manager tells all processes of a service. The API still ends what it has.
    await loop.create_future()


def to_environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, for a process that is to have the same."""
    told = settings.model_dump(mode="json", exclude_none=True) | {"database": settings.database}  # with its password
    return {environment_name(name): ",".join(map(str, each)) if isinstance(each, list) else str(each)
            for name, each in told.items()}  # fmt: skip


def _tell_what_is_open(settings: Settings) -> None:
    """Say at each start what an operator has opened: it is easily forgotten."""
    opened = {name: getattr(settings, name) for name in OPENERS if getattr(settings, name) != FIELDS[name].default}
    for name, value in opened.items():
        log.warning(
            "pictures and webhooks may reach more than public https hosts: %s is %s", environment_name(name), value
        )


def _let_go(worker: Worker) -> None:
    with contextlib.suppress(BlockingIOError):
        if not os.read(sys.stdin.fileno(), 1024):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            worker.stop()
