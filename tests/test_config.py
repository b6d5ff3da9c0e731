"""Settings: defaults < file < environment < flags; what is unknown or has no unit is refused in words that help."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from gesso.config import Settings, environment_name, read_settings
from gesso.core.errors import ConfigError
from gesso.processes import to_environment


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, and an environment that says nothing."""
    for name in [name for name in os.environ if name.startswith("GESSO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str) -> None:
    (folder / "gesso.toml").write_text(text)


def test_flags_beat_the_environment_which_beats_the_file_which_beats_the_default(
    working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_settings().port == 8787
    write(working_folder, "port = 1\n")
    assert read_settings().port == 1
    monkeypatch.setenv("GESSO_PORT", "2")
    assert read_settings().port == 2
    assert read_settings(port=3).port == 3


def test_a_flag_that_is_not_given_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_HOST", "::1")

    assert read_settings(host=None, port=None).host == "::1"


def test_sources_are_merged_setting_by_setting(working_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(working_folder, 'host = "localhost"\nport = 1\n')
    monkeypatch.setenv("GESSO_PORT", "2")

    settings = read_settings(attempts=5)

    assert (settings.host, settings.port, settings.attempts) == ("localhost", 2, 5)


def test_an_unknown_setting_is_refused_in_the_file(working_folder: Path) -> None:
    write(working_folder, "prot = 1\n")

    with pytest.raises(ConfigError, match="there is no setting 'prot'; `gesso config` shows the settings"):
        read_settings()


def test_an_unknown_setting_is_refused_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_PROT", "1")
    monkeypatch.setenv("GESSO_HOSTS", "1")

    with pytest.raises(ConfigError, match="unknown in the environment: GESSO_HOSTS, GESSO_PROT; `gesso config` shows"):
        read_settings()


def test_an_unknown_setting_is_refused_among_the_flags() -> None:
    with pytest.raises(ConfigError, match="there is no setting 'prot'"):
        read_settings(prot=1)


def test_what_the_client_reads_and_what_others_read_is_no_setting_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GESSO_TOKEN", "GESSO_BASE_URL", "PORT", "HOST", "RUNCOMFY_TOKEN"):
        monkeypatch.setenv(name, "x")

    assert read_settings() == read_settings()


def test_a_file_that_is_no_toml_is_named(working_folder: Path) -> None:
    write(working_folder, 'host = "')

    with pytest.raises(ConfigError, match=r"gesso\.toml: "):
        read_settings()


def test_a_file_elsewhere_is_not_read(working_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(working_folder, "port = 1\n")
    (working_folder / "below").mkdir()
    monkeypatch.chdir(working_folder / "below")

    assert read_settings().port == 8787


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("30s", timedelta(seconds=30)),
        ("1.5 m", timedelta(seconds=90)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_RUN_TIMEOUT", text)

    assert read_settings().run_timeout == duration
    assert read_settings(run_timeout=text).run_timeout == duration


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1B", 1),
        ("3KB", 3000),
        ("256KiB", 262144),
        ("64 MiB", 67108864),
        ("1.5MiB", 1572864),
        ("1GB", 10**9),
        ("2GiB", 2**31),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_BODY_LIMIT", text)

    assert read_settings().body_limit == size


@pytest.mark.parametrize("text", ["30", "30 sec", "s", "-1s", "1e3s", "30S", "", "1s2s", "one s", "nan s"])
def test_a_duration_without_a_known_unit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="lease: needs a number and a unit, one of ms, s, m, h, d: such as 30s"):
        read_settings(lease=text)


@pytest.mark.parametrize("text", ["30", "64mib", "64 M", "-1B", "", "1_000B"])
def test_a_size_without_a_known_unit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"body_limit: needs a number and a unit, one of B, KB, .*: such as 30KB"):
        read_settings(body_limit=text)


@pytest.mark.parametrize(
    "line", ["lease = 30", "retention = 7.0", "grace = true", "body_limit = 1000.0", "bodies_in_flight = true"]
)
def test_the_file_gives_no_bare_numbers_either(working_folder: Path, line: str) -> None:
    write(working_folder, line + "\n")

    with pytest.raises(ConfigError, match=f"{line.partition(' ')[0]}: needs a number and a unit"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("allowed_hosts", "a.example, b.example,", ("a.example", "b.example")),
        ("allowed_hosts", "", ()),
        ("models", "wan-ai/x", ("wan-ai/x",)),
        ("fetch_allow_ports", "443, 8443", (443, 8443)),
        ("fetch_allow_http", "true", True),
    ],
)
def test_lists_are_written_with_commas(name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment_name(name), text)

    assert getattr(read_settings(), name) == value


def test_lists_of_the_file_are_lists(working_folder: Path) -> None:
    write(working_folder, 'allowed_hosts = ["a.example"]\nfetch_allow_ports = [443, 8443]\n')

    assert read_settings().allowed_hosts == ("a.example",)
    assert read_settings().fetch_allow_ports == (443, 8443)


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", "65536"), ("port", "-1"), ("port", "x"), ("attempts", "0"), ("balance_usd", "-1"), ("log_level", "loud"),
     ("fetch_allow_ports", "https"), ("fetch_allow_http", "perhaps")],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_by_its_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment_name(name), value)

    with pytest.raises(ConfigError, match=f"^{name}[.:0-9]*: "):
        read_settings()


def test_every_wrong_value_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"port: .*; attempts: "):
        read_settings(port=-1, attempts=0)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("gpu.example", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_only_loopback_addresses_and_localhost_stay_on_this_machine(host: str, loopback: bool) -> None:
    assert read_settings(host=host).is_loopback is loopback


def test_the_default_is_to_be_reached_from_this_machine_only() -> None:
    assert read_settings().is_loopback
    assert not read_settings().fetch_allow_private
    assert not read_settings().fetch_allow_http
    assert read_settings().fetch_allow_ports == (443,)


def test_settings_are_told_in_the_largest_unit_that_fits_and_can_be_read_back() -> None:
    told = read_settings(lease="90s", body_limit="1536KiB").model_dump(mode="json")

    assert (told["lease"], told["retention"], told["body_limit"], told["bodies_in_flight"]) == (
        "90s", "7d", "1536KiB", "256MiB",
    )  # fmt: skip
    assert read_settings(**{name: value for name, value in told.items() if value is not None}).model_dump() == (
        read_settings(lease="90s", body_limit="1536KiB").model_dump()
    )


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings().port = 1  # type: ignore[misc]


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []


SECRET = "postgresql://gesso:pass:w/or?d@db.example:5432/gesso?password=another-word&sslmode=require"


def test_the_password_of_the_database_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_DATABASE", SECRET)
    settings = read_settings()

    assert settings.database == SECRET
    assert settings.model_dump(mode="json")["database"] == "postgresql://***@db.example:5432/gesso"
    assert "or?d" not in repr(settings)
    assert "another-word" not in repr(settings)


def test_a_process_that_is_started_is_told_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_DATABASE", SECRET)

    assert to_environment(read_settings())["GESSO_DATABASE"] == SECRET
