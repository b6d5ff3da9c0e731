"""Every way of the embedded engine on one page: the sample photographs under some two dozen prompts.

    python scripts/contact_sheet.py docs/contact-sheet.jpg

The sheet is for eyes: what a change of an operator does to the pictures is seen here and in no test.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from gesso.core.inputs import Inputs, Size
from gesso.engines.embedded import EmbeddedEngine
from gesso.samples import sample

# the references, the prompt, and its meaning where the label's font may lack its letters
CELLS: tuple[tuple[str, str, str], ...] = (
    ("coffee", "two monsters", "two monsters (no operator: framed)"),
    ("coffee", "pencil sketch", ""),
    ("cat", "ink drawing", ""),
    ("cat", "как акварель", ""),
    ("coffee", "oil painting", ""),
    ("cat", "cartoon", ""),
    ("rocket", "pixel art", ""),
    ("cat", "ハーフトーン", "halftone (asked in Japanese)"),
    ("coffee", "pop art", ""),
    ("coffee", "black and white, slightly grainy", ""),
    ("cat", "sepia with vignette", ""),
    ("coffee", "vintage photo", ""),
    ("cat", "warmer, glowing", ""),
    ("coffee", "夜にして", "at night (asked in Japanese)"),
    ("rocket", "golden sunset", ""),
    ("rocket", "add heavy snow", ""),
    ("coffee", "add rain", ""),
    ("rocket", "туман", ""),
    ("coffee", "make the red cup blue", ""),
    ("cat", "tint it green", ""),
    ("coffee", "blur the background", ""),
    ("coffee", "on a beige background", ""),
    ("coffee", "gradient background from pink to navy", ""),
    ("rocket", 'add the text "LIFT-OFF" at the top', ""),
    ("coffee", "надпись «ДОБРОЕ УТРО» снизу, vintage", ""),
    ("coffee rocket", "in the colours of image 2", ""),
    ("cat rocket", "用图2的风格, strongly", "style of image 2 (asked in Chinese)"),
    (
        "cat coffee",
        "On the left sits a monster, and on the right sits another monster. The two are like radio hosts",
        "",
    ),
    ("rocket coffee", "side by side", ""),
    ("cat coffee rocket", "three columns", ""),
    ("rocket cat", "picture in picture", ""),
    ("cat rocket", "double exposure", ""),
    ("coffee rocket", "put the cup of image 1 on the background of image 2", ""),
    ("coffee cat", "replace the background of image 1 with image 2", ""),
    ("rocket", "on a yellow background", ""),
    ("rocket", "Убери фон и поставь голубой", ""),
    ("coffee", "背景を水色のグラデーションにして", "sky-blue gradient behind it (asked in Japanese)"),
    ("cat", "Сделай кота рыжим", ""),
    ("rocket", "把火箭变成红色", "make the rocket red (asked in Chinese)"),
    ("coffee", "an old faded polaroid", ""),
    ("cat", "zoom in, flip horizontally", ""),
    ("rocket", "the whole picture, brighter", ""),
)
COLUMNS, CELL, LABEL, GAP = 6, 300, 30, 10
PAPER, INK = (247, 245, 240), (40, 38, 36)


def main(out: Path) -> None:
    """Make the sheet at *out*, a JPEG of less than a megabyte."""
    engine = EmbeddedEngine()
    engine.load()
    rows = -(-len(CELLS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CELL + GAP) + GAP, rows * (CELL + LABEL + GAP) + GAP), PAPER)
    for n, (names, prompt, label) in enumerate(CELLS):
        at = GAP + n % COLUMNS * (CELL + GAP), GAP + n // COLUMNS * (CELL + LABEL + GAP)
        sheet.paste(_cell(engine, names.split(), prompt), at)
        _label(sheet, label or prompt, (at[0], at[1] + CELL + 4))
    sheet.save(out, quality=82, optimize=True, progressive=True)
    print(f"{out}: {sheet.width}x{sheet.height}, {out.stat().st_size // 1024} kB")


def _cell(engine: EmbeddedEngine, names: list[str], prompt: str) -> Image.Image:
    images = tuple(Image.open(sample(name).open("rb")).convert("RGB") for name in names)
    made = engine.run(Inputs(images, prompt, size=Size(1024, 1024), seed=7), lambda *_: None)
    return made.images[0].resize((CELL, CELL), Image.Resampling.LANCZOS)


def _label(sheet: Image.Image, prompt: str, at: tuple[int, int]) -> None:
    try:
        font: ImageFont.FreeTypeFont | ImageFont.ImageFont = ImageFont.truetype("DejaVuSans.ttf", 13)
    except OSError:
        font = ImageFont.load_default(13)
    told = prompt if len(prompt) <= 40 else prompt[:39] + "…"
    ImageDraw.Draw(sheet).text(at, told, INK, font)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
