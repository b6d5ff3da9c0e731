"""Output URLs that cannot be guessed and that end."""

import random
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from gesso.files.signing import Signer

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PATH = "/files/0b9f0f7e/result.png"
SIGNER = Signer(b"s" * 32)


def signed(path: str = PATH, life: timedelta = timedelta(days=7)) -> tuple[str, str, str]:
    parts = urlsplit(SIGNER.sign(path, NOW + life))
    query = parse_qs(parts.query)
    return parts.path, query["expires"][0], query["signature"][0]


def test_a_signed_url_opens_its_path_until_it_ends():
    path, expires, signature = signed(life=timedelta(seconds=10))

    assert SIGNER.check(path, expires, signature, NOW + timedelta(seconds=9))
    assert not SIGNER.check(path, expires, signature, NOW + timedelta(seconds=10))


def test_no_bit_of_a_signed_url_can_be_flipped():
    numbers, accepted = random.Random(1), 0
    for _ in range(10_000):
        parts = [bytearray(part.encode()) for part in signed()]
        part = numbers.choice(parts)
        part[numbers.randrange(len(part))] ^= 1 << numbers.randrange(8)
        accepted += SIGNER.check(*(bytes(part).decode("utf-8", "surrogateescape") for part in parts), now=NOW)

    assert accepted == 0


def test_another_secret_opens_nothing():
    assert not Signer(b"t" * 32).check(*signed(), now=NOW)


def test_the_same_signature_opens_no_other_path():
    _, expires, signature = signed("/files/a1")

    assert not SIGNER.check("/files/a", "1" + expires, signature, NOW)


@pytest.mark.parametrize("garbage", ["", "x", "-1", "1e99", "\u0661", "\ud800", "0" * 100_000, "\0", "9" * 5000, " 1"])
def test_garbage_is_refused_and_raises_nothing(garbage):
    path, expires, signature = signed()

    assert not SIGNER.check(path, garbage, signature, NOW)
    assert not SIGNER.check(path, expires, garbage, NOW)
    assert not SIGNER.check(garbage, expires, signature, NOW)


def test_a_short_secret_is_refused():
    with pytest.raises(ValueError, match="at least 16 bytes"):
        Signer(b"")
