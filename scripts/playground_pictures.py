"""Takes the pictures of the playground for docs/images: a real server, a real browser, a real edit.

python scripts/playground_pictures.py
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SAMPLES = [ROOT / "src" / "gesso" / "samples" / f"{name}.jpg" for name in ("cat", "coffee")]
MODEL = "wan-ai/wan-2-6/image-to-image"
DESKTOP = {"viewport": {"width": 1280, "height": 860}, "locale": "en-GB", "color_scheme": "light"}
PHONE = {
    "viewport": {"width": 390, "height": 844}, "locale": "ja-JP", "color_scheme": "dark",
    "device_scale_factor": 2, "is_mobile": True, "has_touch": True,
}  # fmt: skip
PICTURES: list[tuple[str, dict[str, Any], str]] = [
    ("playground", DESKTOP, "Image 1 on the left, image 2 on the right, as a watercolour, warmer, with a unicorn"),
    ("playground-phone", PHONE, "画像1を左、画像2を右に、水彩画、暖かく"),
]


@contextmanager
def server() -> Iterator[str]:
    """A server on a fresh folder; gives the link to its playground."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "gesso", "up", "--port", "0", "--data-dir", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield next(line.split()[-1] for line in process.stdout if line.startswith("Playground:"))
            finally:
                process.terminate()


def edit(page: Page, prompt: str) -> None:
    """What a person does, up to the result."""
    page.fill("#field-prompt", prompt)
    page.set_input_files("input[type=file]", SAMPLES)
    page.locator(".tile.ready >> nth=1").wait_for()
    page.locator("label.size", has_text="16:9").click()
    page.click(".go")
    page.locator("gesso-compare .after").wait_for()
    page.wait_for_timeout(1000)  # for the page to have scrolled


def main() -> None:
    """Take them all."""
    IMAGES.mkdir(exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with server() as link, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, options, prompt in PICTURES:
            page = browser.new_context(**options).new_page()
            page.goto(link.replace("/#", f"/models/{MODEL}#"))
            page.locator("gesso-form form").wait_for()
            edit(page, prompt)
            if "is_mobile" not in options:
                page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
