"""From an engine's name to its class. Built-in engines come in by the same entry points as everybody else's."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from gesso.core.errors import ConfigError
from gesso.core.ports import Engine

GROUP = "gesso.engines"


def names() -> tuple[str, ...]:
    """The engines that are installed, sorted."""
    return tuple(sorted(each.name for each in entry_points(group=GROUP)))


def make(name: str, options: Mapping[str, Any]) -> Engine:
    """The engine *name*, built with *options*, not loaded.

    Raises:
        ConfigError: when no such engine is installed, or it does not take these options.
    """
    for entry in entry_points(group=GROUP, name=name):
        try:
            engine: Engine = entry.load()(**options)
        except TypeError as fault:
            raise ConfigError(reason=f"engine {name!r} does not take these options: {fault}") from fault
        return engine
    raise ConfigError(reason=f"no engine is called {name!r}; there are: {', '.join(names())}")
