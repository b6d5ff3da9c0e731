"""Foreign bytes are decoded by a process that may die of them."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import hostile_images
from PIL import Image

from gesso.core.errors import Unavailable
from gesso.core.pictures import Facts, PictureFault, Validation
from gesso.files import decoder as decoder_module
from gesso.files.decoder import Decoder
from gesso.files.decoding import LENGTH

pytestmark = pytest.mark.anyio

HOSTILE = hostile_images()
needs_hostile = pytest.mark.skipif(HOSTILE is None, reason="the hostile pictures are not beside this checkout")
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are seen in /proc")
BOUNDS = {
    "width_pixels>": 384,
    "height_pixels>": 384,
    "width_pixels<": 5000,
    "height_pixels<": 5000,
    "file_size_mb<": 10,
}
VALIDATIONS = tuple(Validation(rule, bound, "") for rule, bound in BOUNDS.items())
IN_THE_SCHEMAS_WORDS = {
    "image_too_small": {"width_pixels>", "height_pixels>"},
    "image_too_large": {"width_pixels<", "height_pixels<"},
    "file_too_large": {"file_size_mb<"},
    "ok_or_corrupt": {"ok", "image_corrupt"},
}
WHITE, RED = (255, 255, 255), (255, 0, 0)
MEANS = {
    "ok_rgba.png": WHITE,
    "ok_la.png": WHITE,
    "ok_palette_trns.png": WHITE,
    "ok_cmyk.jpg": RED,
    "ok_16bit_grey.png": (127, 127, 127),
    "ok_16bit_rgb.png": (255, 128, 0),
    "multi_picture.mpo.jpg": (90, 140, 199),
}
SIZES = {"ok_exif_orientation6.jpg": (400, 800), "ok_exif_orientation_bad.jpg": (800, 400)}


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    decoder = Decoder()
    yield decoder
    await decoder.close()


def picture(width: int = 500, height: int = 400) -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def slow_picture() -> bytes:
    """About half a second of work, and within every limit: a large progressive JPEG with 60 more scans."""
    buffer = io.BytesIO()
    Image.new("L", (4000, 4000), 90).save(buffer, "JPEG", progressive=True)
    jpeg = buffer.getvalue()
    return jpeg[:-2] + jpeg[jpeg.rindex(b"\xff\xda") : -2] * 60 + b"\xff\xd9"


async def at_work(decoder: Decoder) -> tuple[int, int]:
    """The process and its child, as soon as that one has used a tenth of a second of the processor."""
    async with asyncio.timeout(10):
        while True:
            await asyncio.sleep(0.001)
            if (found := busy_child(decoder)) is not None:
                return found


def busy_child(decoder: Decoder) -> tuple[int, int] | None:
    with suppress(AttributeError, FileNotFoundError, ProcessLookupError):
        process = decoder._forker._process.pid
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            if int(Path(f"/proc/{child}/stat").read_text().split()[13]) >= os.sysconf("SC_CLK_TCK") / 10:
                return process, int(child)
    return None


async def verdict(decoder: Decoder, data: bytes) -> str:
    try:
        await decoder.inspect(data, VALIDATIONS)
    except PictureFault as fault:
        return fault.type
    return "ok"


@needs_hostile
@pytest.mark.parametrize("name", HOSTILE.CASES if HOSTILE else [])
async def test_every_hostile_picture_gets_its_verdict(decoder, name):
    expected, data = HOSTILE.CASES[name].expect, HOSTILE.build(name)

    assert await verdict(decoder, data) in IN_THE_SCHEMAS_WORDS.get(expected, {expected})


@needs_hostile
@pytest.mark.parametrize("name", {**MEANS, **SIZES})
async def test_pixels_come_upright_flattened_and_scaled(decoder, name):
    image = await decoder.decode(HOSTILE.build(name))
    mean = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))

    assert (image.mode, image.info) == ("RGB", {})
    assert image.size == SIZES.get(name, image.size)
    assert mean == MEANS.get(name, mean)


async def test_facts_and_pixels_come_back(decoder):
    data = picture()

    assert await decoder.inspect(data, VALIDATIONS) == Facts("png", 500, 400, len(data))
    assert await decoder.decode(data) == Image.open(io.BytesIO(data)).convert("RGB")


@pytest.mark.parametrize("anyio_backend", [pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")])
async def test_it_works_on_the_servers_own_loop(anyio_backend):
    pytest.importorskip("uvloop")
    decoder = Decoder()
    images = await asyncio.gather(*(decoder.decode(picture(400 + n, 400)) for n in range(5)))
    await decoder.close()

    assert [image.width for image in images] == [400, 401, 402, 403, 404]


@needs_proc
async def test_when_the_process_is_killed_the_caller_is_answered_and_the_next_picture_works(decoder):
    decoding = asyncio.create_task(decoder.decode(slow_picture()))
    process, _ = await at_work(decoder)
    os.kill(process, signal.SIGKILL)

    assert (await decoding).size == (4000, 4000)
    assert (await decoder.decode(picture())).size == (500, 400)


@needs_proc
async def test_a_picture_that_kills_its_child_is_corrupt(decoder):
    decoding = asyncio.create_task(decoder.decode(slow_picture()))
    _, child = await at_work(decoder)
    os.kill(child, signal.SIGSEGV)

    with pytest.raises(PictureFault, match="image_corrupt"):
        await decoding
    assert await verdict(decoder, picture()) == "ok"


@needs_proc
async def test_a_child_that_stands_still_is_given_up(decoder, monkeypatch):
    monkeypatch.setattr(decoder_module, "WALL_S", -1.5)
    decoding = asyncio.create_task(decoder.decode(slow_picture()))
    _, child = await at_work(decoder)
    os.kill(child, signal.SIGSTOP)
    try:
        with pytest.raises(PictureFault, match="image_corrupt"):
            await decoding
    finally:
        os.kill(child, signal.SIGKILL)


@needs_proc
async def test_a_caller_that_leaves_frees_its_slot():
    decoder = Decoder(processes=1)
    decoding = asyncio.create_task(decoder.decode(slow_picture()))
    await at_work(decoder)
    decoding.cancel()
    size = (await asyncio.wait_for(decoder.decode(picture()), 5)).size
    await decoder.close()

    assert size == (500, 400)


async def test_a_process_that_cannot_start_is_our_fault_and_not_the_pictures(decoder, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(Unavailable):
        await decoder.decode(picture())


async def test_after_closing_it_is_unavailable(decoder):
    await decoder.decode(picture())
    process = decoder._forker._process
    await decoder.close()
    await decoder.close()

    assert process.returncode is not None
    with pytest.raises(Unavailable):
        await decoder.decode(picture())


@needs_proc
async def test_the_process_knows_no_secret(monkeypatch):
    monkeypatch.setenv("GESSO_DATABASE_URL", "postgresql://planted-canary")
    decoder = Decoder()
    await decoder.decode(picture())
    environment = Path(f"/proc/{decoder._forker._process.pid}/environ").read_bytes()  # noqa: ASYNC240
    await decoder.close()

    assert b"canary" not in environment


@pytest.mark.parametrize(
    "deed",
    ["open('/dev/null')", "socket.socket()", "bytearray(1600 * 2**20)", "os.pipe()", "os.listdir('/')"],
)
def test_a_child_may_open_nothing_and_grow_to_a_limit(deed):
    program = f"import os, socket\nfrom gesso.files.decoding import _limit\n_limit()\n{deed}"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, check=False)

    assert done.returncode == 1
    assert b"Too many open files" in done.stderr or b"MemoryError" in done.stderr


@pytest.mark.parametrize(
    "answer",
    [
        b"null", b"{}", b"not json", b"\xff", b" " * 5000, b'{"fault": 7}', b'{"facts": [1, 2, 3, 4]}',
        b'{"size": [1, -1]}', b'{"size": [100000, 100000]}', b'{"size": [4, 4]}',
    ],
)  # fmt: skip
async def test_a_child_that_was_taken_over_is_not_believed(answer):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        theirs.sendall(b"+" + LENGTH.pack(len(answer)) + answer)
        theirs.shutdown(socket.SHUT_WR)

        with pytest.raises(PictureFault, match="image_corrupt"):
            await decoder_module._converse(ours, {"ask": "decode"}, b"")
