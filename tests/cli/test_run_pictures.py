"""`gesso run` shows previews and results on terminals that can: on real ones, as a person would see them."""

import base64
import fcntl
import io
import json
import os
import pty
import re
import struct
import termios
from collections.abc import Callable
from functools import partial
from typing import Any

import pyte
import pytest
from PIL import Image, ImageChops
from standin import ID, IN_PROGRESS, MODEL, Standin

from gesso.cli.area import Area
from gesso.cli.painting import PAINTERS
from gesso.cli.screen import form

RED, BLUE = (254, 0, 0), (0, 0, 255)
ROWS, COLUMNS = 40, 100
Run = Callable[..., str]
slow = partial(pytest.param, marks=pytest.mark.slow)
UNNAMED = ("TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "COLORTERM", "COLUMNS", "LINES")


def file(colour: tuple[int, int, int], kind: str, size: tuple[int, int] = (64, 32)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, kind, quality=100, subsampling=0)
    return data.getvalue()


@pytest.fixture
def live(server: Standin) -> Standin:
    """A server that sends two red previews and makes a blue picture."""
    data = base64.b64encode(file(RED, "JPEG")).decode()
    preview = {"content_type": "image/jpeg", "width": 64, "height": 32, "data": data}
    frames = [("status", IN_PROGRESS), ("progress", {"fraction": 0.5, "step": 1, "steps": 2}), ("preview", preview),
              ("preview", preview), ("result", {"request_id": ID, **server.result})]  # fmt: skip
    lines = [f"id: {id}\nevent: {name}\ndata: {json.dumps(told)}\n\n" for id, (name, told) in enumerate(frames, 1)]
    server.can(f"GET /v1/requests/{ID}/events", (200, {"Content-Type": "text/event-stream"}, "".join(lines).encode()))
    server.can("GET /files/hV3/0b9f0f7e-1.png", (200, {"Content-Type": "image/png"}, file(BLUE, "PNG")))
    return server


@pytest.fixture
def run(gesso: Any, live: Standin, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs on a terminal that says so of itself; all that it was sent."""

    def on_terminal(*words: str, rows: int = ROWS, **environment: str) -> str:
        for name in UNNAMED:
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm-256color", **environment}.items():
            monkeypatch.setenv(name, value)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, COLUMNS, 10 * COLUMNS, 20 * rows))
        process = gesso.start("run", MODEL, "-p", "a cat", *words, stdout=theirs, stderr=theirs)
        os.close(theirs)
        sent = drain(ours)
        assert process.wait(20) == 0, sent
        return sent

    return on_terminal


def drain(terminal: int) -> str:
    """All that is sent to a terminal until everybody has left it."""
    sent = b""
    try:
        while data := os.read(terminal, 65536):
            sent += data
    except OSError:  # how Linux says that
        pass
    os.close(terminal)
    return sent.decode()


def seen(sent: str) -> pyte.Screen:
    """What stands on the screen in the end."""
    screen = pyte.Screen(COLUMNS, ROWS)
    pyte.Stream(screen).feed(sent)
    return screen


def coloured(screen: pyte.Screen) -> dict[tuple[str, str], int]:
    """How many half blocks of which two colours stand there."""
    found: dict[tuple[str, str], int] = {}
    for row in range(ROWS):
        for column in range(COLUMNS):
            cell = screen.buffer[row][column]
            if cell.data == "▀":
                found[cell.fg, cell.bg] = found.get((cell.fg, cell.bg), 0) + 1
    return found


def test_a_person_sees_the_result_between_the_progress_and_the_files_name(run: Run) -> None:
    sent = run("--preview", "always", COLORTERM="truecolor")
    screen = seen(sent)

    assert coloured(screen) == {("0000ff", "0000ff"): 64 * 16}  # 64 columns, and a cell is twice as high as wide
    lines = [line.rstrip() for line in screen.display if line.strip()]
    assert lines[0] == f"request {ID}"
    assert re.fullmatch(r"completed, \d+\.\d s", lines[1])
    assert lines[2:-1] == ["▀" * 64] * 16
    assert lines[-1] == "0b9f0f7e-1.png"
    scrolled = seen("\n" * (ROWS - 1) + sent)
    assert coloured(scrolled) == coloured(screen)
    assert scrolled.display[-2].rstrip() == "0b9f0f7e-1.png"


def test_previews_stand_above_the_progress_each_in_the_place_of_the_one_before(run: Run) -> None:
    sent = run("--preview", "always", COLORTERM="24bit")
    until = sent[: sent.index("completed")].rpartition("\x1b[J")[0]  # both previews, not yet wiped
    screen = seen(until.rpartition("\r")[0])

    assert coloured(screen) == {("fe0000", "fe0000"): 64 * 16}
    lines = [line.rstrip() for line in screen.display if line.strip()]
    assert lines[0] == f"request {ID}"
    assert lines[1:-1] == ["▀" * 64] * 16
    assert lines[-1].startswith("in_progress [############............]  50%")


def test_kitty_is_sent_pngs_and_told_to_forget_the_previews(run: Run) -> None:
    sent = run(KITTY_WINDOW_ID="1")
    pictures = [(int(told["i"]), picture) for told, picture in kitty_pictures(sent)]
    forgotten = [int(number) for number in re.findall(r"\x1b_Ga=d,d=I,i=(\d+),q=2\x1b", sent)]

    assert [picture.getpixel((0, 0)) for _, picture in pictures] == [RED, RED, BLUE]
    assert forgotten == [number for number, _ in pictures[:2]]
    assert all(told["c"] == "64" and told["r"] == "16" for told, _ in kitty_pictures(sent))


def kitty_pictures(sent: str) -> list[tuple[dict[str, str], Image.Image]]:
    """As a terminal puts them together: the keys of the first chunk, and the data of all."""
    found, keys, data = [], dict[str, str](), ""
    for told, chunk in re.findall(r"\x1b_G([^;\x1b]*);([^\x1b]*)\x1b\\", sent):
        keys, data = keys | dict(each.split("=") for each in told.split(",")), data + chunk
        if keys["m"] == "0":
            found.append((keys, Image.open(io.BytesIO(base64.b64decode(data)))))
            keys, data = {}, ""
    return found


@pytest.mark.slow
def test_iterm_is_sent_pngs(run: Run) -> None:
    sent = run(TERM_PROGRAM="iTerm.app")
    found = re.findall(r"\x1b]1337;File=inline=1;width=(\d+);height=(\d+);preserveAspectRatio=0:([^\a]*)\a", sent)

    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for *_, data in found]
    assert [picture.getpixel((0, 0)) for picture in pictures] == [RED, RED, BLUE]
    assert {each[:2] for each in found} == {("64", "16")}


@pytest.mark.slow
def test_a_sixel_terminal_is_sent_sixels(run: Run) -> None:
    sent = run(TERM="foot")
    found = re.findall(r"\x1bP0;1q.*?\x1b\\", sent, re.DOTALL)

    pictures = [unsixel(each) for each in found]
    assert [near(picture.getpixel((0, 0))) for picture in pictures] == [near(RED), near(RED), near(BLUE)]
    assert {picture.size for picture in pictures} == {(640, 318)}  # 53 whole bands of the 16 rows' 320 pixels


def near(colour: Any) -> tuple[int, ...]:
    """A sixel's colours are in percent."""
    return tuple(round(part / 255) for part in colour)


def test_sixels_show_the_picture() -> None:
    wheel = Image.linear_gradient("L").resize((60, 48))
    picture = Image.merge("RGB", (wheel, wheel.rotate(180), Image.new("L", (60, 48), 90)))

    shown = unsixel(PAINTERS["sixel"].paint(picture, Area(6, 2, 60, 48, 1)))
    worst = max(high for _, high in ImageChops.difference(shown, picture).getextrema())
    assert (shown.size, worst < 16) == (picture.size, True)


def test_a_half_block_is_two_pixels_one_above_the_other() -> None:
    picture = Image.new("RGB", (2, 2), BLUE)
    picture.paste(RED, (0, 0, 2, 1))

    screen = seen(PAINTERS["blocks"].paint(picture, Area(2, 1, 20, 20, 1)))
    assert coloured(screen) == {("fe0000", "0000ff"): 2}


def unsixel(text: str) -> Image.Image:
    """The picture that sixels stand for, by the VT340's manual; no pixel may be left out."""
    size, body = re.fullmatch(r'\x1bP0;1q"1;1;(\d+;\d+)(.*)\x1b\\', text, re.DOTALL).groups()  # type: ignore[union-attr]
    width, height = map(int, size.split(";"))
    picture, inks = Image.new("RGB", (width, height), (1, 2, 3)), dict[str, tuple[int, ...]]()
    x = top = 0
    ink: tuple[int, ...] = ()
    for part in re.findall(r"#\d+;2;\d+;\d+;\d+|#\d+|!\d+.|[$-]|[?-~]", body):
        if part.startswith("#"):
            name, *told = part.split(";")
            inks |= {name: tuple(int(each) * 255 // 100 for each in told[1:])} if told else {}
            ink = inks[name]
        elif part in "$-":
            x, top = 0, top + (6 if part == "-" else 0)
        else:
            count = int(part[1:-1]) if part.startswith("!") else 1
            for bit in range(6):
                if (ord(part[-1]) - 63) >> bit & 1:
                    picture.paste(ink, (x, top + bit, x + count, top + bit + 1))
            x += count
    assert (1, 2, 3) not in {colour for _, colour in picture.getcolors(width * height)}
    return picture


GRAPHICS = ("\x1b_G", "\x1b]1337", "\x1bP", "▀")


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ((), {"COLORTERM": "truecolor"}),
        (("--json",), {"TERM": "xterm-kitty"}),
        slow((), {"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}),
        slow(("--preview", "never"), {"TERM": "xterm-kitty"}),
        slow(("-q",), {"TERM": "xterm-kitty"}),
        slow(("--no-download", "--poll-secs", "0.01"), {"TERM": "xterm-kitty"}),
    ],
)
def test_no_picture_is_sent_where_none_is_wanted(run: Run, words: tuple[str, ...], environment: dict[str, str]) -> None:
    sent = run(*words, **environment)

    assert [mark for mark in GRAPHICS if mark in sent] == []


def test_no_picture_is_sent_where_the_answer_goes_to_a_file(gesso: Any, live: Standin, monkeypatch: Any) -> None:
    monkeypatch.setenv("TERM", "xterm-kitty")
    ours, theirs = pty.openpty()
    process = gesso.start("run", MODEL, "-p", "a cat", "--preview", "always", stderr=theirs)
    os.close(theirs)
    stdout, _ = process.communicate(timeout=20)

    assert stdout == "0b9f0f7e-1.png\n"
    sent = drain(ours)
    assert [mark for mark in GRAPHICS if mark in sent] == []


def test_what_is_no_picture_is_passed_over(run: Run, live: Standin) -> None:
    live.can("GET /files/hV3/0b9f0f7e-1.png", (200, {"Content-Type": "image/png"}, b"\x89PNG\r\n\x1a\n no more"))
    sent = run(TERM="xterm-kitty")

    assert len(kitty_pictures(sent)) == 2
    assert sent.rstrip().endswith("0b9f0f7e-1.png")


@pytest.mark.slow
def test_a_terminal_of_few_lines_is_spared(run: Run) -> None:
    assert "▀" not in run("--preview", "always", rows=6, COLORTERM="truecolor")


@pytest.mark.parametrize(("asked", "is_told"), [("always", True), slow("auto", False)])
def test_without_the_extra_it_says_what_to_install_if_asked(
    run: Run, tmp_path: Any, asked: str, *, is_told: bool
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "PIL.py").write_text("raise ModuleNotFoundError")
    sent = run("--preview", asked, TERM="xterm-kitty", PYTHONPATH=str(tmp_path / "without"))

    assert ("pip install 'gesso[terminal]'" in sent) == is_told
    assert [mark for mark in GRAPHICS if mark in sent] == []


@pytest.mark.slow
def test_a_terminal_that_shows_none_is_told_so_if_asked(run: Run) -> None:
    assert "not known to show any" in run("--preview", "always")


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        ({"TERM": "foot-extra"}, "sixel"),
        ({"TERM": "xterm-sixel"}, "sixel"),
        ({"TERM": "screen.xterm-256color", "LC_TERMINAL": "iTerm2"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({"TERM": "tmux-256color", "COLORTERM": "truecolor"}, "blocks"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "blocks"),
        ({"TERM": "xterm-256color", "COLORTERM": "yes"}, None),
        ({}, None),
    ],
)
def test_the_form_follows_from_what_the_terminal_says_of_itself(environment: dict[str, str], name: str | None) -> None:
    assert form(environment, or_blocks=True) == name
    assert form(environment) == (None if name == "blocks" else name)
