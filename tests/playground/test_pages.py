"""The playground's page and files, as any client of HTTP sees them."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from gesso.api.errors import Errors, Languages
from gesso.catalog import read_texts
from gesso.core.errors import GessoError
from gesso.core.texts import Texts
from gesso.core.wire import Wire
from gesso.playground.pages import PROBLEMS, Playground

TEXTS = Path(__file__).parents[2] / "src" / "gesso" / "playground" / "texts"
TABLES: dict[str, dict[str, str]] = {path.stem: json.loads(path.read_text("utf-8")) for path in TEXTS.glob("*.json")}
PATHS = ("/", "/models/wan-ai/wan-2-6/image-to-image", "/models/no/such/model")
WEB = TEXTS.parent / "web"
MOST_LINES = 2850  # docs/decisions/0010-playground.md


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    errors = Errors(Wire("http://test", Texts({})), Languages(Texts({})))
    app = Starlette(routes=Playground().routes(), exception_handlers={GessoError: errors.gesso})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        yield client


async def files(client: httpx2.AsyncClient) -> list[str]:
    """The paths that the page names."""
    page = (await client.get("/")).text
    return re.findall(r'(?:src|href)="(/playground/[^"]+)"', page)


@pytest.mark.parametrize("path", PATHS)
async def test_the_page_is_the_same_for_every_model_there_is_or_is_not(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.get(path)

    assert (answer.status_code, answer.content) == (200, (await client.get("/")).content)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_every_answer_forbids_what_the_page_does_not_need(client: httpx2.AsyncClient, method: str) -> None:
    for path in ["/", *await files(client)]:
        headers = (await client.request(method, path)).headers

        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


async def test_pictures_of_a_bucket_are_shown_and_nothing_else_of_it() -> None:
    app = Starlette(routes=Playground(pictures_from=("https://bucket.example",)).routes())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        policy = (await client.get("/")).headers["content-security-policy"]

    assert [part.split()[0] for part in policy.split("; ") if "bucket.example" in part] == ["img-src"]


async def test_the_page_holds_no_script_and_no_style_of_its_own(client: httpx2.AsyncClient) -> None:
    page = (await client.get("/")).text

    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", page) == []


async def test_its_files_are_kept_for_ever_and_the_page_is_asked_for_each_time(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/")).headers["cache-control"] == "no-cache"
    for path in await files(client):
        assert "immutable" in (await client.get(path)).headers["cache-control"]


async def test_what_the_browser_has_already_is_not_sent_again(client: httpx2.AsyncClient) -> None:
    for path in ["/", *await files(client)]:
        tag = (await client.get(path)).headers["etag"]

        again = await client.get(path, headers={"If-None-Match": tag})

        assert (again.status_code, again.content) == (304, b"")


async def test_packed_and_plain_are_the_same_bytes_with_tags_of_their_own(client: httpx2.AsyncClient) -> None:
    path = next(path for path in await files(client) if path.endswith("base.css"))
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    packed = await client.get(path, headers={"Accept-Encoding": "gzip"})

    assert plain.content == packed.content == (WEB / "base.css").read_bytes()
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["etag"] != packed.headers["etag"]
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, 9, mtime=0))


@pytest.mark.parametrize("change", [lambda path: path + "x", lambda path: re.sub(r"[0-9a-f]{16}", "0" * 16, path)])
async def test_a_file_of_another_version_or_name_is_not_there(client: httpx2.AsyncClient, change: Any) -> None:
    path = change((await files(client))[0])

    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    "path", ["/playground/../pages.py", "/playground/x/../../config.py", "/playground/x//etc/passwd"]
)
async def test_nothing_outside_its_folder_is_ever_served(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_the_page_can_only_be_read(client: httpx2.AsyncClient) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await client.request(method, "/")).status_code == 405


@pytest.mark.parametrize("language", ["ja", "ru"])
def test_every_sentence_of_the_page_is_there_in_each_language_with_the_same_braces(language: str) -> None:
    english, table = TABLES["en"], TABLES[language]

    assert table.keys() == english.keys()
    for key, sentence in english.items():
        assert set(re.findall(r"{\w+}", table[key])) == set(re.findall(r"{\w+}", sentence)), key
        assert table[key].strip()


def test_every_sentence_is_used_and_every_used_one_is_there() -> None:
    code = "\n".join(path.read_text("utf-8") for path in WEB.iterdir() if path.suffix in (".js", ".html"))
    named = set(re.findall(r'\bt\(\s*"(\w+)"', code)) | set(re.findall(r'data-text="(\w+)"', code))
    quoted = set(re.findall(r'"(\w+)"', code)) | set(re.findall(r"^\s+(\w+): \[", code, re.MULTILINE))
    made = tuple(set(re.findall(r"`(\w+_)\$\{", code)))  # as in t(`state_${status}`)

    assert named <= TABLES["en"].keys() | set(PROBLEMS)
    unused = [key for key in TABLES["en"] if key not in quoted and not key.startswith(made) and key != "language"]
    assert unused == []


@pytest.mark.parametrize("language", ["en", "ja", "ru"])
def test_the_page_says_before_a_submit_what_the_api_would_say_after_it(language: str) -> None:
    table = json.loads(Playground()._files[f"texts/{language}.json"].plain)

    assert {key: table[key] for key in PROBLEMS} == {
        key: read_texts().say(key, {"limit": "{limit}"}, language) for key in PROBLEMS
    }
    assert not TABLES[language].keys() & set(PROBLEMS)


def test_a_language_is_added_by_a_file_and_what_it_lacks_is_said_in_english(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from gesso.playground import pages

    for path in TEXTS.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "de.json").write_text(json.dumps({"language": "Deutsch", "run": "Los"}))
    folder = pages._folder
    monkeypatch.setattr(pages, "_folder", lambda name: tmp_path if name == "texts" else folder(name))

    playground = Playground()

    table = json.loads(playground._files["texts/de.json"].plain)
    assert (table["run"], table["cancel"]) == ("Los", TABLES["en"]["cancel"])
    assert b"Deutsch" in playground._page.plain


def test_the_room_stays_small_enough_to_be_read() -> None:
    lines = sum(len(path.read_text("utf-8").splitlines()) for path in WEB.iterdir() if path.suffix != ".svg")

    assert lines <= MOST_LINES


def test_no_file_of_the_page_outgrows_its_reader() -> None:
    long = [path.name for path in WEB.iterdir() if len(path.read_text("utf-8").splitlines()) > 300]

    assert long == []
