"""How much of each fault is given: a little for each change, much for a release. See README.md."""

import os

CHANGE, RELEASE = 0, 1
# name -> how much for a change (the slow suite), and for a release
DOSES = {
    "SCHEDULES": (10_000, 1_000_000),
    "SEED": (0, 0),
    "KILLS": (40, 500),
    "CUTS": (50, 1_000),
    "STOPS": (60, 600),
    "FLIPS": (50, 1_000),
    "SYSCALLS": (40, 400),
    "CANCELS": (500, 20_000),
    "RACES": (100, 2_000),
    "HOSTS": (20, 1_000),
    "MIGRATIONS": (12, 200),
    "PG_CRASHES": (10, 200),
    "PG_KILLS": (20, 300),
}
PREFIX, KEPT = "GESSO_FAULTS", "FAULTS_DOSE"


def _told() -> dict[str, str]:
    """What the environment says. No server starts with a GESSO_ word that it does not know, so the words are given
    others, which the processes that pytest starts inherit.
    """
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        os.environ[KEPT + name.removeprefix(PREFIX)] = os.environ.pop(name)
    return {PREFIX + name.removeprefix(KEPT): value for name, value in os.environ.items() if name.startswith(KEPT)}


_TOLD = _told()
_COLUMN = RELEASE if _TOLD.get(PREFIX) == "release" else CHANGE


def dose(name: str) -> int:
    """How much of *name*: GESSO_FAULTS_<name>, else as GESSO_FAULTS=release says, else for a change."""
    return int(_TOLD.get(f"{PREFIX}_{name}", DOSES[name][_COLUMN]))
