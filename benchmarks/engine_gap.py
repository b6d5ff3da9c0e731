"""How much of its time an engine of 200 ms a run stands idle while requests wait that bring 5 MB references."""

import io
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

import numpy as np
from engines.noop import SPAN
from PIL import Image
from server import running, working
from tables import table

from gesso.client import Client

MODEL = "bench/paced/image-to-image"
RUNS, WARM = 60, 10
TARGET = "below 2 % with 3 references of 5 MB"
PATIENCE_S = 120
MB = 10**6


@dataclass(frozen=True, slots=True)
class Case:
    """References of one kind: how many, and how they are made; a file of 5 MB in any case."""

    name: str
    count: int
    width: int = 0
    height: int = 0
    kind: str = ""


CASES = (
    Case("no reference", 0),
    Case("3 JPEGs, 5 MB and 5 megapixels each", 3, 2592, 1944, "JPEG"),
    Case("3 JPEGs, 5 MB and 12 megapixels each", 3, 4000, 3000, "JPEG"),
    Case("3 PNGs, 5 MB and 2.4 megapixels each", 3, 1792, 1344, "PNG"),
)


def measure() -> str:
    """Each case on a server of its own: 60 requests wait, and the engine's record is read once all have run."""
    rows = [[case.name, *_row(case)] for case in CASES]
    head = ["references of each request", "idle", "gap, median ms", "99th percentile ms", "runs/s (5 is full)"]
    return f"Target: {TARGET}. {RUNS - WARM} runs each, after {WARM} that are not counted.\n\n{table(head, rows)}"


def _row(case: Case) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        files, record = _files(case, Path(folder)), Path(folder) / "record"
        record.touch()
        with running("serve") as server, Client(server.url, server.token) as client:
            urls = [client.upload_file(file) for file in files]
            for _ in range(RUNS):
                client.submit(MODEL, {"prompt": "nothing", "image_urls": urls})
            with working(server, record):  # all wait by now: to take pictures in costs as much as to prepare them
                spans = _spans(record)[WARM:]
    gaps = [(begin - end) / 1e6 for (_, end), (begin, _) in pairwise(spans)]
    whole_ms = (spans[-1][0] - spans[0][0]) / 1e6
    return [f"{sum(gaps) / whole_ms:.1%}", f"{median(gaps):.1f}", f"{quantiles(gaps, n=100)[98]:.1f}",
            f"{len(gaps) / whole_ms * 1000:.2f}"]  # fmt: skip


def _spans(record: Path) -> list[tuple[int, int]]:
    until = time.monotonic() + PATIENCE_S
    while record.stat().st_size < RUNS * SPAN.size:
        assert time.monotonic() < until, "the queue does not drain"
        time.sleep(0.05)
    return sorted(SPAN.iter_unpack(record.read_bytes()))


def _files(case: Case, folder: Path) -> list[Path]:
    """Pictures with as much noise in them as makes their files 5 MB large."""
    files = [folder / f"{number}.{case.kind.lower()}" for number in range(case.count)]
    for number, file in enumerate(files):
        file.write_bytes(_noise(case, np.random.default_rng(number)))
    return files


def _noise(case: Case, rng: np.random.Generator) -> bytes:
    ramp = np.linspace(60, 190, case.width)[None, :, None] + np.zeros((case.height, 1, 3))
    noise = rng.standard_normal((case.height, case.width, 3))
    low, high = 0.0, 200.0
    while True:
        content = _encoded(ramp + (low + high) / 2 * noise, case.kind)
        if abs(len(content) - 5 * MB) < MB / 20:
            return content
        assert high - low > 0.01, "no noise makes it 5 MB"
        low, high = ((low + high) / 2, high) if len(content) < 5 * MB else (low, (low + high) / 2)


def _encoded(pixels: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, kind, quality=95, compress_level=1)
    return file.getvalue()


if __name__ == "__main__":
    print(measure())
