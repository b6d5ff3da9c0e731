"""What a base URL is, and which URLs share its origin."""

from typing import Any
from urllib.parse import urlsplit

from gesso.core.errors import ConfigError

DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# A proxy of the environment is for the world outside, not for this machine.
DIRECT: dict[str, None] = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))


def base_url(text: str) -> str:
    """*text* as a base URL: without a slash, and without the `/v1` that some settings carry at the end.

    Raises:
        ConfigError: it is no http or https URL, or carries a login, a query or a fragment.
    """
    url = text.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    if origin(url) is None or any(mark in url for mark in "@?#"):
        raise ConfigError(
            reason=f"'{text}' is no base URL; one looks like http://127.0.0.1:8787 or https://api.example.org"
        )
    return url


def origin(url: Any) -> tuple[str, str, int] | None:
    """Scheme, host and port of an http or https URL; None for everything else."""
    try:
        parts = urlsplit(str(url))
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def is_runcomfy(url: str) -> bool:
    """Whether *url* is RunComfy's own."""
    found = origin(url)
    return found is not None and f".{found[1]}".endswith((".runcomfy.net", ".runcomfy.com"))


def is_loopback(url: str) -> bool:
    """Whether *url* names this machine."""
    found = origin(url)
    return found is not None and found[1] in LOOPBACK
