"""A result's metadata may quote the prompt, but never an address: some clients collect every URL of a body."""

import pytest

from gesso.core import wire


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("write https://evil.example/z.png here", "write … here"),
        ("HTTP://a/b", "…"),
        ("s3://bucket/key, ftp://x", "… …"),
        ("see data:image/png;base64,AAAA now", "see … now"),
        ("ratio 16:9 and nothing else", "ratio 16:9 and nothing else"),
    ],
)
def test_an_address_in_a_note_is_not_shown(told: str, shown: str) -> None:
    assert wire.metadata({"plan": [{"text": told}]}) == {"plan": [{"text": shown}]}


def test_a_key_that_names_an_output_is_left_out_at_any_depth() -> None:
    notes = {"engine": "x", "url": "1", "plan": [{"operator": "pencil", "images": [1], "strength": 0.5}]}

    assert wire.metadata(notes) == {"engine": "x", "plan": [{"operator": "pencil", "strength": 0.5}]}
