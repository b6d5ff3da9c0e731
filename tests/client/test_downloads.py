"""Files of an output on their way to this machine: clean names, no overwriting, a limit, nothing half."""

from pathlib import Path

import pytest
from standin import PNG, Standin

from gesso.client.downloads import download, file_name, output_urls
from gesso.client.errors import DownloadFailed


def urls(server: Standin, *names: str) -> list[str]:
    return [f"{server.url}/files/hV3/{name}?expires=1&signature=9c" for name in names]


def test_a_file_lands_under_its_own_name(server: Standin, tmp_path: Path):
    (path,) = download(urls(server, "cat-1.png"), tmp_path / "new" / "folder")

    assert (path.name, path.read_bytes()) == ("cat-1.png", PNG)


def test_a_second_file_of_the_same_name_gets_a_number(server: Standin, tmp_path: Path):
    (tmp_path / "cat.png").write_bytes(b"mine")
    paths = download(urls(server, "cat.png", "cat.png"), tmp_path)

    assert [path.name for path in paths] == ["cat-1.png", "cat-2.png"]
    assert (tmp_path / "cat.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/files/a/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("/files/..", "output"),
        ("/files/", "output"),
        ("", "output"),
        ("/files/.bashrc", "bashrc"),
        ("/files/a%00b%1b[31m.png", "a_b_31m.png"),
        ("/files/a%5C..%5Cb.png", "b.png"),
        ("/files/-rf.png", "rf.png"),
        ("/files/" + "n" * 500 + ".png", "n" * 120 + ".png"),
        ("/files/noextension", "noextension"),
        ("/files/猫.png", "猫.png"),
    ],
)
def test_a_name_leads_nowhere_and_hides_nothing(path, name):
    assert file_name(f"https://x.org{path}?signature=/../y") == name


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(server: Standin, tmp_path: Path):
    with pytest.raises(DownloadFailed, match="larger"):
        download(urls(server, "cat.png"), tmp_path, max_bytes=len(PNG) - 1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_leaves_nothing(server: Standin, tmp_path: Path):
    server.can("GET /files/hV3/cat.png", (404, {}, b"gone"))

    with pytest.raises(DownloadFailed, match="404"):
        download(urls(server, "cat.png"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_cut_off_leaves_nothing(server: Standin, tmp_path: Path):
    server.can("GET /files/hV3/cat.png", (200, {"Content-Length": "1000", "Connection": "close"}, PNG))

    with pytest.raises(DownloadFailed):
        download(urls(server, "cat.png"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/cat.png", "http://[/cat.png"])
def test_a_host_that_is_not_there_is_said_without_a_trace(url, tmp_path: Path):
    with pytest.raises(DownloadFailed, match=r"cat\.png"):
        download([url], tmp_path)


def test_every_url_of_an_output_is_found_once():
    output = {
        "image": "https://x/a",
        "images": ["https://x/a", "https://x/b"],
        "text": "no",
        "more": {"url": "http://x/c"},
    }

    assert output_urls({"output": output}) == ["https://x/a", "https://x/b", "http://x/c"]
    assert output_urls({}) == []
