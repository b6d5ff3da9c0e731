"""`gesso run`: what it sends, what it says where, and how it ends."""

import json
import os
import pty
from pathlib import Path

import pytest
from standin import (
    AWAY,
    ID,
    IN_PROGRESS,
    IN_QUEUE,
    INVALID,
    MODEL,
    PNG,
    TOO_MANY,
    Standin,
)


def submitted(server: Standin) -> dict[str, object]:
    body: dict[str, object] = server.calls("POST", MODEL)[0].json
    return body


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    return path


def test_stdout_carries_the_paths_of_the_files_and_nothing_else(gesso, server):
    server.polls.extendleft([IN_PROGRESS, IN_QUEUE])
    server.succeed("a.png", "b.png")
    said = gesso("run", MODEL, "-p", "a cat")

    assert (said.exit_code, said.stdout) == (0, "a.png\nb.png\n")
    assert Path("a.png").read_bytes() == PNG
    assert said.stderr.splitlines() == [f"request {ID}", "in_queue (position 2)", "in_progress", "completed"]


def test_json_mode_prints_the_result_with_its_files_and_keeps_stderr_silent(gesso, server):
    said = gesso("--json", "run", MODEL, "-p", "a cat", "--output-dir", "out")

    body = json.loads(said.stdout)
    assert (body["status"], body["files"]) == ("succeeded", ["out/0b9f0f7e-1.png"])
    assert body["output"]["image"].startswith(server.url)
    assert said.stderr == ""


def test_quiet_keeps_stderr_silent(gesso):
    said = gesso("run", MODEL, "-p", "a cat", "-q")

    assert (said.stdout, said.stderr) == ("0b9f0f7e-1.png\n", "")


def test_without_download_the_urls_are_printed(gesso, server):
    said = gesso("run", MODEL, "-p", "a cat", "--no-download", "-q")

    assert said.stdout == server.result["output"]["image"] + "\n"
    assert server.calls("GET", "/files/") == []


@pytest.mark.parametrize("words", [("run", "--json"), ("run",), ("--output", "json", "run"), ("-q", "run")])
def test_without_waiting_the_request_id_is_printed_as_one_line_of_json(gesso, server, words):
    said = gesso(*words, MODEL, "-p", "a cat", "--no-wait")

    assert said.stdout == f'{{"request_id": "{ID}", "wait": false}}\n'
    assert server.calls("GET", "/status") == []


def test_a_local_image_is_uploaded_and_its_url_sent(gesso, server, cat):
    gesso("run", MODEL, "-p", "a cat", "--image", "cat.png", "--image", "https://x.org/dog.png")

    upload = server.calls("POST", "/v1/files")[0]
    assert (upload.body, upload.headers["content-type"]) == (PNG, "image/png")
    assert submitted(server)["image_urls"][0].startswith(f"{server.url}/files/Qm4/")
    assert submitted(server)["image_urls"][1] == "https://x.org/dog.png"


@pytest.mark.parametrize("way", ["--input", "--input-file", "-"])
def test_a_local_path_in_an_image_field_of_the_input_is_uploaded(gesso, server, cat, way):
    text = json.dumps({"prompt": "cat.png", "image_urls": ["cat.png"]})
    Path("body.json").write_text(text)
    words = {"--input": ["--input", text], "--input-file": ["--input-file", "body.json"], "-": ["--input-file", "-"]}
    gesso("run", MODEL, *words[way], stdin=text)

    assert submitted(server)["prompt"] == "cat.png"
    assert submitted(server)["image_urls"][0].startswith(f"{server.url}/files/Qm4/")


def test_set_values_are_json_unless_the_schema_wants_a_string(gesso, server):
    gesso("run", MODEL, "--set", "seed=7", "--set", "prompt=42", "--set", "image_size=1280*720 (16:9)")

    assert submitted(server) == {"seed": 7, "prompt": "42", "image_size": "1280*720 (16:9)"}


def test_flags_beat_the_input(gesso, server):
    gesso("run", MODEL, "--input", '{"prompt": "a dog", "seed": 1}', "-p", "a cat")

    assert submitted(server) == {"prompt": "a cat", "seed": 1}


def test_what_the_engine_understood_is_told_on_stderr(gesso, server):
    server.succeed("a.png", plan=[{"operator": "warm", "strength": 1.5}], not_understood=["zebra", "\x1b[31mred"],
                   warnings=["no_such_reference"], messages=["The prompt names reference 3."])  # fmt: skip
    said = gesso("run", MODEL, "-p", "a cat")

    assert said.stdout == "a.png\n"
    assert said.stderr.splitlines()[2:] == [
        "plan: warm (strength 1.5)",
        "warning: The prompt names reference 3.",
        "not understood: zebra, [31mred",
    ]


def test_a_failed_run_exits_1_with_its_message_and_an_empty_stdout(gesso, server):
    server.fail(422001, "Each side of an image must be at least 384 pixels.")
    said = gesso("run", MODEL, "-p", "a cat", "-q")

    assert (said.exit_code, said.stdout) == (1, "")
    assert "Each side of an image must be at least 384 pixels." in said.stderr


def test_a_failed_run_names_the_picture_without_saying_its_message_twice(gesso, server):
    server.fail(422001, "Each side must be at least 384 pixels.")
    server.result["error"]["detail"] = [
        {"loc": ["body", "image_urls", 1], "msg": "Each side must be at least 384 pixels.", "type": "width_pixels>"}
    ]
    said = gesso("run", MODEL, "-p", "a cat", "-q")

    assert said.stderr.count("384") == 1
    assert "at image_urls.1" in said.stderr


def test_a_failed_run_tells_programs_its_result(gesso, server):
    server.fail(502001, "The engine failed.")
    said = gesso("run", MODEL, "-p", "a cat", "--json")

    assert said.exit_code == 1
    assert json.loads(said.stdout)["error"]["code"] == 502001
    assert json.loads(said.stderr)["error"] == "EngineFailed"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 64, "MODEL_ID"),
        ((MODEL, "--nonsense"), 64, "--nonsense"),
        ((MODEL, "--set", "seed"), 64, "key=value"),
        ((MODEL, "--set", "sed=1"), 64, "it has: prompt, image_urls, seed, image_size"),
        ((MODEL, "--input", "{}", "--input-file", "-"), 64, "not both"),
        ((MODEL, "--poll-secs", "0"), 64, "--poll-secs"),
        ((MODEL, "--input", "{"), 65, "no JSON"),
        ((MODEL, "--input", "[]"), 65, "JSON object"),
        (("no/such", "-p", "x"), 65, "gesso models list"),
        ((MODEL, "--input-file", "none.json"), 66, "none.json"),
        ((MODEL, "--image", "none.png"), 66, "none.png"),
        ((MODEL, "--input", '{"image_urls": ["none.png"]}'), 66, "none.png"),
        ((MODEL, "--timeout", "0.05"), 75, f"gesso result {ID}"),
        ((MODEL, "--base-url", "nowhere"), 78, "base URL"),
        ((MODEL, "--base-url", "http://127.0.0.1:9"), 69, "gesso up"),
    ],
)
def test_each_kind_of_failure_has_its_exit_code_and_says_what_to_do(gesso, server, words, code, told):
    server.polls[0] = IN_PROGRESS
    said = gesso("run", *words)

    assert (said.exit_code, said.stdout) == (code, "")
    assert told in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        ((422, {}, INVALID), 65, "  image_urls: Field required.\n  seed: Must be an integer.\n"),
        ((402, {}, {"error_code": 400002, "error_message": "The balance is used up."}), 65, "used up"),
        ((413, {}, b""), 65, "too large"),
        ((403, {}, b""), 77, "may not"),
        ((429, {"Retry-After": "1"}, TOO_MANY), 75, "try again in 1 seconds"),
        ((408, {}, b""), 75, "too slowly"),
        ((503, {"Retry-After": "2"}, AWAY), 69, "not available"),
        ((502, {}, b"<html>"), 69, "HTTP 502"),
        ((302, {"Location": "https://elsewhere.example"}, b""), 69, "redirects"),
    ],
)
def test_each_refusal_of_a_submit_has_its_exit_code(gesso, server, answer, code, told):
    server.can(f"POST /v1/models/{MODEL}", answer)
    said = gesso("run", MODEL, "-p", "a cat")

    assert (said.exit_code, said.stdout) == (code, "")
    assert told in said.stderr
    assert len({each.headers["idempotency-key"] for each in server.calls("POST", MODEL)}) == 1


def test_a_wrong_token_exits_77_and_says_how_to_give_a_good_one(gesso):
    said = gesso("run", MODEL, "-p", "a cat", token="wrong")

    assert said.exit_code == 77
    assert "gesso login" in said.stderr
    assert "wrong" not in said.stderr


def test_a_file_that_cannot_be_fetched_exits_69_and_names_the_way_back(gesso, server):
    server.can("GET /files/hV3/0b9f0f7e-1.png", (404, {}, b""))
    said = gesso("run", MODEL, "-p", "a cat")

    assert said.exit_code == 69
    assert f"gesso result {ID} --download" in said.stderr


def test_errors_are_json_for_programs(gesso, server):
    server.can(f"POST /v1/models/{MODEL}", (422, {}, INVALID))
    said = gesso("run", MODEL, "-p", "a cat", "--json")

    told = json.loads(said.stderr)
    assert (told["error"], told["detail"][0]) == ("InvalidInput", {"field": "image_urls", "msg": "Field required."})
    assert said.stdout == ""


def test_ctrl_c_cancels_a_request_that_waits(gesso, server):
    server.polls[0] = IN_QUEUE
    process = gesso.start("run", MODEL, "-p", "a cat")
    server.polled.wait(20)
    stdout, stderr = gesso.interrupt(process)

    assert (process.returncode, stdout) == (1, "")
    assert f"cancelled: request {ID} never ran" in stderr
    assert len(server.calls("POST", "/cancel")) == 1


def test_ctrl_c_says_when_a_request_can_no_longer_be_cancelled(gesso, server):
    server.polls[0] = IN_PROGRESS
    server.cancel = {"status": "in_progress", "outcome": "not_cancellable"}
    process = gesso.start("run", MODEL, "-p", "a cat", "--json")
    server.polled.wait(20)
    stdout, _ = gesso.interrupt(process)

    assert process.returncode == 1
    assert json.loads(stdout)["outcome"] == "not_cancellable"


def test_a_terminal_sees_one_line_that_is_rewritten(gesso, server):
    server.polls.extendleft([IN_PROGRESS, IN_QUEUE])
    ours, theirs = pty.openpty()
    process = gesso.start("run", MODEL, "-p", "a cat", stderr=theirs)
    os.close(theirs)
    stdout, _ = process.communicate(timeout=20)
    stderr = os.read(ours, 10_000).decode()
    os.close(ours)

    assert stdout == "0b9f0f7e-1.png\n"
    assert "\r\x1b[2Kin_queue (position 2)\r\x1b[2Kin_progress\r\x1b[2Kcompleted, " in stderr
