"""The doctor: a machine in, a verdict and commands out; what it asks the machine is asked for real."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gesso import doctor
from gesso.catalog import offered, read_catalog, read_offers
from gesso.doctor import Gpu, Machine, Offer, judge, problems
from gesso.engines.diffusers.memory import GB
from gesso.engines.diffusers.weights import PERMISSIVE

QWEN, KLEIN = "qwen/qwen-image-edit-2511/image-to-image", "black-forest-labs/flux-2-klein-4b/image-to-image"
OFFERS = {offer.model_id: offer for offer in doctor.offers()}
ALL = dict.fromkeys(doctor.PACKAGES, "1.0")


def machine(*gpus_gb: int, memory_gb: int = 128, disk_gb: int = 500, without: Sequence[str] = ()) -> Machine:
    gpus = [Gpu("NVIDIA Some", size * GB, size * GB) for size in gpus_gb]
    packages = {name: None if name in without else version for name, version in ALL.items()}
    return Machine(gpus, memory_gb * GB, disk_gb * GB, Path("/nowhere"), packages)


@pytest.mark.parametrize(
    ("gpu_gb", "way"),
    [
        (80, ("bf16", "resident")),
        (48, ("fp8", "resident")),
        (32, ("fp8", "encoder_offload")),
        (16, ("bf16", "group_offload")),
        (8, None),
    ],
)
def test_the_best_way_that_fits_the_gpu_is_taken(gpu_gb: int, way: tuple[str, str] | None) -> None:
    assert judge(OFFERS[QWEN], machine(gpu_gb), "models").way == way


def test_the_gpu_with_the_most_free_memory_counts() -> None:
    assert judge(OFFERS[QWEN], machine(8, 80), "models").way == ("bf16", "resident")


def test_where_everything_is_there_two_commands_are_left() -> None:
    ready = machine(80)
    fetched = replace(ready, weights_dir=Path(__file__).parent)
    told = judge(OFFERS[KLEIN], ready, "models").commands

    assert told[-2:] == (
        [f"gesso models enable {KLEIN} --models-dir models --memory resident", "gesso up --models-dir models"]
    )
    assert judge(OFFERS[KLEIN], fetched, "models").commands == told  # nothing of the kind lies there


def test_what_is_missing_is_installed_and_fetched_first(tmp_path: Path) -> None:
    told = judge(OFFERS[KLEIN], machine(80, without=["torch", "peft"]), "models")

    assert told.commands[0] == "pip install 'gesso[diffusers]'"
    assert told.commands[1].startswith("hf download black-forest-labs/FLUX.2-klein-4B --include '*/*'")
    assert told.wants == ["packages are missing: torch"]


def test_weights_in_the_hubs_cache_are_not_fetched_again(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--black-forest-labs--FLUX.2-klein-4B" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").touch()
    told = judge(OFFERS[KLEIN], replace(machine(80, disk_gb=1), weights_dir=tmp_path), "models")

    assert told.is_here
    assert [each for each in told.commands if each.startswith("hf ")] == []


def test_torchvision_is_asked_for_only_where_it_is_needed() -> None:
    without = machine(80, without=["torchvision"])

    assert judge(OFFERS[QWEN], without, "models").wants == ["packages are missing: torchvision"]
    assert judge(OFFERS[KLEIN], without, "models").wants == []


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (machine(), "needs a GPU with "),
        (machine(4), "4.0 GB are free"),
        (machine(80, memory_gb=8), "needs 16.0 GB of the host's memory while loading; 8.0 GB are free"),
        (machine(80, disk_gb=3), "needs 16.0 GB of disk for its weights; 3.0 GB are free"),
    ],
)
def test_what_does_not_fit_is_told_with_figures_and_without_commands(seen: Machine, said: str) -> None:
    told = judge(OFFERS[KLEIN], seen, "models")

    assert (told.way, told.commands) == (None, ())
    assert said in " ".join(told.wants)


def test_a_torch_that_does_not_see_the_gpu_is_a_problem() -> None:
    seen = replace(machine(80), packages={**ALL, "torch": "2.13.0+cpu"})

    assert "built for the CPU" in problems(seen)[0]
    assert problems(machine(80)) == []
    assert not any("GPU" in each for each in problems(replace(seen, gpus=())))


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 'NVIDIA H200, NVL, 143771, 143000'; echo 'NVIDIA L4, 23034, 100'", ["NVIDIA H200, NVL", "NVIDIA L4"]),
        ("echo 'No devices were found'", []),
        ("echo 'Some GPU, [N/A], [N/A]'", []),
        ("echo 'failed to start' >&2; exit 9", []),
    ],
)
def test_the_drivers_own_command_is_asked_for_gpus(tmp_path: Path, script: str, found: list[str]) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    gpus = doctor.find_gpus(str(command))

    assert [gpu.name for gpu in gpus] == found
    assert all(gpu.total > gpu.free > 0 for gpu in gpus)


def test_without_the_drivers_command_there_is_no_gpu(tmp_path: Path) -> None:
    assert doctor.find_gpus(str(tmp_path / "nvidia-smi")) == ()


def test_this_machine_is_looked_at_for_real() -> None:
    seen = doctor.look()

    assert seen.memory_free > 0
    assert seen.disk_free > 0
    assert seen.packages.keys() == set(doctor.PACKAGES)


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME"])
def test_the_hubs_own_variables_say_where_weights_lie(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert doctor.weights_dir() == Path.home() / ".cache" / "huggingface" / "hub"

    monkeypatch.setenv(variable, os.sep + "weights")
    assert doctor.weights_dir() == Path("/weights") / ("hub" if variable == "HF_HOME" else "")


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['diffusers'] = sys.modules['transformers'] = None;"
        "from gesso import doctor; seen = doctor.look();"
        "print(len([doctor.judge(each, seen, 'models') for each in doctor.offers()]))"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "4\n"


def test_nothing_that_is_offered_is_served() -> None:
    assert read_offers().keys() & read_catalog().keys() == set()
    assert len(read_offers()) == len(OFFERS) == 4


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_every_offer_has_a_permissive_licence_and_says_the_same_twice(offer: Offer) -> None:
    options = read_offers()[offer.model_id].engine_options

    assert offer.licence.lower() in PERMISSIVE
    assert (options["model"], options["licence"]) == (offer.weights, offer.licence)


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_offer_asks_for_a_negative_prompt_only_where_it_is_heeded(offer: Offer) -> None:
    model = read_offers()[offer.model_id]

    assert ("negative_prompt" in model.schema.properties) == (offer.call.negative != "ignored")
    assert ("negative_prompt" in model.binding) == (offer.call.negative != "ignored")
    assert sorted(model.cards) == ["en", "ja", "ru"]


def test_no_offer_is_a_python_package() -> None:
    assert [path.name for path in offered().rglob("*.py")] == ["__init__.py"]
