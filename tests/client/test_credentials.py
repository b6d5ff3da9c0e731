"""Which server and whose token: precedence, and that a paid token does not leak."""

import os
import stat

import pytest

from gesso.client import credentials
from gesso.client.credentials import ARGUMENT, DEFAULT_BASE_URL, TOKEN_FILE, find, forget, remember, token_file
from gesso.core.errors import ConfigError

HERE, PAID = "http://127.0.0.1:8787", "https://model-api.example.net"


def test_without_anything_it_is_the_local_server_and_no_token():
    found = find()

    assert (found.base_url, found.token) == (DEFAULT_BASE_URL, None)


@pytest.mark.parametrize(
    ("environment", "base", "url"),
    [
        ({"GESSO_BASE_URL": "http://a:1", "RUNCOMFY_MODEL_API_BASE": "http://b:1/v1"}, None, "http://a:1"),
        ({"GESSO_BASE_URL": "http://a:1"}, "http://c:1", "http://c:1"),
        ({"RUNCOMFY_MODEL_API_BASE": "http://b:1/v1", "RUNCOMFY_MODEL_API_BASE_URL": "http://d:1"}, None, "http://b:1"),
        ({"RUNCOMFY_MODEL_API_BASE_URL": "http://d:1"}, None, "http://d:1"),
        ({"GESSO_BASE_URL": "  "}, None, DEFAULT_BASE_URL),
    ],
)
def test_the_nearest_base_url_wins(monkeypatch, environment, base, url):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert find(base).base_url == url


@pytest.mark.parametrize("name", credentials.PAID_TOKENS)
def test_a_paid_token_goes_only_where_runcomfy_or_the_caller_points(monkeypatch, name):
    monkeypatch.setenv(name, "paid")

    assert find().token is None
    assert find(HERE).token == "paid"
    monkeypatch.setenv("RUNCOMFY_MODEL_API_BASE", f"{PAID}/v1")
    assert find().token == "paid"
    monkeypatch.setenv("GESSO_BASE_URL", HERE)
    assert find().token is None


def test_a_paid_token_does_not_go_to_the_server_of_the_token_file(monkeypatch):
    remember(HERE, "kept")
    forget(HERE)
    monkeypatch.setenv("RUNCOMFY_TOKEN", "paid")

    assert find().token is None


def test_our_own_token_comes_first(monkeypatch):
    monkeypatch.setenv("RUNCOMFY_MODEL_API_BASE", PAID)
    monkeypatch.setenv("RUNCOMFY_TOKEN", "paid")
    monkeypatch.setenv("GESSO_TOKEN", "ours")

    assert (find().token, find().token_from) == ("ours", "GESSO_TOKEN")
    assert (find(None, "given").token, find(None, "given").token_from) == ("given", ARGUMENT)


def test_a_kept_token_goes_only_to_its_own_server():
    remember(PAID, "kept")

    assert (find(PAID).token, find(PAID).token_from) == ("kept", TOKEN_FILE)
    assert find(HERE).token is None


def test_the_last_login_is_the_server_that_is_used():
    remember(HERE, "one")
    remember(f"{PAID}/v1", "two")

    assert (find().base_url, find().token) == (PAID, "two")
    assert find(HERE).token == "one"


def test_the_token_file_is_for_its_owner_only():
    path = remember(HERE, "kept")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_login_that_fails_half_way_leaves_the_old_token_file(monkeypatch):
    remember(HERE, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))

    with pytest.raises(OSError, match="disk full"):
        remember(HERE, "new")
    assert find().token == "old"
    assert list(token_file().parent.iterdir()) == [token_file()]


def test_a_forgotten_token_is_gone_and_others_stay():
    remember(HERE, "one")
    remember(PAID, "two")

    assert forget(PAID)
    assert not forget(PAID)
    assert find(PAID).token is None
    assert find(HERE).token == "one"


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"tokens": 5}', '{"base_url": null}', '{"base_url": 5}'])
def test_a_damaged_token_file_counts_as_empty(text):
    remember(HERE, "kept").write_text(text)

    assert find().token is None


@pytest.mark.parametrize("base", ["localhost:8787", "ftp://x", "http://", "http://u:p@x", "http://x/?a", "http://x:y"])
def test_what_is_no_base_url_is_refused(base):
    with pytest.raises(ConfigError, match="base URL"):
        find(base)


@pytest.mark.parametrize("token", ["tok\nen", "tok en", "tokén"])
def test_a_token_that_no_header_can_carry_is_refused(token):
    with pytest.raises(ConfigError, match="token") as caught:
        find(None, token)
    assert token not in str(caught.value)


def test_a_token_is_not_shown():
    assert "secret" not in repr(find(None, "secret"))
