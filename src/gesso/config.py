"""Settings: defaults < file < environment < flags. Nobody else in the server looks at the environment."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_data_path
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from gesso.core.errors import ConfigError
from gesso.core.states import LONGEST_LEASE

DURATIONS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
FILE_NAME = "gesso.toml"
PREFIX = "GESSO_"
CLIENTS = frozenset({"GESSO_TOKEN", "GESSO_BASE_URL"})
"""What the client reads from the environment, by the same prefix."""


def _measured(text: Any, units: dict[str, Any]) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", str(text))
    if match is None or match[2] not in units:
        raise ValueError(f"needs a number and a unit, one of {', '.join(units)}: such as {30}{list(units)[1]}")
    return float(match[1]) * float(units[match[2]])


def _duration(value: Any) -> timedelta:
    return value if isinstance(value, timedelta) else timedelta(seconds=_measured(value, DURATIONS))


def _size(value: Any) -> int:
    return value if type(value) is int else round(_measured(value, SIZES))  # a bool is an int too


def _largest_unit(value: float, units: dict[str, Any]) -> str:
    """The value in the largest unit in which it is a whole number."""
    unit = max((name for name in units if value % units[name] == 0), key=lambda name: float(units[name]), default="")
    return f"{round(value / units[unit])}{unit}" if unit else str(value)


def _listed(value: Any) -> Any:
    return [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value


def _bucket_url(value: str) -> str:
    if value and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9._/-]*)?", value):
        raise ValueError(f"must be like s3://bucket/prefix, not {value!r}")
    return value


def _http_url(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", value):
        raise ValueError(f"must be like https://timestamp.example.org, not {value!r}")
    return value


def without_secrets(url: str) -> str:
    """A URL for people to read: without user, password and options."""
    return re.sub(r"(?<=://).*@", "***@", url).partition("?")[0]


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(lambda value: _largest_unit(value.total_seconds(), DURATIONS)),
]
Bytes = Annotated[int, BeforeValidator(_size), PlainSerializer(lambda value: _largest_unit(value, SIZES))]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Ports = Annotated[tuple[int, ...], BeforeValidator(_listed)]


DatabaseURL = Annotated[str, PlainSerializer(without_secrets, when_used="json")]


class Settings(BaseSettings):
    """What can be set, each with its one-line help."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", enable_decoding=False, frozen=True, validate_default=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on; anything but loopback needs a token first.")
    port: int = Field(8787, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("gesso"), description="Folder of the database and the files."
    )
    database: DatabaseURL = Field(
        "", repr=False, description="postgresql://user:password@host:5432/name; empty: a file in the data folder."
    )
    database_connections: int = Field(8, ge=1, le=100, description="Connections of one process to PostgreSQL at most.")
    accept_data_loss: bool = Field(
        default=False, description="Whether a PostgreSQL server is taken that loses commits when its power fails."
    )
    blobs: Annotated[str, AfterValidator(_bucket_url)] = Field(
        "", description="Where pictures are kept: s3://bucket/prefix; empty: in the data folder."
    )
    presigned_urls: bool = Field(
        default=False, description="Whether outputs are fetched from the bucket itself, by presigned URLs."
    )
    admin_host: str = Field("127.0.0.1", description="Address of the admin listener; see admin_port.")
    admin_port: int = Field(-1, ge=-1, le=65535, description="Port that /metrics is told on; 0: a free one; -1: none.")
    metrics_token: str = Field(
        "", repr=False, description="What a scraper of /metrics sends as bearer; needed where others reach admin_host."
    )
    public_base_url: str = Field("", description="What clients reach this server by; empty: from host and port.")
    allowed_hosts: Names = Field((), description="Host headers that are answered, beside those of the public base URL.")
    models_dir: Path | None = Field(None, description="Folder of your own model definitions.")
    models: Names = Field((), description="Models that a worker runs; empty: all.")
    engine_processes: int = Field(1, ge=1, description="Processes of each engine; more for engines on the CPU.")
    engine_places: int = Field(0, ge=0, description="Engines that a worker may have loaded at once; 0: all.")
    engine_turn: Duration = Field(
        timedelta(seconds=30), description="How long an engine keeps its place while others wait for it."
    )
    prompt_extender: str = Field(
        "", description="Chat endpoint that enriches prompts, like http://127.0.0.1:8000/v1; empty: engines do it."
    )
    prompt_extender_model: str = Field("", description="The model that it is asked for.")
    prompt_extender_key_env: str = Field(
        "", description="Environment variable that holds its key; empty: none is sent."
    )
    prompt_extender_sees: bool = Field(default=True, description="Whether it is shown the pictures.")
    prompt_extender_timeout: Duration = Field(timedelta(seconds=20), description="How long its answer may take.")
    c2pa_certificates: Path | None = Field(
        None, description="PEM file of the certificates that sign outputs, the signer's own first; unset: none does."
    )
    c2pa_key: Path | None = Field(None, description="PEM file of the signer's private key, without a passphrase.")
    c2pa_timestamp_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "", description="Authority (RFC 3161) that attests when an output was signed; empty: none."
    )
    lease: Duration = Field(
        timedelta(seconds=30), gt=timedelta(0), le=LONGEST_LEASE,
        description="How long a worker holds a request without renewing; at most 5m.",
    )  # fmt: skip
    attempts: int = Field(3, ge=1, description="How many workers a request may lose before it is failed.")
    run_timeout: Duration = Field(timedelta(minutes=10), description="How long an engine may run before it is killed.")
    step_timeout: Duration = Field(
        timedelta(minutes=2), description="How long an engine that reports steps may report none before it is killed."
    )
    load_timeout: Duration = Field(timedelta(minutes=30), description="How long an engine may load.")
    grace: Duration = Field(timedelta(seconds=30), description="How long a run may take to end when the server stops.")
    retention: Duration = Field(timedelta(days=7), description="How long an ended request and its files are kept.")
    upload_lifetime: Duration = Field(timedelta(days=1), description="How long an uploaded file is kept.")
    balance_usd: float = Field(1000.0, ge=0, description="The nominal balance that is shown.")
    body_limit: Bytes = Field(64 * 2**20, description="The largest body of a submit, data URIs included.")
    other_body_limit: Bytes = Field(256 * 2**10, description="The largest body without its data URIs.")
    bodies_in_flight: Bytes = Field(
        256 * 2**20, description="Bytes of large bodies at once, half of it for one owner: at least twice body_limit."
    )
    fetch_allow_http: bool = Field(default=False, description="Whether pictures and webhooks may use plain http.")
    fetch_allow_ports: Ports = Field((443,), description="Ports that pictures may come from and webhooks go to.")
    fetch_allow_hosts: Names = Field(
        (), description="Hosts that may have a private address, such as *.internal.example."
    )
    fetch_allow_private: bool = Field(
        default=False, description="Whether pictures and webhooks may use any private address. Dangerous."
    )
    submits_per_minute: int = Field(1_000_000, ge=0, description="Submits and uploads of one owner; 0: no limit.")
    reads_per_minute: int = Field(10_000_000, ge=0, description="Calls of any kind of one owner; 0: no limit.")
    most_open: int = Field(2_000_000, ge=0, description="Requests of all owners that have not ended; 0: no limit.")
    most_open_per_owner: int = Field(1_000_000, ge=0, description="The same, of one owner; 0: no limit.")
    most_streams: int = Field(2000, ge=1, description="Event streams and waiting calls that are open at once.")
    most_streams_per_owner: int = Field(200, ge=1, description="The same, of one owner.")
    stored_bytes_per_owner: Bytes = Field(50 * 2**30, description="Pictures kept for one owner; 0B: no limit.")
    run_seconds_per_owner: int = Field(
        0, ge=0, description="Seconds that one owner's runs of the last 24 hours may take, then 402; 0: no limit."
    )
    bad_tokens_per_minute: int = Field(300, ge=0, description="Failed sign-ins of one address; 0: no limit.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="What is logged, to stderr.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library names it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then the file `gesso.toml` of the working folder."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(FILE_NAME))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach *host*."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_settings(**flags: Any) -> Settings:
    """The settings in force; flags that are None are not given.

    Raises:
        ConfigError: names the setting, and says what would be right.
    """
    _refuse_unknown(os.environ)
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as fault:
        raise ConfigError(reason="; ".join(map(_told, fault.errors()))) from None
    except ValueError as fault:
        raise ConfigError(reason=f"{FILE_NAME}: {fault}") from None


def environment_name(field: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{field}".upper()


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = {environment_name(name) for name in Settings.model_fields} | CLIENTS
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise ConfigError(reason=f"unknown in the environment: {', '.join(unknown)}; `gesso config` shows the settings")


def _told(error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"there is no setting {name!r}; `gesso config` shows the settings"
    return f"{name}: {error['msg'].removeprefix('Value error, ')}"
