"""The command `gesso doctor`: what this machine has, what is wrong with it, and which model fits it."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gesso import doctor as doctors
from gesso.assembly import Parts, make_credentials
from gesso.catalog import read_catalog
from gesso.cli.flags import Flags, global_flags, pass_flags
from gesso.cli.server import data_dir, models_dir, with_parts
from gesso.config import Settings, read_settings
from gesso.doctor import Machine, Verdict, gb
from gesso.engines import registry
from gesso.store import opening

NO_FOLDER = "my-models"


@click.command(epilog="Example: gesso doctor --output json")
@data_dir
@models_dir
@global_flags()
@pass_flags
def doctor(flags: Flags, /, **settings: Any) -> None:
    """Look at this machine and say what is wrong with it.

    Tells versions, disk, data folder, engines, GPU and packages; and of each model that needs weights whether it fits
    here, and what to type to use it.
    """
    read = read_settings(**settings)
    machine = doctors.look()
    folder = str(read.models_dir or NO_FOLDER)
    verdicts = [doctors.judge(offer, machine, folder) for offer in doctors.offers()]
    server = _server(read)
    flags.payload(_told(server, machine, verdicts), _lines(server, machine, verdicts))


def _server(settings: Settings) -> dict[str, str]:
    folder = settings.data_dir
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return {
        "python": f"{sys.version.split()[0]}, sqlite {sqlite3.sqlite_version}, {os.cpu_count()} cores",
        "data": f"{folder} ({gb(shutil.disk_usage(there).free)} GB free)",
        "signing": _signing_words(settings),
        "database": with_parts(settings, _database_words),
        "engines": ", ".join(registry.names()),
        "models": ", ".join(read_catalog(settings.models_dir)),
    }


def _signing_words(settings: Settings) -> str:
    credentials = make_credentials(settings)
    return f"outputs, by {credentials.name}, until {credentials.ends_at:%Y-%m-%d}" if credentials else "off"


async def _database_words(parts: Parts) -> str:
    kept = await parts.tokens.list()
    place = opening.in_words(parts.settings.database, parts.settings.data_dir)
    return f"{place}, every commit synced; {sum(each.revoked_at is None for each in kept)} live tokens"


def _told(server: dict[str, str], machine: Machine, verdicts: list[Verdict]) -> dict[str, Any]:
    """The same for programs; sizes in bytes."""
    return {
        **server,
        "machine": {**asdict(machine), "weights_dir": str(machine.weights_dir), "packages": dict(machine.packages)},
        "problems": doctors.problems(machine),
        "models_with_weights": [
            {
                "model_id": each.offer.model_id,
                "weights": each.offer.weights,
                "licence": each.offer.licence,
                "bytes": each.offer.size,
                "is_here": each.is_here,
                "fits": each.way is not None,
                "precision": each.way[0] if each.way else None,
                "memory": each.way[1] if each.way else None,
                "wants": list(each.wants),
                "commands": list(each.commands),
            }
            for each in verdicts
        ],
    }


def _lines(server: dict[str, str], machine: Machine, verdicts: list[Verdict]) -> Iterator[str]:
    for name, words in server.items():
        yield f"{name:<9} {words}"
    yield f"{'memory':<9} {gb(machine.memory_free)} GB free"
    gpus = [f"{gpu.name}, {gb(gpu.free)} of {gb(gpu.total)} GB free" for gpu in machine.gpus]
    yield f"{'gpu':<9} {'; '.join(gpus) or 'none that nvidia-smi knows of'}"
    yield f"{'packages':<9} {', '.join(_packages(machine))}"
    yield f"{'weights':<9} {_short(machine.weights_dir)} ({gb(machine.disk_free)} GB free)"
    for problem in doctors.problems(machine):
        yield f"{'problem':<9} {problem}"
    yield "\nModels with weights of their own, none of them served unless you enable it:"
    for verdict in verdicts:
        yield from _verdict_lines(verdict)


def _verdict_lines(verdict: Verdict) -> Iterator[str]:
    offer = verdict.offer
    here = "on this machine" if verdict.is_here else f"{gb(offer.size)} GB to fetch"
    yield f"\n{offer.model_id}  ({offer.weights}, {offer.licence}, {here})"
    if verdict.way is None:
        yield from (f"  does not fit: {each}" for each in verdict.wants)
        return
    precision, place = verdict.way
    yield f"  fits, {precision}, {place}. To use it:"
    yield from (f"    {command}" for command in verdict.commands)


def _packages(machine: Machine) -> Iterator[str]:
    for name, version in machine.packages.items():
        yield f"{name} {version or '-'}"


def _short(path: Path) -> str:
    """*path* with ~ for the home folder."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
