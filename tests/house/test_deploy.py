"""The files that operators start from: each is judged by the tool that would read it, and says what is so."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from gesso.cli.main import main
from gesso.config import CLIENTS, Settings, environment_name

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
SECRETS = {"POSTGRES_PASSWORD": "a", "S3_ACCESS_KEY": "b", "S3_SECRET_KEY": "c", "GESSO_METRICS_TOKEN": "d"}
BIN = Path(sys.executable).parent


def documents(path: Path) -> list[dict[str, object]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_setting_that_a_file_names_exists(path: Path) -> None:
    known = {environment_name(name) for name in Settings.model_fields} | CLIENTS

    assert set(re.findall(r"\bGESSO_[A-Z_]+\b", path.read_text())) <= known


def test_every_command_that_a_file_gives_exists() -> None:
    services = documents(DEPLOY / "compose.yaml")[0]["services"]
    assert isinstance(services, dict)
    commands = [services[name]["command"] for name in ("api", "worker", "upgrade")]
    for document in documents(DEPLOY / "kubernetes" / "gesso.yaml"):
        spec = dict(document.get("spec") or {})  # type: ignore[call-overload]
        commands += [each["args"] for each in spec.get("template", {}).get("spec", {}).get("containers", [])]
    for unit in (DEPLOY / "systemd").glob("*.service"):
        commands.append(re.findall(r"^ExecStart=\S+/gesso (.*)$", unit.read_text(), re.MULTILINE)[0].split())

    assert len(commands) == 8
    for words in commands:
        command: click.Command | None = main
        for word in words:
            assert isinstance(command, click.Group)
            command = command.get_command(click.Context(command), word)
        assert command is not None, words


def test_the_image_is_built_by_a_sound_dockerfile() -> None:
    told = subprocess.run([BIN / "hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)

    assert (told.returncode, told.stdout) == (0, "")


def test_the_cluster_would_accept_every_object_of_its_own() -> None:
    path = DEPLOY / "kubernetes" / "gesso.yaml"
    told = subprocess.run([BIN / "kubernetes-validate", "--strict", path], capture_output=True, text=True, check=False)

    assert told.returncode == 0, told.stdout + told.stderr
    assert (told.stdout + told.stderr).count(" passed ") == len(documents(path))


def test_workers_are_scaled_by_a_metric_that_is_told() -> None:
    scaled, monitored = documents(DEPLOY / "kubernetes" / "scaling.yaml")
    names = set(re.findall(r"\bgesso_[a-z_]+\b", str(scaled)))
    told = (ROOT / "src" / "gesso" / "api" / "metrics.py").read_text()

    assert (scaled["kind"], monitored["kind"]) == ("ScaledObject", "ServiceMonitor")
    assert names == {"gesso_queue_waiting", "gesso_queue_running"}
    assert all(f'"{name}"' in told for name in names)


def composed(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `podman-compose config` says; it wants to see a podman, and asks it only for its version."""
    stub = tmp_path / "podman"
    stub.write_text("#!/bin/sh\necho podman version 5.0.0\n")
    stub.chmod(0o755)
    return subprocess.run(
        [BIN / "podman-compose", "-f", DEPLOY / "compose.yaml", "config"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **environment},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_compose_file_is_rendered_with_its_secrets_and_refuses_to_be_without(tmp_path: Path) -> None:
    whole, bare = composed(tmp_path, **SECRETS), composed(tmp_path)
    services = yaml.safe_load(whole.stdout)["services"]

    assert set(services) == {"api", "worker", "upgrade", "database", "objects", "bucket"}
    assert services["worker"]["environment"]["GESSO_DATABASE"] == "postgresql://gesso:a@database:5432/gesso"
    assert bare.returncode != 0
    assert "see deploy/example.env" in bare.stderr


def test_the_example_holds_every_secret_that_the_compose_file_asks_for() -> None:
    asked = set(re.findall(r"\$\{([A-Z0-9_]+):\?", (DEPLOY / "compose.yaml").read_text()))
    held = {line.partition("=")[0] for line in (DEPLOY / "example.env").read_text().splitlines() if "=" in line}

    assert asked <= held


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_would_start_the_units() -> None:
    units = sorted((DEPLOY / "systemd").glob("*.service"))
    told = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False).stderr
    ours = [line for line in told.splitlines() if "gesso" in line]

    # Only that nothing is installed there yet
    assert ours
    assert all("Command /opt/gesso/bin/gesso is not executable" in line for line in ours)
