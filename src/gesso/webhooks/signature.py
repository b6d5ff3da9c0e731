"""Signs what is sent, as https://www.standardwebhooks.com says. It knows no request and no network."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
VERSION = "v1"


def derive(root: bytes, owner: str, generation: int) -> bytes:
    """The secret of *owner*, 32 bytes: from the database's own secret, so that none need be kept."""
    return hmac.digest(root, f"{generation} {owner}".encode(), hashlib.sha256)


def spell(secret: bytes) -> str:
    """A secret as receivers are given it."""
    return PREFIX + base64.b64encode(secret).decode()


def headers(delivery_id: str, timestamp: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The three headers of an attempt.

    Args:
        timestamp: of this attempt, in seconds since 1970.
        secrets: each signs, so that a receiver may hold any one of them.
    """
    signatures = (_sign(secret, delivery_id, timestamp, body) for secret in secrets)
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _sign(secret: bytes, delivery_id: str, timestamp: int, body: bytes) -> str:
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return f"{VERSION},{base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()}"
