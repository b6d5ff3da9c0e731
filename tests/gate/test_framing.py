"""What is no single sound message is refused, and harms nobody: raw bytes to a real server."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from inside import picture
from live import EXAMPLE_BODY, FIVE_KEYS, HOSTILE, SUBMIT, Line, Live, running
from starlette.types import ASGIApp, Receive, Scope, Send

from gesso.api import framing
from gesso.api.framing import StrictProtocol

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SOUND_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(EXAMPLE_BODY), EXAMPLE_BODY)
CLOSED = 0
Raw = Callable[[Live], bytes]


def submit(*lines: str, body: bytes = EXAMPLE_BODY) -> Raw:
    return lambda live: live.message(*lines, body=body)


def chunked(chunks: bytes) -> Raw:
    return submit("Transfer-Encoding: chunked", body=chunks)


def plain(data: bytes) -> Raw:
    return lambda _: data


def bare_line_ends(live: Live) -> bytes:
    return live.message().replace(b"\r\n", b"\n")


# id in bad_inputs.json -> what is sent, and the statuses that are right; CLOSED is no answer
BROKEN: dict[str, tuple[Raw, set[int]]] = {
    "H01": (submit("Transfer-Encoding: chunked", "Content-Length: 5", body=SOUND_CHUNKS + SMUGGLED), {400}),
    "H02": (submit("Content-Length: 0", "Content-Length: 5", body=b"12345" + SMUGGLED), {400}),
    "H04": (submit("Content-Length: +5", body=b"12345" + SMUGGLED), {400}),
    "H05": (submit("Content-Length: -1", body=SMUGGLED), {400}),
    "H06": (submit("Content-Length: 0x5", body=b"12345" + SMUGGLED), {400}),
    "H07": (submit("Content-Length: 99999999999999999999", body=b""), {400, 413}),
    "H08": (submit("Transfer-Encoding: xchunked", body=SMUGGLED), {400, 501}),
    "H11": (submit("X: a\r\n b"), {400}),
    "H12": (bare_line_ends, {400}),
    "H13": (submit("X: a\0b"), {400}),
    "H15": (submit("Host: 127.0.0.1", "Host: localhost"), {400}),
    "H16": (submit("Host: a/../v1?x#y"), {400}),
    "H17": (submit("Host: evil.example"), {400, 421}),
    "H18": (chunked(b"ZZ\r\n{}\r\n0\r\n\r\n"), {400}),
    "H19": (chunked(b"F" * 17 + b"\r\n{}\r\n0\r\n\r\n"), {400, 413}),
    "H22": (submit("X: " + "a" * 2**20), {431}),
    "H23": (submit(*(f"X-{number}: a" for number in range(5000))), {431}),
    "H25": (plain(b"GET / HTTP/3.0\r\nHost: 127.0.0.1\r\n\r\n"), {400, 505}),
    "H26": (plain(b"A" * 5000 + b" / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), {400}),
    "H27": (plain(bytes.fromhex("16030100fa010000f60303") + bytes(200)), {400, CLOSED}),
    "H28": (plain(bytes(range(256)) * 4), {400, CLOSED}),
    "H33": (submit("Expect: 100-continue", "Content-Length: 1000000000", body=b""), {413}),
    # of the same kinds
    "101 header lines": (submit(*(f"X-{number}: a" for number in range(97))), {431}),
    "a header line without an end": (plain(b"GET / HTTP/1.1\r\nX: " + b"a" * 2**16), {431}),
    "no Host": (lambda live: live.message().replace(b"Host: 127.0.0.1\r\n", b""), {400}),
    "two equal Content-Length": (submit("Content-Length: 2", "Content-Length: 2", body=b"{}" + SMUGGLED), {400}),
    "a list of Content-Length": (submit("Content-Length: 2, 2", body=b"{}" + SMUGGLED), {400}),
    "space before the colon": (submit("Content-Length : 2", body=b"{}" + SMUGGLED), {400}),
    "chunks in HTTP/1.0": (
        lambda live: chunked(SOUND_CHUNKS + SMUGGLED)(live).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        {400},
    ),
    "two transfer codings": (submit("Transfer-Encoding: gzip, chunked", body=SOUND_CHUNKS + SMUGGLED), {400}),
    "chunked twice": (
        submit("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=SOUND_CHUNKS + SMUGGLED),
        {400},
    ),
    "chunks and then another coding": (submit("Transfer-Encoding: chunked, identity", body=SMUGGLED), {400}),
    "a vertical tab before the coding": (submit("Transfer-Encoding: \vchunked", body=SOUND_CHUNKS + SMUGGLED), {400}),
    "a lone CR in a header": (submit("X: a\rTransfer-Encoding: chunked"), {400}),
    "chunk without its line end": (chunked(b"2\r\n{}3\r\nabc\r\n0\r\n\r\n"), {400}),
    "negative chunk size": (chunked(b"-2\r\n{}\r\n0\r\n\r\n"), {400}),
    "endless extension of a chunk": (chunked(b"2;" + b"a" * 2**20), {431}),
    "endless trailer": (chunked(b"2\r\n{}\r\n0\r\nX: " + b"a" * 2**20), {431}),
    "a tunnel": (plain(b"CONNECT a.example:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + SMUGGLED), {400}),
    "a URL without a path": (plain(b"GET http://127.0.0.1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + SMUGGLED), {400}),
    "HTTP/2": (plain(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(20)), {400}),
    "HTTP/0.9": (plain(b"GET /\r\n\r\n"), {400}),
    "32 KiB of path": (lambda live: live.message(path="/" + "a" * 2**15), {431}),
}
SLOW = {"H29", "H30", "H31"}
ELSEWHERE = {"H32", "H34"}


@pytest.mark.parametrize("name", BROKEN)
def test_a_message_that_is_not_one_sound_message_is_refused_and_its_connection_closed(live: Live, name: str):
    make, right = BROKEN[name]
    before = live.left()

    with live.line() as line:
        line.say(make(live))
        first = line.answer()
        second = line.answer() if first and _is_below(first) else None

    assert (first.status if first else CLOSED) in right
    assert second is None
    if first is not None:
        assert first.json.keys() == FIVE_KEYS
        assert first.json["code"] == first.json["error_code"]
        assert first.headers.get("connection") == "close" or name in {"H16", "H17", "no Host"}
    assert live.left() == before
    assert live.is_well()


def _is_below(answer: Any) -> bool:
    """Whether it ends its connection."""
    return bool(answer.headers.get("connection") == "close")


def test_every_row_of_the_list_is_tried_and_judged_alike():
    if not (HOSTILE / "bad_inputs.json").exists():
        pytest.skip("the list is not beside this checkout")
    rows = [row for row in json.loads((HOSTILE / "bad_inputs.json").read_text()) if row["area"] == "http"]

    assert {row["id"] for row in rows} <= BROKEN.keys() | SLOW | ELSEWHERE
    for row in rows:
        if row["id"] in BROKEN:
            assert BROKEN[row["id"]][1] <= {row["expected_status"], *row.get("also_ok", ())}, row["id"]


def test_an_announced_giant_is_refused_before_it_is_asked_for(live: Live):
    with live.line() as line:
        line.say(live.message("Expect: 100-continue", "Content-Length: 1000000000", body=b""))
        first = line.answer()

    assert first is not None
    assert first.status == 413  # and not 100


def test_a_body_that_waits_to_be_asked_for_is_asked_for(live: Live):
    with live.line() as line:
        line.say(live.message("Expect: 100-continue", body=EXAMPLE_BODY)[: -len(EXAMPLE_BODY)])
        first = line.answer()
        line.say(EXAMPLE_BODY)
        second = line.answer()

    assert [first and first.status, second and second.status] == [100, 200]


def test_half_a_body_and_then_the_end_leaves_nothing(live: Live):
    before = live.left()

    for half in (EXAMPLE_BODY[: len(EXAMPLE_BODY) // 2], EXAMPLE_BODY):
        with live.line() as line:
            line.say(live.message(f"Content-Length: {2 * len(EXAMPLE_BODY)}", body=half))
            line.end()
            answer = line.answer()
        assert answer is None or answer.status == 400

    assert live.is_well()
    assert live.left() == before


def test_a_trailer_is_no_header(live: Live):
    body = b"2\r\n{}\r\n0\r\nAuthorization: Bearer " + live.token.encode() + b"\r\n\r\n"
    message = live.message("Transfer-Encoding: chunked", body=body)

    with live.line() as line:
        line.say(message.replace(f"Authorization: Bearer {live.token}\r\nContent-Type".encode(), b"Content-Type", 1))
        answer = line.answer()

    assert answer is not None
    assert answer.status == 401


def test_a_hundred_submits_in_one_packet_are_a_hundred_requests_in_their_order(live: Live):
    before = live.left()[0]
    bodies = [json.dumps({"prompt": f"cat {n}", "image_urls": ["https://images.example/a.png"]}) for n in range(100)]

    with live.line() as line:
        line.say(b"".join(live.message(body=body.encode()) for body in bodies))
        answers = [line.answer() for _ in bodies]

    ids = [answer.json["request_id"] for answer in answers if answer and answer.status == 200]
    assert len(set(ids)) == 100
    assert live.left()[0] == before + 100


def test_what_is_wrong_with_a_later_message_is_said_after_the_answers_to_the_earlier(live: Live):
    before = live.left()[0]

    for broken in (b"\0\0\0\0", live.message("Transfer-Encoding: chunked", body=b"ZZ\r\n"), b"GET / HTTP/7.0\r\n\r\n"):
        with live.line() as line:
            line.say(live.message() + live.message() + broken + live.message())
            answers = [line.answer() for _ in range(4)]
        assert [answer and answer.status for answer in answers] == [200, 200, 400, None]

    assert live.left()[0] == before + 6


def test_a_hundred_header_lines_are_not_too_many(live: Live):
    answer = live.asked(SUBMIT, method="POST", body=EXAMPLE_BODY, lines=tuple(f"X-{number}: a" for number in range(96)))

    assert answer.status == 200


def test_chunks_are_read(live: Live):
    with live.line() as line:
        line.say(live.message("Transfer-Encoding: chunked", body=SOUND_CHUNKS))
        answer = line.answer()

    assert answer is not None
    assert answer.status == 200


def test_a_connection_serves_one_message_after_the_other(live: Live):
    with live.line() as line:
        for _ in range(3):
            line.say(live.message())
            answer = line.answer()
            assert answer is not None
            assert answer.status == 200


def test_the_header_of_a_file_can_be_had_without_its_bytes(live: Live):
    kind = ("Content-Type: image/png",)
    url = live.asked("/v1/files", method="POST", body=picture(), lines=kind).json["url"].removeprefix(live.url)

    with live.line() as line:
        line.say(live.message(method="HEAD", path=url, body=b"") + live.message(method="GET", path=url, body=b""))
        head, whole = line.answer(to="HEAD"), line.answer()

    assert head is not None
    assert whole is not None
    assert [head.status, whole.status] == [200, 200]
    unequal = {name for name in head.headers | whole.headers if head.headers.get(name) != whole.headers.get(name)}
    assert unequal <= {"date"}
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.body == picture()


def test_nothing_is_taken_after_a_message_that_says_it_is_the_last(live: Live):
    before = live.left()[0]

    with live.line() as line:
        line.say(live.message("Connection: close") + live.message())
        answers = [line.answer(), line.answer()]

    assert [answer and answer.status for answer in answers] == [200, None]
    assert live.left()[0] == before + 1


def test_one_broken_message_is_one_line_in_the_log_at_most(tmp_path):
    with running("serve", tmp_path) as live:
        assert live.is_well()  # what is said of the start has been said
        before = len(live.errors().splitlines())
        for data in (BROKEN["H27"][0], BROKEN["H28"][0]):
            with live.line() as line:
                line.say(data(live))
                line.answer()
            assert live.is_well()
        lines = live.errors().splitlines()[before:]

    assert len(lines) <= 2
    assert all(line.isprintable() and json.loads(line) for line in lines)


def test_two_hundred_half_open_connections_do_not_hinder_a_healthy_client(live: Live):
    lines = [Line(live.port) for _ in range(200)]
    for line in lines:
        line.say(b"GET / HTTP/1.1\r\nX-a: ")

    took = []
    for _ in range(50):
        began = time.monotonic()
        assert live.is_well()
        took.append(time.monotonic() - began)
    for line in lines:
        line.close()

    assert sorted(took)[-2] < 0.5


@pytest.mark.slow
def test_who_drips_a_header_is_cut_off_within_fifteen_seconds(live: Live):
    lines = [Line(live.port) for _ in range(200)]
    began = time.monotonic()
    for line in lines:
        line.say(b"GET / HTTP/1.1\r\nX-a: ")
        line.socket.settimeout(1)

    while lines and time.monotonic() - began < 20:
        for line in list(lines):
            line.say(b"a")
        time.sleep(1)
        lines = [line for line in lines if not _ended(line)]

    assert not lines
    assert time.monotonic() - began < 15


def _ended(line: Line) -> bool:
    line.socket.setblocking(False)
    try:
        return bool(line.socket.recv(1024)) or True
    except BlockingIOError:
        return False
    except OSError:
        return True


# The pace: the same protocol in this process, with times that a test can wait for.


@contextmanager
def serving(app: ASGIApp) -> Iterator[int]:
    """*app* on a port, in a thread."""
    config = uvicorn.Config(
        app, http=StrictProtocol, ws="none", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=60
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "HEADER_S", 0.3)
    monkeypatch.setattr(framing, "BODY_S", 0.3)


async def answer(send: Send, status: int = 200, body: bytes = b"") -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def listener(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes in a body, and answers how long it was."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message["more_body"]
    await answer(send, body=str(length).encode())


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers before it has heard anything."""
    await answer(send, 404)


def head(length: int, method: str = "POST") -> bytes:
    return f"{method} /{SUBMIT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n".encode()


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"GET / HTTP/1.1\r\nX-a: "])
def test_a_header_that_does_not_come_is_not_waited_for(short: None, begun: bytes):
    with serving(listener) as port:
        line = Line(port)
        line.say(begun)
        answer = line.answer()

        assert answer is None or answer.status == 408
        assert line.answer() is None


def test_the_time_of_a_header_is_for_all_of_it_and_not_for_each_byte(short: None):
    with serving(listener) as port:
        line, began = Line(port), time.monotonic()
        line.socket.settimeout(0.05)
        line.say(b"GET / HTTP/1.1\r\nX-a: ")
        heard = None
        while heard is None and time.monotonic() - began < 5:
            line.say(b"a")
            try:
                heard = line.answer()
            except TimeoutError:
                continue

    assert heard is not None
    assert heard.status == 408
    assert time.monotonic() - began < 2


def test_a_body_that_drips_is_not_waited_for(short: None):
    with serving(listener) as port:
        line = Line(port)
        line.say(head(2000) + b"a")
        answer = line.answer()

        assert answer is not None
        assert answer.status == 408
        assert line.answer() is None


def test_a_body_that_keeps_its_pace_is_waited_for(short: None, monkeypatch):
    monkeypatch.setattr(framing, "BYTES_A_SECOND", 1000)
    with serving(listener) as port:
        line = Line(port)
        line.say(head(9000))
        for _ in range(18):  # 5000 bytes a second, for longer than the house's clock, which it looks at once a second
            line.say(b"a" * 500)
            time.sleep(0.1)
        answer = line.answer()

    assert answer is not None
    assert (answer.status, answer.body) == (200, b"9000")


def test_an_application_that_is_slow_does_not_cost_its_client_the_connection(short: None, monkeypatch):
    go_on = threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(go_on.wait, 5)
        await listener(scope, receive, send)

    with serving(slow) as port:
        line = Line(port)
        threading.Thread(target=line.say, args=(head(2**20) + bytes(2**20),)).start()
        time.sleep(1.5)  # the house looks at its clock once a second
        go_on.set()
        answer = line.answer()

    assert answer is not None
    assert (answer.status, answer.body) == (200, str(2**20).encode())


@pytest.mark.parametrize("behind", [b"\r\n", b"\r\n\r\n", b"G"])
def test_a_few_bytes_after_an_answer_do_not_keep_a_connection_for_ever(short: None, behind: bytes):
    with serving(listener) as port:
        line = Line(port)
        line.say(head(0))
        assert line.answer()
        line.say(behind)

        line.socket.settimeout(3)
        answer = line.answer()
        assert answer is None or answer.status == 408


def test_a_body_behind_its_answer_does_not_keep_a_connection_for_ever(short: None):
    with serving(deaf) as port:
        line = Line(port)
        line.say(head(10))
        assert line.answer()
        line.say(b"a" * 10)

        line.socket.settimeout(3)
        answer = line.answer()
        assert answer is None or answer.status == 408


def test_nothing_is_said_in_the_middle_of_an_answered_message(short: None):
    with serving(deaf) as port:
        line = Line(port)
        line.say(head(10) + b"a")
        answers = [line.answer(), line.answer()]

    assert [answer and answer.status for answer in answers] == [404, None]


def test_who_does_not_take_the_answer_does_not_keep_it_in_memory(short: None, monkeypatch):
    monkeypatch.setattr(framing, "TAKE_S", 0.2)
    gone = threading.Event()

    async def generous(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, body=bytes(32 * 2**20))
        while (await receive())["type"] != "http.disconnect":
            pass

    class Watched(StrictProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            gone.set()

    monkeypatch.setitem(globals(), "StrictProtocol", Watched)
    with serving(generous) as port:
        line = Line(port)
        line.say(head(0, "GET"))

        assert gone.wait(5)
