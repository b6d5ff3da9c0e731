"""The GPU benchmark says plainly that there is no GPU; its code is tried on the CPU."""

import subprocess
import sys
from pathlib import Path

import pytest
from diffusers_rig import installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "gpu_edit.py"


def bench(*words: str) -> str:
    return subprocess.run([sys.executable, str(BENCHMARK), *words], capture_output=True, text=True, check=True).stdout


def test_without_a_gpu_nothing_is_measured_and_nothing_claimed() -> None:
    installed()
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert bench() == (
        "Nothing was measured: there is no GPU that torch can use. (--tiny tries the code on the CPU.)\n"
    )


def test_on_the_cpu_the_code_runs_and_says_that_its_figures_say_nothing() -> None:
    installed()
    told = bench("--tiny", "--rounds", "1", "klein-4b", "klein-base-4b")

    assert "TINY ARCHITECTURES: these figures say nothing" in told
    rows = [line.split("|")[1].strip() for line in told.splitlines() if line.startswith("| ") and "steps" not in line]
    assert rows == ["---", "bare diffusers loop", "engine, exact", "engine, balanced", "engine, fast"] * 2
