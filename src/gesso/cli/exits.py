"""How a failure ends the process: one table from error to exit code, and what is said about it on stderr."""

import json
from typing import NoReturn

import click

from gesso.cli.flags import Flags, plain
from gesso.client import errors as ours
from gesso.client.urls import is_loopback
from gesso.core import errors
from gesso.core.errors import GessoError

FAILED, USAGE, INPUT, NO_FILE, UNAVAILABLE, TRY_AGAIN, SIGN_IN, CONFIG = 1, 64, 65, 66, 69, 75, 77, 78

# The nearest class wins. Every other GessoError is the caller's fault (65) or the server's (69), by its HTTP status.
EXIT: dict[type[BaseException], int] = {
    OSError: NO_FILE,
    click.UsageError: USAGE,
    errors.BadToken: SIGN_IN,
    errors.Forbidden: SIGN_IN,
    errors.TooMany: TRY_AGAIN,
    errors.RunTimeUsedUp: TRY_AGAIN,
    errors.RequestTimeout: TRY_AGAIN,
    ours.ClientTimeout: TRY_AGAIN,
    errors.ConfigError: CONFIG,
    errors.DefinitionError: CONFIG,
}
NEXT_STEP: dict[type[BaseException], str] = {
    errors.BadToken: "give a token with --token, with GESSO_TOKEN, or with: gesso login",
    errors.UnknownModel: "see what there is: gesso models list",
    errors.InvalidInput: "see the model's fields: gesso models get MODEL_ID",
    ours.BadAnswer: "is this the right server? see: gesso whoami",
}


def exit_code(error: BaseException) -> int:
    """The exit code for *error*."""
    known = next((EXIT[kind] for kind in type(error).__mro__ if kind in EXIT), None)
    return known or (INPUT if isinstance(error, GessoError) and error.status < 500 else UNAVAILABLE)


def leave(error: GessoError | OSError, flags: Flags) -> NoReturn:
    """Say on stderr what is wrong and what to do next, and end the process."""
    complain(_message(error), error, flags)
    raise SystemExit(exit_code(error))


def complain(message: str, error: BaseException, flags: Flags) -> None:
    """Write *message*, the problems that *error* names and the next step to stderr."""
    problems = [(".".join(map(str, each.loc)).removeprefix("body."), str(each.facts.get("msg", each.type)))
                for each in getattr(error, "problems", ())]  # fmt: skip
    notes, step = getattr(error, "__notes__", []), _next_step(error)
    if flags.is_json:
        told = {"error": type(error).__name__, "error_message": message, "notes": notes, "next_step": step,
                "detail": [{"field": field, "msg": text} for field, text in problems]}  # fmt: skip
        click.echo(json.dumps(told, ensure_ascii=False), err=True)
        return
    named = [f"  {field}: {text}" if text not in message else f"  at {field}" for field, text in problems]
    lines = [message, *named, *notes, *([step] if step else [])]
    click.echo(click.style("error: ", fg="red") + plain("\n".join(lines)), err=True)


def _message(error: GessoError | OSError) -> str:
    if isinstance(error, OSError):
        return f"cannot open {error.filename}: {error.strerror}" if error.filename else str(error)
    if isinstance(error, ours.Unreachable):
        return f"no server at {error.facts['url']} ({error.facts['reason']})"
    return str(error)


def _next_step(error: BaseException) -> str | None:
    if isinstance(error, ours.ClientTimeout):
        return f"ask later with: gesso result {error.request_id} --download"
    if isinstance(error, ours.Unreachable):
        here = is_loopback(error.facts["url"])
        named = "name another one with --base-url or GESSO_BASE_URL"
        return f"start one with: gesso up; or {named}" if here else named
    return next((NEXT_STEP[kind] for kind in type(error).__mro__ if kind in NEXT_STEP), None)
