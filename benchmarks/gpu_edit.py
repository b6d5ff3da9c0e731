"""What Gesso's engine costs over a bare diffusers loop, and what each speed gains: `python benchmarks/gpu_edit.py`.

Full-size architectures with random weights, built on the GPU; the bare loop and the engine take turns on the same
pipeline in one run. Every run is shown new references, so that the memory for references gives nothing away.

First-Block Cache is the one thing that depends on the weights: with random ones hardly a step resembles the one before,
and it leaves nothing out. `balanced` is therefore measured at its worst; the column "blocks run" says how much of the
work was really done.
"""

import argparse
import importlib
import importlib.util
import sys
from typing import Any

NAMES = ("klein-4b", "klein-base-4b", "qwen-edit-2511")
ROUNDS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--references", type=int, default=1, choices=(1, 2, 3))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--tiny", action="store_true", help="tiny architectures on the CPU: tries the code, no more")
    told = parser.parse_args()
    if unknown := set(told.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    missing = [name for name in ("torch", "diffusers", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"Nothing was measured: {', '.join(missing)} are not installed (pip install 'gesso[diffusers]').")
        return 0
    if not told.tiny and not importlib.import_module("torch").cuda.is_available():
        print("Nothing was measured: there is no GPU that torch can use. (--tiny tries the code on the CPU.)")
        return 0
    runs: Any = importlib.import_module("gpu_runs")
    print(runs.words(tiny=told.tiny))
    for name in told.names or NAMES:
        print(f"\n## {name}\n\n{runs.measure(name, told)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
