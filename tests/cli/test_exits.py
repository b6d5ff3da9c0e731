"""Every error has an exit code, and each code is one of those that are documented."""

import re

import click
import pytest

from gesso.cli.exits import EXIT, exit_code
from gesso.cli.main import EPILOG
from gesso.client import errors as ours
from gesso.core import errors
from gesso.core.errors import GessoError

DOCUMENTED = {int(code) for code in re.findall(r"\b(\d{1,2})\b", EPILOG.partition("Exit codes")[2])}


def every(kind: type[GessoError]) -> list[type[GessoError]]:
    return [kind, *(each for below in kind.__subclasses__() for each in every(below))]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (click.UsageError, 64), (FileNotFoundError, 66), (IsADirectoryError, 66), (PermissionError, 66),
        (errors.InvalidInput, 65), (errors.UnknownModel, 65), (errors.ResourceNotFound, 65), (errors.BadRequest, 65),
        (errors.PayloadTooLarge, 65), (errors.IdempotencyConflict, 65), (ours.Rejected, 65),
        (errors.Unavailable, 69), (errors.InternalError, 69), (ours.Unreachable, 69), (ours.BadAnswer, 69),
        (ours.DownloadFailed, 69), (errors.TooMany, 75), (errors.TooManyOpen, 75), (errors.TooManyStreams, 75),
        (errors.StorageFull, 75), (errors.RunTimeUsedUp, 75), (errors.RequestTimeout, 75), (ours.ClientTimeout, 75),
        (errors.BadToken, 77), (errors.Forbidden, 77), (errors.ConfigError, 78), (errors.DefinitionError, 78),
    ],
)  # fmt: skip
def test_an_error_ends_the_process_with_its_code(kind: type[BaseException], code: int) -> None:
    assert exit_code(kind.__new__(kind)) == code
    assert code in DOCUMENTED


@pytest.mark.parametrize("kind", every(GessoError), ids=lambda kind: kind.__name__)
def test_every_error_of_the_house_has_a_documented_code(kind: type[GessoError]) -> None:
    assert exit_code(kind.__new__(kind)) in DOCUMENTED


def test_what_the_table_says_is_documented() -> None:
    assert set(EXIT.values()) | {0, 1, 65, 69} == DOCUMENTED
