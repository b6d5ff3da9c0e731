"""Brings the files of an output to this machine. It knows no token: output URLs are signed, and may lie anywhere."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

import httpx2

from gesso.client.errors import DownloadFailed
from gesso.client.urls import DIRECT

MAX_BYTES = 256 * 1024 * 1024
LONGEST_NAME = 120


def output_urls(result: Any) -> list[str]:
    """Every URL in the `output` of a /result body, in order, each once."""
    return list(dict.fromkeys(_urls(result.get("output"))))


def download(urls: list[str], folder: Path, *, max_bytes: int = MAX_BYTES, timeout: float = 60.0) -> list[Path]:
    """Fetch *urls* into *folder*, which is made if need be; no file that is there is touched.

    Args:
        max_bytes: at most so many for each file.
        timeout: seconds of silence after which a download is given up.

    Returns:
        the paths, in the order of *urls*; a second file of the same name got `-1` added to it.

    Raises:
        DownloadFailed: not a 200, cut off, or too large; what was downloaded before it stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with httpx2.Client(timeout=timeout, mounts=DIRECT) as http:
        return [_download(http, url, folder, max_bytes) for url in urls]


def file_name(url: str) -> str:
    """A plain file name out of the last segment of *url*: it leads nowhere and hides nothing."""
    path = re.split("[?#]", url)[0].partition("://")[2].partition("/")[2]
    last = unquote(path).replace("\\", "/").rsplit("/", 1)[-1]
    clean = Path(re.sub(r"[^\w.-]+", "_", last).strip("._-"))
    return clean.stem[:LONGEST_NAME] + clean.suffix[:16] or "output"


def _download(http: httpx2.Client, url: str, folder: Path, max_bytes: int) -> Path:
    name = file_name(url)
    part, path = _free_name(folder, name)
    try:
        with part.open("wb") as file, http.stream("GET", url) as response:
            _copy(response, file, name, max_bytes)
        return part.replace(path)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DownloadFailed(name=name, reason=str(error) or type(error).__name__) from error
    finally:
        part.unlink(missing_ok=True)


def _copy(response: httpx2.Response, file: BinaryIO, name: str, max_bytes: int) -> None:
    if response.status_code != 200:
        raise DownloadFailed(name=name, reason=f"the server answers {response.status_code}")
    written = 0
    for chunk in response.iter_bytes():
        written += len(chunk)
        if written > max_bytes:
            raise DownloadFailed(name=name, reason=f"it is larger than {max_bytes // (1024 * 1024)} MiB")
        file.write(chunk)


def _free_name(folder: Path, name: str) -> tuple[Path, Path]:
    """A `.part` file that is ours alone, and the name that it will get; it is free as long as we hold the former."""
    for number in count():
        path = folder / name
        path = path.with_stem(f"{path.stem}-{number}") if number else path
        part = path.with_name(path.name + ".part")
        try:
            part.touch(exist_ok=False)
        except FileExistsError:
            continue
        if not path.exists():
            return part, path
        part.unlink()
    raise AssertionError("numbers never end")


def _urls(value: Any) -> Iterator[str]:
    match value:
        case str() if value.startswith(("http://", "https://")):
            yield value
        case dict():
            for inner in value.values():
                yield from _urls(inner)
        case list():
            for inner in value:
                yield from _urls(inner)
