"""The engine on tiny pipelines of FLUX.2 klein: the real path from a folder to pixels, on the CPU."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from diffusers_rig import Engines, Folders, asked
from PIL import Image

from gesso.core.errors import ConfigError, EngineFailed, Stopped
from gesso.core.inputs import Inputs, Size
from gesso.engines.diffusers import pipeline
from gesso.engines.diffusers.calls import CALLS
from gesso.engines.diffusers.engine import DiffusersEngine
from gesso.engines.diffusers.previews import DECODERS, Previews
from gesso.engines.host import Host
from gesso.testing import EngineSuite, Recorder

slow = pytest.mark.slow
LONG = 16  # steps: enough for the step cache to have something to leave out


def pixels(engine: DiffusersEngine, inputs: Inputs | None = None) -> bytes:
    return engine.run(inputs or asked(), Recorder()).images[0].tobytes()


def distance(one: bytes, other: bytes) -> float:
    """The mean difference of two pictures, in 256ths."""
    left, right = (np.frombuffer(each, np.uint8).astype(int) for each in (one, other))
    return float(np.abs(left - right).mean())


@slow
class TestKleinByTheKit(EngineSuite):
    """A distilled model as a server has it: without extra steps, in its host's process too."""

    engine: ClassVar[str] = "diffusers"
    sizes: ClassVar[list[Size]] = [Size(64, 64), Size(56, 72), Size(96, 40)]

    @pytest.fixture(scope="class")
    @classmethod
    def engine_options(cls, tiny: Folders) -> Mapping[str, Any]:
        model = str(tiny("klein-distilled"))
        return {"model": model, "precision": "fp32", "device": "cpu", "preview_every": 2, "warm_up": ["64x64"]}


def test_the_same_inputs_give_the_same_pixels_and_others_give_others(engines: Engines) -> None:
    engine = engines()
    first = pixels(engine)

    assert first == pixels(engine)
    for change in ({"seed": 8}, {"prompt": "make it green"}, {"images": 1}, {"images": 3}, {"size": Size(64, 80)}):
        assert first != pixels(engine, asked(**change)), change


@slow
def test_weights_that_are_loaded_anew_give_the_same_pixels(engines: Engines, tiny: Folders) -> None:
    fresh = DiffusersEngine(model=str(tiny("klein-base")), precision="fp32", device="cpu")
    fresh.load()

    assert pixels(fresh) == pixels(engines())


@slow
def test_the_order_of_references_matters(engines: Engines) -> None:
    turned = asked(images=0)
    there = asked().images

    assert pixels(engines()) != pixels(engines(), Inputs(**{**_fields(turned), "images": there[::-1]}))


@slow
def test_a_negative_prompt_goes_in_by_its_embeddings(engines: Engines) -> None:
    engine = engines()
    made = engine.run(asked(negative_prompt="blue, noise"), Recorder())

    assert engine.abilities.negative_prompt == made.notes["negative_prompt"] == "embeddings"
    assert made.images[0].tobytes() != pixels(engine)
    assert pixels(engine, asked(negative_prompt="")) != pixels(engine)


def test_a_distilled_model_says_that_it_ignores_the_negative_prompt(engines: Engines) -> None:
    engine = engines("klein-distilled")
    made = engine.run(asked(), Recorder())

    assert (made.notes["negative_prompt"], made.notes["warnings"]) == ("ignored", ["negative_prompt_ignored"])
    assert made.images[0].tobytes() == pixels(engine, asked(negative_prompt="something else"))
    assert engine.run(asked(negative_prompt=" "), Recorder()).notes["warnings"] == []


@slow
def test_a_size_off_the_grid_is_cropped_out_of_the_middle_of_the_next_one_up(engines: Engines) -> None:
    whole = engines().run(asked(size=Size(80, 64)), Recorder()).images[0]
    part = engines().run(asked(size=Size(72, 60)), Recorder()).images[0]

    assert part.tobytes() == whole.crop((4, 2, 76, 62)).tobytes()


def test_each_step_is_told_once_and_no_other(engines: Engines) -> None:
    told = Recorder()
    engines().run(asked(steps=4), told)

    assert told.steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4), (4, 4)]


@pytest.mark.parametrize("report", [1, 2, 3, 5])
def test_it_stops_at_once_and_the_next_picture_is_as_before(engines: Engines, report: int) -> None:
    engine, told = engines(), Recorder(stop_at=report)
    before = pixels(engine)
    with pytest.raises(Stopped):
        engine.run(asked(steps=20), told)

    assert len(told.steps) == report
    assert pixels(engine) == before


@slow
def test_previews_come_when_due_and_near_the_end_look_like_the_picture(engines: Engines) -> None:
    engine, told = engines(preview_every=2), Recorder()
    made = engine.run(asked(steps=8), told).images[0]
    shots = [shot.resize(made.size).tobytes() for shot in told.previews]

    assert engine.abilities.preview
    assert len(shots) == 3  # after steps 2, 4 and 6; the last is the picture itself
    assert distance(shots[-1], made.tobytes()) < distance(shots[0], made.tobytes())
    assert made.tobytes() == pixels(engines(), asked(steps=8))


@slow
def test_a_preview_has_the_noise_taken_out_that_is_still_in_the_latents(engines: Engines) -> None:
    torch = pytest.importorskip("torch")
    pipe, size = engines()._pipe, Size(64, 64)
    pipe.scheduler.set_timesteps(sigmas=[1.0, 0.8, 0.6, 0.4], mu=1.0)
    torch.manual_seed(3)
    clean, noise = torch.randn(2, 1, 16, 16).unbind(0)
    previews = Previews(pipe, size, 2)
    steps = [(1 - sigma) * clean + sigma * noise for sigma in pipe.scheduler.sigmas]

    with torch.no_grad():
        assert previews.after(1, steps[1]) is None
        shown = previews.after(2, steps[2])
        wanted, noisy = (DECODERS["Flux2KleinPipeline"](pipe, each, size) for each in (clean, steps[2]))
    assert shown is not None
    assert distance(shown.tobytes(), wanted.tobytes()) < 0.1 < distance(noisy.tobytes(), wanted.tobytes())


@slow
def test_a_large_picture_is_previewed_small(engines: Engines) -> None:
    told = Recorder()
    engines(preview_every=2).run(asked(size=Size(640, 320), images=1), told)

    assert [shot.size for shot in told.previews] == [(256, 128)]


@slow
def test_a_reference_that_was_seen_is_not_encoded_again(engines: Engines, tiny: Folders) -> None:
    engine = DiffusersEngine(model=str(tiny("klein-base")), precision="fp32", device="cpu")
    engine.load()
    first, memo = pixels(engine), engine._pipe._encode_vae_image
    assert (memo.hits, memo.misses) == (0, 2)

    assert pixels(engine) == first
    assert (memo.hits, memo.misses) == (2, 2)
    assert pixels(engine, asked(images=3)) == pixels(engines(), asked(images=3))
    assert (memo.hits, memo.misses) == (4, 3)


@slow
@pytest.mark.parametrize("place", ["encoder_offload", "group_offload"])
def test_where_the_weights_lie_does_not_change_the_picture(engines: Engines, place: str) -> None:
    engine = engines(memory=place)
    made = engine.run(asked(), Recorder())

    assert made.notes["memory"] == place
    assert made.images[0].tobytes() == pixels(engines())


@slow
@pytest.mark.parametrize("place", ["encoder_offload", "group_offload"])
def test_offloaded_weights_survive_a_stop(engines: Engines, place: str) -> None:
    with pytest.raises(Stopped):
        engines(memory=place).run(asked(), Recorder(stop_at=3))

    assert pixels(engines(memory=place)) == pixels(engines())


@slow
def test_fp8_keeps_the_transformer_in_fewer_bytes_and_makes_nearly_the_same(engines: Engines) -> None:
    packed, plain = engines(precision="fp8"), engines(precision="bf16")
    sizes = [sum(each.nbytes for each in engine._pipe.transformer.parameters()) for engine in (packed, plain)]

    assert sizes[0] < 0.6 * sizes[1]
    assert 0 < distance(pixels(packed), pixels(plain)) < 8


@pytest.fixture
def loose_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights change much from step to step: let the step cache take more than it does for real ones."""
    monkeypatch.setattr(pipeline, "CACHE_THRESHOLD", 1.2)


@slow
def test_balanced_leaves_steps_out_and_says_so(engines: Engines, loose_cache: None) -> None:
    quick, exact = engines(speed="balanced"), engines()
    made = quick.run(asked(steps=LONG), Recorder())

    assert (made.notes["speed"], made.notes["speed_by"]) == ("balanced", ["first_block_cache"])
    assert quick.abilities.seed == "best_effort"
    assert 0 < distance(made.images[0].tobytes(), pixels(exact, asked(steps=LONG))) < 16


@slow
def test_the_step_cache_forgets_a_run_that_was_stopped(engines: Engines, loose_cache: None) -> None:
    engine = engines(speed="balanced")
    before = pixels(engine, asked(steps=LONG))
    with pytest.raises(Stopped):
        engine.run(asked(steps=LONG, prompt="something else", seed=99), Recorder(stop_at=9))

    assert pixels(engine, asked(steps=LONG)) == before


@slow
def test_fast_needs_something_to_be_fast_with(tiny: Folders) -> None:
    with pytest.raises(ConfigError, match="needs a few-step LoRA as few_steps, or a model that was distilled"):
        DiffusersEngine(model=str(tiny("klein-base")), precision="fp32", device="cpu", speed="fast").load()


@slow
def test_a_distilled_model_is_fast_already(engines: Engines) -> None:
    assert engines("klein-distilled", speed="fast")._work(Inputs()).steps == 4


@slow
def test_fast_takes_steps_and_guidance_from_its_lora_and_says_what_is_lost(engines: Engines, lora: Path) -> None:
    engine = engines(speed="fast", few_steps={"path": str(lora), "steps": 2})
    made = engine.run(asked(extra={}), Recorder())

    assert (made.notes["steps"], made.notes["guidance"]) == (2, 1.0)
    assert made.notes["loras"] == [lora.name]
    assert made.notes["warnings"] == ["negative_prompt_ignored"]
    assert engine.abilities.negative_prompt == "ignored"


@pytest.fixture(scope="module")
def lora(tiny: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA for the tiny transformer that changes something."""
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    from diffusers import Flux2KleinPipeline
    from peft.utils import get_peft_model_state_dict

    pipe = Flux2KleinPipeline.from_pretrained(tiny("klein-base"), dtype=torch.float32)
    torch.manual_seed(5)
    pipe.transformer.add_adapter(peft.LoraConfig(r=4, target_modules=["to_q", "to_k"], init_lora_weights=False))
    folder = tmp_path_factory.mktemp("lora")
    Flux2KleinPipeline.save_lora_weights(folder, transformer_lora_layers=get_peft_model_state_dict(pipe.transformer))
    return folder / "pytorch_lora_weights.safetensors"


@slow
def test_a_lora_changes_the_picture_by_its_scale(engines: Engines, lora: Path) -> None:
    plain = pixels(engines())
    weak, strong = (engines(loras=({"path": str(lora), "scale": scale},)) for scale in (0.1, 1.0))

    assert 0 < distance(pixels(weak), plain) < distance(pixels(strong), plain)
    assert pixels(engines(loras=({"path": str(lora), "scale": 0.0},))) == plain
    assert strong.run(asked(), Recorder()).notes["loras"] == [lora.name]


@slow
def test_a_lora_that_fits_nothing_is_refused_by_its_name(tiny: Folders, tmp_path: Path) -> None:
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    safetensors.save_file({"other.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")

    path = str(tmp_path / "other.safetensors")
    engine = DiffusersEngine(model=str(tiny("klein-base")), device="cpu", loras=[{"path": path}])
    with pytest.raises(ConfigError, match=r"LoRA other\.safetensors"):
        engine.load()


@slow
def test_a_request_that_does_not_fit_is_refused_before_it_runs_and_others_pass(engines: Engines) -> None:
    engine, told = engines(memory_limit_gb=2.0), Recorder(stop_at=1)  # should it run, then not for long
    with pytest.raises(EngineFailed, match=r"4096x4096 with 3 images needs about .* GB of memory .*are free; ask for"):
        engine.run(asked(images=3, size=Size(4096, 4096)), told)

    assert told.steps == []
    assert pixels(engine) == pixels(engines())


@slow
def test_weights_that_do_not_fit_are_refused_before_they_are_read(tiny: Folders) -> None:
    with pytest.raises(ConfigError, match=r"the weights need about .* GB of the device's memory"):
        DiffusersEngine(model=str(tiny("klein-base")), device="cpu", memory_limit_gb=0.001).load()


@slow
def test_what_the_request_says_wins_over_the_options(engines: Engines) -> None:
    engine = engines(steps=5, guidance=2.0)

    assert _steps_and_guidance(engine, {}) == (5, 2.0)
    assert _steps_and_guidance(engine, {"steps": 2, "guidance": 1.5}) == (2, 1.5)
    assert _steps_and_guidance(engines(), {}) == (CALLS["Flux2KleinPipeline"].steps, 4.0)


@slow
def test_the_licence_is_the_options_else_the_cards_else_unknown(
    tiny: Folders, engines: Engines, tmp_path: Path
) -> None:
    carded = tmp_path / "carded"
    carded.mkdir()
    for each in tiny("klein-base").iterdir():
        (carded / each.name).symlink_to(each)
    (carded / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    engine = DiffusersEngine(model=str(carded), precision="fp32", device="cpu")
    engine.load()

    assert engine.abilities.licence == "apache-2.0"
    assert engines().abilities.licence == "unknown"
    assert engines(licence="MIT").abilities.licence == "MIT"


@slow
def test_a_licence_that_is_not_permissive_is_warned_of(tiny: Folders, caplog: pytest.LogCaptureFixture) -> None:
    for licence, warnings in (("flux-non-commercial", 1), ("Apache-2.0", 0)):
        caplog.clear()
        engine = DiffusersEngine(model=str(tiny("klein-base")), precision="fp32", device="cpu", licence=licence)
        engine.load()
        told = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        assert len([each for each in told if licence in each]) == warnings


@slow
def test_a_hub_id_is_taken_from_the_hubs_cache_and_never_fetched(
    tiny: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # the other guard, which the engine sets up too
    commit = "0" * 40
    snapshots, refs = tmp_path / "models--acme--tiny" / "snapshots", tmp_path / "models--acme--tiny" / "refs"
    for each in (snapshots, refs):
        each.mkdir(parents=True)
    (snapshots / commit).symlink_to(tiny("klein-base"))
    (refs / "main").write_text(commit)
    engine = DiffusersEngine(model="acme/tiny", precision="fp32", device="cpu")
    engine.load()

    assert engine.abilities.weights == "acme/tiny"
    with pytest.raises(ConfigError, match="acme/other is not on this machine; fetch it with: hf download acme/other"):
        DiffusersEngine(model="acme/other", device="cpu").load()
    with pytest.raises(ConfigError, match="hf download acme/tiny --revision v2"):
        DiffusersEngine(model="acme/tiny", revision="v2", device="cpu").load()


@slow
def test_a_device_that_is_not_there_is_refused(tiny: Folders) -> None:
    with pytest.raises(ConfigError, match="device 'cuda:77' is not there"):
        DiffusersEngine(model=str(tiny("klein-base")), device="cuda:77").load()


@slow
def test_numbers_that_are_none_end_the_run_and_not_the_engine(tiny: Folders) -> None:
    torch = pytest.importorskip("torch")
    engine = DiffusersEngine(model=str(tiny("klein-base")), precision="fp32", device="cpu")
    engine.load()
    before, weight = pixels(engine), next(engine._pipe.transformer.parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    with pytest.raises(EngineFailed, match="computed no numbers"):
        engine.run(asked(), Recorder())
    with torch.no_grad():
        weight.copy_(kept)

    assert pixels(engine) == before


def test_alpha_is_laid_on_white() -> None:
    from gesso.engines.diffusers.engine import _finished

    clear = Image.new("RGBA", (8, 8), (200, 0, 0, 0))

    assert _finished(clear, Size(8, 8)).getpixel((4, 4)) == (255, 255, 255)


@slow
def test_its_hosts_process_says_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    async def start() -> None:
        host = Host("diffusers", {"model": str(tmp_path)})
        try:
            await host.start()
        finally:
            await host.close()

    with pytest.raises(ConfigError, match=r"holds no model_index\.json"):
        asyncio.run(start())


def test_an_option_that_there_is_not_is_named() -> None:
    from gesso.engines import registry

    with pytest.raises(ConfigError, match=r"does not take these options: .*colour"):
        registry.make("diffusers", {"model": "a/b", "colour": "red"})


def _steps_and_guidance(engine: DiffusersEngine, extra: dict[str, Any]) -> tuple[int, float]:
    todo = engine._work(asked(extra=extra))
    return todo.steps, todo.scale


def _fields(inputs: Inputs) -> dict[str, Any]:
    return {name: getattr(inputs, name) for name in inputs.__slots__}
