"""Output URLs that cannot be guessed and that end. This file knows no route and no file."""

import hmac
from base64 import urlsafe_b64encode
from datetime import datetime

LEAST_SECRET_BYTES = 16


class Signer:
    """Signs paths with HMAC-SHA256.

    Args:
        secret: at least 16 bytes; whoever has it can read every output.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < LEAST_SECRET_BYTES:
            raise ValueError(f"the secret must have at least {LEAST_SECRET_BYTES} bytes")
        self._secret = secret

    def sign(self, path: str, expires_at: datetime) -> str:
        """*path* with the query that opens it until *expires_at* (to the second, aware)."""
        expires = str(int(expires_at.timestamp()))
        return f"{path}?expires={expires}&signature={self._signature(path, expires).decode()}"

    def check(self, path: str, expires: str, signature: str, now: datetime) -> bool:
        """Whether *path* is open at *now*; any garbage is just False."""
        # Compared as text, not as decoded bytes: base64 leaves two bits of its last letter free.
        given = signature.encode("utf-8", "surrogatepass")
        genuine = hmac.compare_digest(given, self._signature(path, expires))
        return genuine and now.timestamp() < int(expires)

    def _signature(self, path: str, expires: str) -> bytes:
        message = f"{expires}\n{path}".encode("utf-8", "surrogatepass")
        return urlsafe_b64encode(hmac.digest(self._secret, message, "sha256")).rstrip(b"=")
