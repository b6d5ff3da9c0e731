"""The page on Python, its blocks run as they stand against a real server, with a photograph that is there."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from server import ECHO, Server

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_block_of_the_page_runs(start: Callable[[], Server], tmp_path: Path) -> None:
    server = start()
    Image.effect_mandelbrot((400, 400), (-3, -2.5, 2, 2.5), 50).convert("RGB").save(tmp_path / "cat.jpg")
    environment = os.environ | {"GESSO_BASE_URL": server.url, "GESSO_TOKEN": server.token}
    upload = [sys.executable, "-c", "import gesso; print(gesso.upload_file('cat.jpg'))"]
    url = subprocess.run(
        upload, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.strip()

    said = []
    for block in BLOCKS:
        # The page's model takes seconds, and its picture is not in this world; all else stands.
        code = block.replace("wan-ai/wan-2-6/image-to-image", ECHO).replace("https://example.org/cat.jpg", url)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (block, done.stderr)
        said.append(done.stdout)

    assert len(said) == 3
    assert len(list((tmp_path / "made").glob("*.png"))) == 1
    assert "done http" in said[1]
    assert said[2].count("http") == 2
