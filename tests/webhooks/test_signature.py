"""Signatures, judged by the library that receivers use."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from gesso.webhooks import signature

SECRET, OTHER = signature.derive(b"root", "alice", 0), signature.derive(b"root", "alice", 1)
ID, BODY = "msg_0123", '{"status": "succeeded", "text": "ä"}'.encode()


def signed(*secrets: bytes, at: datetime | None = None) -> dict[str, str]:
    return signature.headers(ID, int((at or datetime.now(UTC)).timestamp()), BODY, secrets)


def accepts(secret: bytes, headers: dict[str, str], body: bytes = BODY) -> bool:
    try:
        Webhook(signature.spell(secret)).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def test_a_receivers_library_accepts_what_we_sign_and_would_sign_it_so() -> None:
    at = datetime.now(UTC).replace(microsecond=0)
    headers = signed(SECRET, at=at)

    assert accepts(SECRET, headers)
    assert headers["webhook-signature"] == Webhook(signature.spell(SECRET)).sign(ID, at, BODY.decode())


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({}, BODY + b" "),
        ({"webhook-id": "msg_0124"}, BODY),
        ({"webhook-timestamp": str(int(datetime.now(UTC).timestamp()) - 1)}, BODY),
        ({"webhook-signature": "v1," + "A" * 43 + "="}, BODY),
    ],
    ids=["another body", "another id", "another time", "forged"],
)
def test_W12_a_receivers_library_refuses_what_we_did_not_sign(change: dict[str, str], body: bytes) -> None:
    assert not accepts(SECRET, signed(SECRET) | change, body)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_W12_a_receivers_library_refuses_what_is_old_or_of_the_future(minutes: int) -> None:
    assert not accepts(SECRET, signed(SECRET, at=datetime.now(UTC) + timedelta(minutes=minutes)))


def test_during_a_rotation_either_secret_verifies_and_no_third_one_does() -> None:
    headers = signed(OTHER, SECRET)

    assert accepts(SECRET, headers)
    assert accepts(OTHER, headers)
    assert not accepts(signature.derive(b"root", "alice", 2), headers)


def test_owners_generations_and_databases_have_secrets_of_their_own() -> None:
    secrets = {
        signature.derive(root, owner, generation)
        for root in (b"root", b"other")
        for owner in ("alice", "bob", "1 alice")
        for generation in (0, 1, 11)
    }

    assert len(secrets) == 18
    assert {len(secret) for secret in secrets} == {32}


def test_what_the_page_tells_receivers_to_do_accepts_ours_and_nothing_else() -> None:
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    with_library, without = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(with_library.replace("whsec_…", signature.spell(SECRET)) + without, names)

    assert names["told"](signed(OTHER, SECRET), BODY)["status"] == "succeeded"
    assert names["is_genuine"](signature.spell(SECRET), signed(OTHER, SECRET), BODY)
    assert not names["is_genuine"](signature.spell(SECRET), signed(SECRET), BODY + b" ")
    with pytest.raises(WebhookVerificationError):
        names["told"](signed(OTHER), BODY)
