"""Which server and whose token: the only place that looks at GESSO_TOKEN, GESSO_BASE_URL, RUNCOMFY_* and token.json.

A token of RUNCOMFY_* may be a paid one: it goes only to a server that RUNCOMFY_* or the caller named.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from gesso.client.urls import base_url
from gesso.core.errors import ConfigError

DEFAULT_BASE_URL = "http://127.0.0.1:8787"
ARGUMENT, TOKEN_FILE, DEFAULT = "argument", "token file", "default"
PAID_TOKENS = ("RUNCOMFY_API_TOKEN", "RUNCOMFY_TOKEN")
BASES = ("GESSO_BASE_URL", "RUNCOMFY_MODEL_API_BASE", "RUNCOMFY_MODEL_API_BASE_URL")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A server, a token for it, and where each was found: an environment variable, or one of the words above.

    Attributes:
        token: None where there is none; never shown by `repr`.
    """

    base_url: str
    base_url_from: str
    token: str | None = field(repr=False)
    token_from: str | None


def find(base: str | None = None, token: str | None = None) -> Credentials:
    """The server and the token to be used, by precedence: arguments, GESSO_*, RUNCOMFY_*, the token file, the default.

    Raises:
        ConfigError: a base URL is none, or a token cannot be sent.
    """
    kept = _read()
    source, url = next((name, url) for name, url in _bases(base, kept) if url)
    url = base_url(url)
    tokens = _tokens(token, source, kept.get("tokens", {}).get(url))
    token_from, token = next(((name, value) for name, value in tokens if value), (None, None))
    return Credentials(url, source, _sendable(token), token_from)


def remember(base: str, token: str) -> Path:
    """Keep *token* for the server at *base*, and use that server from now on; the file is for its owner's eyes only."""
    kept, url = _read(), base_url(base)
    return _write({"base_url": url, "tokens": {**kept.get("tokens", {}), url: _sendable(token)}})


def forget(base: str) -> bool:
    """Drop the token that is kept for *base*; whether there was one."""
    kept, url = _read(), base_url(base)
    tokens = kept.get("tokens", {})
    if url not in tokens:
        return False
    others = {other: token for other, token in tokens.items() if other != url}
    _write({"tokens": others} | ({"base_url": kept["base_url"]} if kept.get("base_url") in others else {}))
    return True


def token_file() -> Path:
    """Where tokens are kept: `~/.config/gesso/token.json`, or where the system wants such files."""
    return platformdirs.user_config_path("gesso", appauthor=False) / "token.json"


def _bases(argument: str | None, kept: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    yield ARGUMENT, argument
    for name in BASES:
        yield name, _environment(name)
    yield TOKEN_FILE, kept.get("base_url")
    yield DEFAULT, DEFAULT_BASE_URL


def _tokens(argument: str | None, base_from: str, kept: str | None) -> Iterator[tuple[str, str | None]]:
    paid = [(name, _environment(name)) for name in PAID_TOKENS]
    yield ARGUMENT, argument
    yield "GESSO_TOKEN", _environment("GESSO_TOKEN")
    if base_from.startswith("RUNCOMFY_"):
        yield from paid
    yield TOKEN_FILE, kept
    if base_from == ARGUMENT:  # after the file: a token that was kept for this very server is the better guess
        yield from paid


def _environment(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def _sendable(token: str | None) -> str | None:
    token = token.strip() if token else None
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(reason="the token holds characters that no header can carry; was it copied whole?")
    return token


def _read() -> dict[str, Any]:
    """The token file; a missing or damaged one counts as empty, and the next login writes it anew."""
    try:
        kept = json.loads(token_file().read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    good = isinstance(kept, dict) and isinstance(kept.get("tokens"), dict) and isinstance(kept.get("base_url", ""), str)
    return kept if good else {}


def _write(kept: Mapping[str, Any]) -> Path:
    path = token_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, draft = tempfile.mkstemp(dir=path.parent, prefix=".token-")  # made with mode 0600
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            json.dump(kept, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    return path
