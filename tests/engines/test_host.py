"""An engine's process: whatever the engine does, the host tells it by name, and the next run works."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from PIL import Image
from script import Script, eventually, eventually_now

from gesso.core.errors import (
    ConfigError,
    ContentRejected,
    EngineDied,
    EngineFailed,
    EngineHung,
    EngineTimeout,
    GessoError,
    InputRejected,
    Problem,
    Stopped,
)
from gesso.core.inputs import Inputs, Size
from gesso.engines import frames
from gesso.engines.host import Host

pytestmark = pytest.mark.anyio
Hosts = Callable[..., Host]
LONG = timedelta(minutes=1)
SHORT = timedelta(milliseconds=300)
LARGE = Inputs(prompt="large", size=Size(5000, 5000))
HOLD = """
import asyncio, sys
from datetime import timedelta
from gesso.core.inputs import Inputs
from gesso.engines.host import Host
async def main():
    host = Host("scripted", {})
    await host.run(Inputs(prompt=sys.argv[1]), lambda *_: None)
asyncio.run(main())
"""


def silent(step: int, of: int, preview: Image.Image | None) -> None:
    """Nobody listens."""


class Steps(list[int]):
    """Whoever hears of the steps, and sees the previews."""

    def __init__(self) -> None:
        super().__init__()
        self.previews: list[Image.Image | None] = []

    def __call__(self, step: int, of: int, preview: Image.Image | None) -> None:  # noqa: ARG002 - as hosts call it
        self.append(step)
        self.previews.append(preview)


@pytest.fixture
async def hosts(scripted: Script) -> AsyncIterator[Hosts]:
    made: list[Host] = []

    def host(load: str = "", abilities: dict[str, object] | None = None, **limits: timedelta) -> Host:
        options = {"load": load, "abilities": abilities or {}}
        made.append(Host("scripted", options, **{"run_timeout": LONG, "load_timeout": LONG, **limits}))
        return made[-1]

    yield host
    await asyncio.gather(*(each.close() for each in made))


@pytest.fixture
def host(hosts: Hosts) -> Host:
    return hosts()


def asked(prompt: str = "") -> Inputs:
    return Inputs(prompt=prompt, size=Size(64, 48))


def is_there(pid: int) -> bool:
    """Whether the process runs; one that ended and was not asked for since does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def works(host: Host) -> bool:
    made = await host.run(asked(), silent)
    return made.images[0].size == (64, 48)


async def test_what_goes_in_reaches_the_engine_and_what_it_makes_comes_back(scripted: Script) -> None:
    echo = Host("echo", {})
    red = Image.new("RGB", (31, 7), (200, 10, 20))
    made = await echo.run(Inputs(images=(red, red), size=Size(10, 20), seed=5), silent)
    await echo.close()

    assert (made.images[0].size, made.images[0].getpixel((0, 0))) == ((10, 20), (200, 10, 20))
    assert (made.notes["engine"], made.notes["seed"], made.notes["size"]) == ("echo", 5, "10x20")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I", "F", "CMYK", "HSV", "I;16"])
async def test_a_picture_is_rgb_and_of_the_asked_size_whatever_the_engine_makes(host: Host, mode: str) -> None:
    made = await host.run(asked(f"picture:{mode}"), silent)

    assert [(each.mode, each.size) for each in made.images] == [("RGB", (64, 48))]


async def test_every_picture_comes_back_in_its_order(host: Host) -> None:
    made = await host.run(asked("pictures:3"), silent)

    assert [each.getpixel((0, 0)) for each in made.images] == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]


async def test_a_run_that_makes_no_picture_has_failed(host: Host) -> None:
    with pytest.raises(EngineFailed):
        await host.run(asked("pictures:0"), silent)
    assert await works(host)


async def test_progress_is_told_as_it_is_made(host: Host, scripted: Script) -> None:
    steps = Steps()
    running = asyncio.create_task(host.run(asked("gate:go"), steps))
    await eventually(lambda: len(steps) > 2)

    assert not running.done()
    scripted.open("go")
    await running


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "F"])
async def test_a_preview_of_any_mode_arrives_in_rgb(host: Host, mode: str) -> None:
    steps = Steps()
    await host.run(asked(f"preview:{mode}"), steps)

    assert [(each.mode, each.size) for each in steps.previews if each] == [("RGB", (40, 30))]
    assert steps == [1]
    assert await works(host)


async def test_pictures_that_were_handed_over_are_those_of_the_next_run() -> None:
    echo, red = Host("echo", {}), Image.new("RGB", (60, 40), "red")
    await echo.start()
    inputs = Inputs(images=(red,), size=Size(60, 40))
    await echo.hand_over(inputs)
    red.paste("blue", (0, 0, 60, 40))  # here: what arrived there is red
    first, second = await echo.run(inputs, silent), await echo.run(inputs, silent)
    await echo.close()

    assert first.images[0].getpixel((0, 0)) == (255, 0, 0)
    assert second.images[0].getpixel((0, 0)) == (0, 0, 255)


async def test_a_run_with_other_pictures_than_were_handed_over_brings_its_own() -> None:
    echo, red, blue = Host("echo", {}), Image.new("RGB", (6, 4), "red"), Image.new("RGB", (6, 4), "blue")
    await echo.start()
    await echo.hand_over(Inputs(images=(red,)))
    await echo.hand_over(Inputs(images=(red, red)))
    made = await echo.run(Inputs(images=(blue,)), silent)
    again = await echo.run(Inputs(images=(red,)), silent)
    await echo.close()

    assert made.images[0].getpixel((0, 0)) == (0, 0, 255)
    assert again.images[0].getpixel((0, 0)) == (255, 0, 0)


async def test_handing_over_disturbs_neither_a_run_nor_its_end(host: Host, scripted: Script) -> None:
    large = Inputs(images=(Image.new("RGB", (4000, 3000), "red"),) * 2, prompt="gate:go", size=Size(64, 48))
    steps = Steps()
    running = asyncio.create_task(host.run(asked("gate:go"), steps))
    await eventually(lambda: steps)
    handing = asyncio.create_task(host.hand_over(large))
    await eventually(host._sending.locked)
    handing.cancel()  # whoever wanted it may be gone; the rest of the pictures goes out all the same
    before = len(steps)
    await eventually(lambda: len(steps) > before + 2)
    scripted.open("go")

    assert (await running).images
    assert (await host.run(large, silent)).images


async def test_what_was_handed_over_to_a_process_that_died_is_sent_to_the_next(host: Host) -> None:
    picture = Inputs(images=(Image.new("RGB", (60, 40), "red"),), size=Size(64, 48))
    await host.hand_over(picture)  # before there is a process
    await host.start()
    await host.hand_over(picture)
    with pytest.raises(EngineDied):
        await host.run(asked("crash"), silent)

    assert (await host.run(picture, silent)).images


def test_the_next_run_begins_before_the_pictures_of_the_last_one_have_left(scripted: Script) -> None:
    """A host that reads no pixel at all: they are more than a socket holds."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "gesso.engines.child", str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process, ours, theirs:
        for order in ({"op": "load", "engine": "scripted", "options": {}}, run_of(LARGE), run_of(asked("gate:go"))):
            frames.send(ours, order)
        begun = eventually_now(lambda: scripted.begun("gate:go"))
        scripted.open("go")
        answers = [frames.receive(ours) for _ in range(2)]

    assert begun == process.pid
    assert [header["op"] for header, _ in answers] == ["ready", "made"]
    assert answers[1][1][0].getpixel((4999, 4999)) == (128, 128, 128)


def run_of(inputs: Inputs) -> frames.Header:
    return {"op": "run", "inputs": frames.inputs_to_json(inputs), "ahead": False}


@pytest.mark.parametrize(("struck_by", "fault"), [(signal.SIGKILL, EngineDied), (signal.SIGSTOP, EngineTimeout)])
async def test_a_process_that_dies_or_hangs_with_the_pictures_on_their_way_costs_that_run(
    hosts: Hosts, struck_by: signal.Signals, fault: type[GessoError]
) -> None:
    host = hosts(run_timeout=timedelta(seconds=3))  # time enough to make the large picture on a busy machine
    making = await host.engage(LARGE, silent)
    assert host.pid
    os.kill(host.pid, struck_by)

    with pytest.raises(fault):
        await making.pictures
    assert await works(host)


async def test_a_process_that_dies_in_the_next_run_is_replaced_by_one_that_stays(host: Host) -> None:
    making = await host.engage(LARGE, silent)
    with pytest.raises(EngineDied):
        await host.run(asked("crash"), silent)

    with contextlib.suppress(EngineDied):  # unless they were all out by then
        await making.pictures
    assert await works(host)
    pid = host.pid
    assert await works(host)
    assert host.pid == pid


async def test_an_engine_is_closed_once_its_pictures_are_out(host: Host) -> None:
    making = await host.engage(LARGE, silent)
    await host.close()

    assert making.pictures.done()
    assert making.pictures.result()[0].size == (5000, 5000)


@pytest.mark.parametrize(
    ("prompt", "kind", "says"),
    [
        ("fail:wet", EngineFailed, "The engine failed: wet"),
        ("reject", ContentRejected, "rejected"),
        ("broken:secret", EngineFailed, "The engine failed: ValueError"),
        ("paintless", EngineFailed, "no paint left"),
    ],
)
async def test_an_error_of_the_engine_is_told_by_name_and_the_process_stays(
    host: Host, prompt: str, kind: type[GessoError], says: str
) -> None:
    await host.start()
    pid = host.pid

    with pytest.raises(kind, match=says):
        await host.run(asked(prompt), silent)
    assert await works(host)
    assert host.pid == pid


async def test_which_picture_an_engine_refuses_is_told_too(host: Host) -> None:
    with pytest.raises(InputRejected) as told:
        await host.run(asked("refuse:image_corrupt"), silent)

    assert told.value.detail == (Problem(("body", "image_urls", 1), "image_corrupt", {"limit": 3}),)


async def test_an_engine_that_breaks_while_it_loads_is_told_in_its_words(hosts: Hosts) -> None:
    with pytest.raises(EngineFailed, match="did not load: ValueError: no_weights"):
        await hosts("broken:no_weights").start()


async def test_an_engine_that_dies_is_told_and_replaced(host: Host) -> None:
    await host.start()
    pid = host.pid

    with pytest.raises(EngineDied):
        await host.run(asked("crash"), silent)
    assert await works(host)
    assert host.pid != pid


async def test_an_engine_that_died_between_two_runs_is_replaced_unseen_or_told(host: Host) -> None:
    await host.start()
    assert host.pid is not None
    os.kill(host.pid, signal.SIGKILL)

    try:
        assert await works(host)
    except EngineDied:
        assert await works(host)


@pytest.mark.parametrize("prompt", ["hang", "spin", "gate:never"])
async def test_a_run_that_takes_too_long_is_killed_and_told(hosts: Hosts, scripted: Script, prompt: str) -> None:
    host = hosts(run_timeout=SHORT)
    await host.start()
    pid = host.pid

    with pytest.raises(EngineTimeout):
        await host.run(asked(prompt), silent)
    assert pid is not None
    assert not is_there(pid)
    assert await works(host)


@pytest.mark.parametrize("prompt", ["hang", "spin", "gate:begun hang"])
async def test_an_engine_that_reports_steps_and_falls_silent_has_hung_and_is_killed(
    hosts: Hosts, scripted: Script, prompt: str
) -> None:
    scripted.open("begun")
    host = hosts(step_timeout=SHORT)
    await host.start()
    pid = host.pid

    with pytest.raises(EngineHung, match=r"no step for 0\.3 seconds"):
        await host.run(asked(prompt), silent)
    assert pid is not None
    assert not is_there(pid)
    assert await works(host)


async def test_an_engine_that_is_merely_slow_is_no_hung_one(hosts: Hosts) -> None:
    host = hosts(step_timeout=SHORT)
    began = asyncio.get_running_loop().time()
    steps = Steps()
    await host.run(asked("slow"), steps)

    assert asyncio.get_running_loop().time() - began > 3 * SHORT.total_seconds()
    assert steps == list(range(1, 11))


async def test_an_engine_may_ask_for_more_time_between_its_steps(hosts: Hosts) -> None:
    host = hosts(abilities={"step_s": 10.0}, step_timeout=timedelta(milliseconds=20))

    assert (await host.run(asked("slow"), silent)).images


async def test_an_engine_without_steps_may_be_silent_until_its_time_is_over(hosts: Hosts) -> None:
    host = hosts(abilities={"progress": False}, step_timeout=timedelta(milliseconds=20), run_timeout=SHORT)
    await host.start()

    with pytest.raises(EngineTimeout):
        await host.run(asked("hang"), silent)


async def test_a_run_stops_at_its_next_step_and_the_engine_stays_usable(host: Host, scripted: Script) -> None:
    running = asyncio.create_task(host.run(asked("gate:never"), silent))
    pid = await eventually(lambda: scripted.begun("gate:never"))
    await host.stop_run()

    with pytest.raises(Stopped):
        await running
    assert await works(host)
    assert host.pid == pid


async def test_a_word_to_stop_that_comes_after_the_run_stops_no_other(host: Host) -> None:
    await host.run(asked(), silent)
    await host.stop_run()

    assert await works(host)


async def test_a_word_to_stop_before_the_first_run_is_harmless(host: Host) -> None:
    await host.stop_run()

    assert await works(host)


async def test_a_run_that_nobody_waits_for_any_more_is_killed(host: Host, scripted: Script) -> None:
    running = asyncio.create_task(host.run(asked("hang"), silent))
    pid = await eventually(lambda: scripted.begun("hang"))
    running.cancel()
    await asyncio.wait([running])

    assert running.cancelled()
    assert not is_there(pid)
    assert await works(host)


@pytest.mark.parametrize("engine", ["scripted", "echo"])
async def test_closing_ends_the_process_and_twice_is_safe(scripted: Script, engine: str) -> None:
    host = Host(engine, {})
    await host.start()
    pid = host.pid
    await host.close()
    await host.close()

    assert host.pid is None
    assert pid is not None
    assert not is_there(pid)


async def test_closing_lets_the_engine_give_everything_back(host: Host, scripted: Script) -> None:
    await host.start()
    await host.close()

    assert scripted.journal()[-1] == "close"


async def test_starting_twice_is_starting_once(host: Host, scripted: Script) -> None:
    await host.start()
    await host.start()

    assert scripted.journal() == ["load"]
    assert host.abilities is not None
    assert host.abilities.name == "scripted"


@pytest.mark.parametrize(
    ("engine", "options", "says"),
    [
        ("nobody", {}, "no engine is called 'nobody'"),
        ("echo", {"colour": "red"}, "does not take these options"),
        ("scripted", {"load": "misconfigured:licence"}, "licence"),
    ],
)
async def test_an_engine_that_cannot_be_is_told_in_its_words(
    scripted: Script, engine: str, options: dict[str, str], says: str
) -> None:
    host = Host(engine, options)

    with pytest.raises(ConfigError, match=says):
        await host.start()
    assert host.pid is None


async def test_an_engine_that_dies_while_it_loads_is_told(hosts: Hosts) -> None:
    with pytest.raises(EngineDied):
        await hosts("crash").start()


async def test_an_engine_that_loads_too_long_is_killed_and_told(hosts: Hosts) -> None:
    with pytest.raises(EngineTimeout):
        await hosts("hang", load_timeout=SHORT).start()


async def test_an_engine_that_spins_ends_with_the_process_that_holds_it(scripted: Script) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, "spin"])  # noqa: ASYNC220 - it takes a moment only
    pid = await eventually(lambda: scripted.begun("spin"))
    holder.kill()
    holder.wait()

    await eventually(lambda: not is_there(pid) or is_zombie(pid))


def is_zombie(pid: int) -> bool:
    """Whether it ended, and only nobody has asked for it yet."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] in ("", "Z")


async def test_a_run_goes_on_only_once_what_it_remembers_is_kept(host: Host, scripted: Script) -> None:
    kept: list[tuple[str, bool]] = []

    async def keep(text: str) -> None:
        kept.append((text, (scripted.folder / f"kept-{text}").exists()))

    await host.run(asked("remember:job7 remember:job8"), silent, keep)

    assert kept == [("job7", False), ("job8", False)]
    assert (scripted.folder / "kept-job8").exists()


async def test_a_run_that_is_stopped_while_it_leaves_word_stops_and_the_next_one_runs(host: Host) -> None:
    async def stopped_meanwhile(_: str) -> None:
        await host.stop_run()

    with pytest.raises(Stopped):
        await host.run(asked("remember:job7"), silent, stopped_meanwhile)
    assert await works(host)
