"""The page on moving: its diffs are applied and the clients run, and what its tables promise is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from standin import MODEL, PNG, TOKEN, Standin

import gesso
from gesso.agents.tools import Tools
from gesso.api.openapi import _HISTORY_QUERY, _OPTION_HEADERS, _OPTIONS
from gesso.client import Client, Handle, credentials
from gesso.core.states import State

PAGE = (Path(__file__).parents[2] / "docs" / "moving.md").read_text("utf-8")
CURL, FAL, REPLICATE = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ROWS = [row.split(" | ")[-1] for row in re.findall(r"^\| (?!---)(.+) \|$", PAGE, re.MULTILINE)]


def side(diff: str, sign: str) -> str:
    """The file before (`-`) or after (`+`) a diff, of which every line is one of a file."""
    lines = [line or " " for line in diff.splitlines()]
    assert {line[0] for line in lines} == {" ", "-", "+"}
    return "".join(f"{line[1:]}\n" for line in lines if line[0] in (" ", sign))


def run(command: list[str], server: Standin, folder: Path) -> str:
    """What a client says, whose surroundings name the stand-in as Gesso."""
    (folder / "cat.jpg").write_bytes(PNG)
    environment = os.environ | {"GESSO_BASE_URL": server.url, "GESSO_TOKEN": TOKEN}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("diff", "foreign"), [(FAL, "fal_client"), (REPLICATE, "replicate")])
def test_a_client_that_the_diff_is_applied_to_runs_and_asks_nobody_else(
    server: Standin, tmp_path: Path, diff: str, foreign: str
):
    before, after = side(diff, "-"), side(diff, "+")
    compile(before, "before.py", "exec")
    assert foreign in before
    assert foreign not in after

    said = run([sys.executable, "-c", after], server, tmp_path)

    assert said == f"{server.result['output']['image']}\n"
    (submit,) = server.calls("POST", f"/v1/models/{MODEL}")
    assert submit.json["prompt"] == "make it warmer"
    assert all(url.startswith(("https://", server.url)) for url in submit.json["image_urls"])


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_curl_line_that_the_diff_is_applied_to_submits(server: Standin, tmp_path: Path):
    assert "model-api.runcomfy.net" in side(CURL, "-")

    said = run(["bash", "-c", side(CURL, "+").replace("http://127.0.0.1:8787", server.url)], server, tmp_path)

    assert '"request_id"' in said
    assert server.seen[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_every_call_in_the_tables_is_there():
    names = {(whose, name) for row in ROWS for whose, name in re.findall(r"\b(gesso|client|handle)\.([A-Za-z_]+)", row)}
    homes = {"gesso": gesso, "client": Client, "handle": Handle}

    assert len(names) > 15
    assert [f"{whose}.{name}" for whose, name in names if not hasattr(homes[whose], name)] == []


def test_every_option_header_variable_and_word_in_the_tables_is_there():
    told = " ".join(ROWS)
    queries = set(re.findall(r"[?&](\w+)=", told))
    words = {word for row in ROWS for word in re.findall(r"`([a-z]+_?[a-z]+)`", row)}

    assert queries <= {*_OPTIONS, *_HISTORY_QUERY}
    assert queries >= {"webhook", "max_queue_seconds", "webhook_intermediate_status"}
    assert "Prefer" in _OPTION_HEADERS
    assert set(re.findall(r"RUNCOMFY_[A-Z_]+", told)) <= {*credentials.BASES, *credentials.PAID_TOKENS}
    assert words <= {*State, "succeeded", "failed"}


def test_the_tools_have_runcomfys_names():
    assert {"list_models", "run_model", "get_model", "cancel_model_request"} <= set(vars(Tools))
