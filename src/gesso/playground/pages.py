"""The playground's page and its files: read and packed once, the same for everybody. They hold nobody's data."""

import gzip
import hashlib
import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.routing import Route

from gesso import samples
from gesso.catalog import read_texts
from gesso.core.errors import NoSuchRoute
from gesso.core.texts import DEFAULT_LANGUAGE

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jpg": "image/jpeg",
    ".svg": "image/svg+xml",
}
# Types of problems that the page finds before a submit, and says in the words that the API would say after it.
PROBLEMS = (
    "missing", "blank", "string_too_long", "string_too_short", "too_long", "too_short", "int_type", "less_than_equal",
    "greater_than_equal", "image_uri", "unsupported_image",
)  # fmt: skip
FOR_EVER = "public, max-age=31536000, immutable"
EACH_TIME = "no-cache"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:{pictures}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is sent: as it is, and packed where that makes it smaller."""

    content_type: str
    plain: bytes
    packed: bytes
    digest: str

    @classmethod
    def of(cls, name: str, data: bytes) -> "Asset":
        """Packed once, not for each visitor."""
        packed = gzip.compress(data, 9, mtime=0)
        digest = hashlib.sha256(data).hexdigest()[:32]
        return cls(TYPES[Path(name).suffix], data, packed if len(packed) < len(data) else b"", digest)


class Playground:
    """The page at `/` and `/models/{model_id}`, and what it is made of.

    The page's files lie below a folder that is named after all their bytes: a browser may keep them for ever, and never
    mixes those of two versions.

    Args:
        pictures_from: other origins that results may be shown from, such as a bucket's `https://bucket.example`.
    """

    def __init__(self, *, pictures_from: tuple[str, ...] = ()) -> None:
        files = {**_web(), **_texts(), **_samples()}
        told = b"\0".join(name.encode() + b"\0" + data for name, data in sorted(files.items()))
        self._version = hashlib.sha256(told).hexdigest()[:16]
        page = _page(files.pop("index.html").decode(), self._version, files)
        self._page = Asset.of("index.html", page.encode())
        self._files: Mapping[str, Asset] = {name: Asset.of(name, data) for name, data in files.items()}
        self._headers = {
            "Content-Security-Policy": POLICY.format(pictures="".join(f" {origin}" for origin in pictures_from)),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Vary": "Accept-Encoding",
        }

    def routes(self) -> list[Route]:
        """They are for people, so the API's description leaves them out."""
        paths = {
            "/": self.page,
            "/models/{model_id:path}": self.page,
            "/playground/{version}/{name:path}": self.file,
        }
        return [Route(path, show, methods=["GET"], include_in_schema=False) for path, show in paths.items()]

    async def page(self, http: HTTPRequest) -> Response:
        """The page; it is the same for every model, and whether there is such a model is asked with a token."""
        return self._sent(http, self._page, EACH_TIME)

    async def file(self, http: HTTPRequest) -> Response:
        """A file of this version.

        Raises:
            NoSuchRoute: when there is none of that name, or it is of another version.
        """
        asset = self._files.get(http.path_params["name"])
        if asset is None or http.path_params["version"] != self._version:
            raise NoSuchRoute
        return self._sent(http, asset, FOR_EVER)

    def _sent(self, http: HTTPRequest, asset: Asset, caching: str) -> Response:
        is_packed = bool(asset.packed) and "gzip" in http.headers.get("accept-encoding", "")
        tag = f'"{asset.digest}{"-gzip" if is_packed else ""}"'
        headers = {**self._headers, "Cache-Control": caching, "ETag": tag}
        if tag in http.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if is_packed:
            headers["Content-Encoding"] = "gzip"
        return Response(asset.packed if is_packed else asset.plain, 200, headers, asset.content_type)


def _page(template: str, version: str, files: Mapping[str, bytes]) -> str:
    """The page, told where its files are and which languages it speaks."""
    languages = {language: json.loads(text)["language"] for language, text in _languages(files)}
    modules = sorted(name for name in files if name.endswith(".js"))
    preloads = "\n    ".join(f'<link rel="modulepreload" href="/playground/{version}/{name}">' for name in modules)
    told = {
        "{{version}}": version,
        "{{languages}}": html.escape(json.dumps(languages, ensure_ascii=False)),
        "{{preloads}}": preloads,
    }
    for mark, text in told.items():
        template = template.replace(mark, text)
    return template


def _languages(files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """English first."""
    tables = {Path(name).stem: data for name, data in files.items() if name.startswith("texts/")}
    yield from sorted(tables.items(), key=lambda pair: (pair[0] != DEFAULT_LANGUAGE, pair[0]))


def _web() -> dict[str, bytes]:
    folder = _folder("web")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _texts() -> dict[str, bytes]:
    """The words of the page in each language; what a language lacks is said in English."""
    tables = {path.stem: json.loads(path.read_text("utf-8")) for path in _folder("texts").glob("*.json")}
    english, api = tables[DEFAULT_LANGUAGE], read_texts()
    told = {}
    for language, table in tables.items():
        problems = {name: api.say(name, {"limit": "{limit}"}, language) for name in PROBLEMS}
        told[f"texts/{language}.json"] = json.dumps({**english, **problems, **table}, ensure_ascii=False).encode()
    return told


def _samples() -> dict[str, bytes]:
    """Photographs for people who have none at hand."""
    return {f"samples/{name}.jpg": Path(str(samples.sample(name))).read_bytes() for name in samples.NAMES}


def _folder(name: str) -> Path:
    return Path(str(resources.files("gesso.playground") / name))
