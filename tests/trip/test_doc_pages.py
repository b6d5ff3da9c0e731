"""The pages on the API, the command line and agents: their shell blocks typed in, one after another, as they stand."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from server import ECHO, Server

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def typed(page: str, server: Server, folder: Path) -> str:
    """What the blocks of *page* say, in one shell that ends at the first thing that goes wrong."""
    Image.effect_mandelbrot((400, 400), (-3, -2.5, 2, 2.5), 50).convert("RGB").save(folder / "cat.jpg")
    blocks = BLOCK.findall((DOCS / page).read_text())
    # The page's model takes seconds, and the echo has no prompt; all else stands.
    script = (
        "\n".join(blocks).replace("wan-ai/wan-2-6/image-to-image", ECHO).replace("http://127.0.0.1:8787", server.url)
    )
    script = re.sub(r' --prompt "[^"]*"', "", script)
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("GESSO_", "RUNCOMFY_"))}
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, timeout=90, check=False,
        env=mine | {"PATH": f"{Path(sys.executable).parent}:{mine['PATH']}", "HOME": str(folder),
                    "GESSO_BASE_URL": server.url, "GESSO_TOKEN": server.token},
    )  # fmt: skip
    assert blocks
    assert told.returncode == 0, f"{told.stdout}\n{told.stderr}"
    return told.stdout


@pytest.fixture
def server(start: Callable[[], Server]) -> Server:
    return start()


def test_every_call_of_the_api_page_is_answered_as_it_says(server: Server, tmp_path: Path) -> None:
    said = typed("api.md", server, tmp_path)

    assert (tmp_path / "made.png").read_bytes()[:4] == b"\x89PNG"
    assert '"outcome":"not_cancellable"' in said  # it had ended by then
    assert said.count('"status":"succeeded"') == 2  # the waiting submit, and the last of the live events
    assert "event: result" in said
    assert "one request" in said
    assert '"dry_run":true' in said
    assert '"requests":[{' in said
    assert '"models":[{' in said
    assert '"balance_usd":1000.0' in said
    assert "必須" in said
    assert said.count('"error_code"') == 1  # that answer in Japanese, and no other


def test_every_line_of_the_command_line_page_works(server: Server, tmp_path: Path) -> None:
    said = typed("cli.md", server, tmp_path)

    assert len(list((tmp_path / "made").glob("*.png"))) == 3
    assert "not_cancellable" in said
    assert said.rstrip().endswith(".png") or "signature=" in said.rstrip().splitlines()[-1]


def test_the_pages_for_agents_are_where_they_are_said_to_be(server: Server, tmp_path: Path) -> None:
    said = typed("agents.md", server, tmp_path)

    assert f"Model id: `{ECHO}`" in said
    assert "# Gesso" in said
