"""The tutorial, typed in as it stands: its shell blocks, one after another, by a newcomer with a photograph."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
START = "gesso up "


class Newcomer:
    """Somebody with an empty folder, a photograph and a terminal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("GESSO_", "RUNCOMFY_"))}
        self._environment = mine | {
            "PATH": f"{Path(sys.executable).parent}:{mine['PATH']}",
            "HOME": str(folder),
            "GESSO_PORT": str(self._port),
        }

    def type(self, block: str) -> str:
        """Run a block with `bash -e`; what it said."""
        text = block.replace("127.0.0.1:8787", f"127.0.0.1:{self._port}")
        client = {"GESSO_BASE_URL": f"http://127.0.0.1:{self._port}"}
        told = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=self._folder, env=self._environment | client,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert told.returncode == 0, f"{block}\n{told.stdout}\n{told.stderr}"
        return told.stdout + told.stderr

    @contextmanager
    def started(self, block: str) -> Iterator[None]:
        """The server of a block, until it is stopped with Ctrl-C."""
        process = subprocess.Popen(
            block.split(), cwd=self._folder, env=self._environment, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "first token" in line:
                self._environment["GESSO_TOKEN"] = line.split()[-1]
            if "Stop with Ctrl-C" in line:
                break
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_shell_block_of_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    shutil.copy(str(resources.files("gesso.samples").joinpath("cat.jpg")), tmp_path / "cat.jpg")
    blocks = BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text())
    newcomer = Newcomer(tmp_path)
    starts = [index for index, block in enumerate(blocks) if block.startswith(START)]
    said = ""
    for begin, end in zip(starts, [*starts[1:], len(blocks)], strict=True):
        with newcomer.started(blocks[begin]):
            said += "".join(map(newcomer.type, blocks[begin + 1 : end]))

    assert len(starts) == 2
    assert "refused, with exit code 65" in said
    assert '"status":"succeeded"' in said
    assert "ok  acme/postcard/image-to-image" in said
    pictures = sorted((tmp_path / "made").glob("*.png"))
    assert len(pictures) == 3
    assert all(each.read_bytes()[:4] == b"\x89PNG" for each in pictures)
