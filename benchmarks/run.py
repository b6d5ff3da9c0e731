"""The benchmarks: `python benchmarks/run.py [NAME…]` measures them all, or those, and prints Markdown."""

import argparse
from collections.abc import Callable

import engine_gap
import idle
import machine
import polls
import starts
import submits
import trips

BENCHMARKS: dict[str, tuple[str, Callable[[], str]]] = {
    "polls": ("Status polls", polls.measure),
    "submits": ("Durable submits", submits.measure),
    "trips": ("A no-op request, end to end", trips.measure),
    "idle": ("Engine idle between two waiting requests", idle.measure),
    "gap": ("Engine idle with large references", engine_gap.measure),
    "starts": ("Start and memory", starts.measure),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names: list[str] = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - BENCHMARKS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    print(machine.words())
    for name in names:
        title, measure = BENCHMARKS[name]
        print(f"\n## {title} (`{name}`)\n\n{measure()}", flush=True)


if __name__ == "__main__":
    main()
