"""The commands that look after the database: db upgrade, db status."""

from typing import Any

import click

from gesso.cli.server import data_dir
from gesso.config import Settings, read_settings
from gesso.store import opening


@click.group()
def db() -> None:
    """Look at the database, and bring its tables up to date."""


@db.command()
@data_dir
def upgrade(**flags: Any) -> None:
    """Bring the database's tables to this version, or make them; twice is safe.

    A SQLite file is upgraded by every start as well; a PostgreSQL database only by this, after all older processes
    have been stopped.

    Example: gesso db upgrade
    """
    settings = read_settings(**flags)
    before = opening.versions(settings.database, settings.data_dir).known
    opening.upgrade(settings.database, settings.data_dir)
    click.echo(f"{_where(settings)}: tables of version {before} -> {_versions(settings).known}")


@db.command()
@data_dir
def status(**flags: Any) -> None:
    """Tell which database it is, and of which version its tables are. Nothing is changed.

    Exits with 1 when they are to be upgraded.

    Example: gesso db status
    """
    settings = read_settings(**flags)
    known, newest = _versions(settings)
    if known == newest:
        click.echo(f"{_where(settings)}: tables of version {known}, up to date")
        return
    told = f"tables of version {known}" if known else "no tables yet"
    click.echo(f"{_where(settings)}: {told}; version {newest} is needed: gesso db upgrade")
    raise SystemExit(1)


def _where(settings: Settings) -> str:
    return opening.in_words(settings.database, settings.data_dir)


def _versions(settings: Settings) -> opening.Versions:
    return opening.versions(settings.database, settings.data_dir)
