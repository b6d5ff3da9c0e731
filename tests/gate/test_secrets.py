"""What is secret stands nowhere but where it belongs: not in logs, not in errors, and tokens not in the database."""

import base64
import json
import logging
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from inside import data_uri, picture
from live import EXAMPLE, FIVE_KEYS, SUBMIT, Live, running

from gesso.logs import configure

TOKEN = "gesso_CanaryTokenMayflower0123456789abcdefghijkLM"
PROMPT = "a cat called CanaryPromptMayflower"
NEGATIVE = "CanaryNegativeMayflower"
QUERY = "X-Amz-Signature=CanaryQueryMayflower"
COMMENT = "CanaryCommentMayflower"
EXIF = "CanaryExifMayflower"
ANYWHERE = "Mayflower"
FOLLOWED_BY = base64.b64encode(b"CanaryBytesMayflower").decode()


def labelled() -> bytes:
    """A picture whose file carries words."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x010E] = EXIF
    return picture(format="JPEG", exif=exif.tobytes(), comment=COMMENT.encode()) + b"CanaryBytesMayflower"


@dataclass
class Traffic:
    """What was said to a server full of secrets, and what it answered."""

    errors: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    log: str = ""
    said: str = ""
    token: str = ""
    kept: bytes = b""


def posts(*, urls: list[str], **more: object) -> bytes:
    return json.dumps({**EXAMPLE, "prompt": PROMPT, "negative_prompt": NEGATIVE, "image_urls": urls, **more}).encode()


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory, nowhere: None) -> Traffic:
    """A whole server at its most talkative, asked well and badly, and then broken."""
    folder = tmp_path_factory.mktemp("secrets")
    told = Traffic()
    with running("up", folder, log_level="debug", models="gesso/echo/image-to-image") as live:
        told.token = live.token
        _talk(live, told)
        _break(live, told)
    told.log, told.said = live.errors(), "".join(live.said[2:])
    told.kept = b"".join(path.read_bytes() for path in live.folder.glob("gesso.db*"))
    return told


def _talk(live: Live, told: Traffic) -> None:
    uri, url = data_uri(labelled(), "image/jpeg"), f"https://images.invalid/a.png?{QUERY}"
    stranger = f"Authorization: Bearer {TOKEN}"
    echo = "/v1/models/gesso/echo/image-to-image"
    asked = [
        ("POST", echo, posts(urls=[uri]), ()),
        ("POST", echo, posts(urls=[url]), ()),
        ("POST", SUBMIT, posts(urls=[url, uri]), ()),
        ("POST", SUBMIT, posts(urls=[uri[:-7] + "=" + FOLLOWED_BY]), ()),
        ("POST", SUBMIT, posts(urls=[f"http://images.invalid/?{QUERY}"], seed=PROMPT, image_size=NEGATIVE), ()),
        ("POST", SUBMIT, posts(urls=[f"https://10.0.0.1/?{QUERY}"]), ()),
        ("POST", SUBMIT, posts(urls=[url])[:-2], ()),
        ("POST", f"{SUBMIT}?dry_run=true", posts(urls=[url]), ()),
        ("POST", f"{SUBMIT}?dry_run={ANYWHERE}", posts(urls=[url]), ()),
        ("POST", SUBMIT, posts(urls=[url]), (stranger,)),
        ("POST", SUBMIT, posts(urls=[url]), (f"X: {PROMPT}\0",)),
        ("POST", SUBMIT, posts(urls=[url]), (f"Content-Type: text/{ANYWHERE}",)),
        ("POST", f"/v1/models/{ANYWHERE}/x", posts(urls=[url]), ()),
        ("GET", f"/v1/models/{ANYWHERE}?{QUERY}", b"", ()),
        ("GET", f"/files/{'0' * 32}/{ANYWHERE}.png?{QUERY}", b"", ()),
        ("POST", "/v1/files", labelled()[:2000], ("Content-Type: image/jpeg",)),
        ("POST", "/v1/files", labelled(), (f"Content-Type: multipart/form-data; boundary={ANYWHERE}",)),
    ]
    results = []
    for method, path, body, lines in asked:
        answer = live.asked(path, method=method, body=body, lines=lines)
        (told.answers if answer.status == 200 else told.errors).append(answer.body)
        if answer.status == 200 and b"result_url" in answer.body:
            results.append(answer.json["result_url"].removeprefix(live.url))
    for result in results[:2]:
        told.answers.append(_ended(live, result))
    live.asked("/smuggled " + PROMPT.replace(" ", ""), method="GET")


def _ended(live: Live, result: str) -> bytes:
    ends = time.monotonic() + 60
    while (answer := live.asked(result)).json["status"] in ("in_queue", "in_progress"):
        assert time.monotonic() < ends
        time.sleep(0.05)
    return answer.body


def _break(live: Live, told: Traffic) -> None:
    """Take the table away under a submit: what comes is our fault, and its trace is logged."""
    with sqlite3.connect(live.folder / "gesso.db") as rows:
        rows.execute("ALTER TABLE requests RENAME TO elsewhere")
    uri = data_uri(labelled(), "image/jpeg")
    answer = live.asked(SUBMIT, method="POST", body=posts(urls=[uri]))
    told.errors.append(answer.body)
    assert answer.status in (500, 503)
    with sqlite3.connect(live.folder / "gesso.db") as rows:
        rows.execute("ALTER TABLE elsewhere RENAME TO requests")


def test_the_requests_did_what_they_were_to_do(traffic: Traffic):
    assert len(traffic.errors) >= 12
    assert b"succeeded" in traffic.answers[-2]
    assert b"failed" in traffic.answers[-1]
    assert traffic.log.count("\n") > 3


def test_the_log_holds_no_secret(traffic: Traffic):
    paths = [line for line in traffic.log.splitlines() if ANYWHERE in line]

    assert paths == []
    assert traffic.token not in traffic.log
    assert traffic.token.removeprefix("gesso_") not in traffic.log
    assert FOLLOWED_BY not in traffic.log
    assert "base64" not in traffic.log


def test_standard_output_holds_no_secret_but_the_first_token(traffic: Traffic):
    assert ANYWHERE not in traffic.said


def test_the_database_knows_no_token(traffic: Traffic):
    assert PROMPT.encode() in traffic.kept  # the search works
    assert traffic.token.encode() not in traffic.kept
    assert traffic.token.removeprefix("gesso_").encode() not in traffic.kept
    assert TOKEN.encode() not in traffic.kept
    assert EXIF.encode() not in traffic.kept


def test_no_error_repeats_what_was_sent(traffic: Traffic):
    for body in traffic.errors:
        assert ANYWHERE.encode() not in body, body
        assert traffic.token.encode() not in body
        assert json.loads(body).keys() == FIVE_KEYS


def test_no_answer_repeats_what_was_sent(traffic: Traffic):
    for body in traffic.answers:
        assert ANYWHERE.encode() not in body, body


def test_each_line_of_the_log_is_one_object_without_control_characters(traffic: Traffic):
    for line in traffic.log.splitlines():
        assert line.isascii()
        assert line.isprintable()
        assert {"event", "level", "logger", "timestamp"} <= json.loads(line).keys()


def test_a_value_cannot_forge_a_line(capfd, monkeypatch):
    import logging

    configure("info")
    logging.getLogger("test").warning("%s", 'one\r\n{"event": "two"}\x1b[2J\x7f\u2028\u0085\ud800')

    (line,) = capfd.readouterr().err.splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["event"].startswith("one\r\n")


OPENED = {
    "fetch_allow_hosts": "*.internal.example",
    "fetch_allow_private": "true",
    "fetch_allow_http": "true",
    "fetch_allow_ports": "443,8443",
}


@pytest.mark.parametrize("command", ["serve", "up"])
def test_what_is_opened_is_named_in_the_log_at_each_start(tmp_path: Path, command: str):
    with running(command, tmp_path, **OPENED) as live:
        ends = time.monotonic() + 5
        while (names := _named(live)) < {f"GESSO_{name.upper()}" for name in OPENED}:
            assert time.monotonic() < ends, (names, live.errors())
            time.sleep(0.02)


def _named(live: Live) -> set[str]:
    lines = [json.loads(line) for line in live.errors().splitlines() if line.endswith("}")]
    warned = " ".join(line["event"] for line in lines if line["level"] == "warning")
    return {f"GESSO_{name.upper()}" for name in OPENED if f"GESSO_{name.upper()}" in warned}


def test_nothing_opened_is_nothing_said(tmp_path: Path):
    with running("serve", tmp_path) as live:
        assert live.is_well()
        assert _named(live) == set()


def test_the_law_over_all_logs_hears_a_token(tmp_path: Path) -> None:
    """Held after every test by `tests/canary.py`: a check that cannot fail would be none."""
    from canary import Ear, secrets_in

    ear = Ear()
    ear.emit(logging.LogRecord("x", logging.INFO, "x", 1, "who: %s", (TOKEN,), None))
    (tmp_path / "log-0").write_text(f"who: {TOKEN}\n")
    (tmp_path / "log-1").write_text("gesso_short and nothing else\n")

    assert ear.told == ["x: who: …"]
    assert secrets_in(tmp_path) == ["log-0"]
    (tmp_path / "log-0").unlink()
