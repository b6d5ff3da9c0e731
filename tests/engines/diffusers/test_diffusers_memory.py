"""Memory is reckoned before it is taken: where weights lie, and which requests are let in. No torch."""

import pytest

from gesso.core.errors import ConfigError, EngineFailed
from gesso.core.inputs import Size
from gesso.engines.diffusers.calls import CALLS
from gesso.engines.diffusers.memory import GB, Appetite, Footprint, admit, choose, footprint

QWEN = {"transformer": 20_430_401_088, "text_encoder": 8_292_166_656, "vae": 126_892_531, "processor": 0}
KLEIN = Appetite(CALLS["Flux2KleinPipeline"], hidden=3072, vae_width=128, element=2)
JOY = Appetite(CALLS["JoyImageEditPlusPipeline"], hidden=4096, vae_width=96, element=2)
SQUARE, RUN = Size(1024, 1024), 4 * GB


def test_qwen_in_bf16_is_what_its_repository_weighs() -> None:
    assert footprint(QWEN, "bf16").whole / GB == pytest.approx(57.7, abs=0.05)


def test_fp8_halves_the_transformer_and_fp32_doubles_all() -> None:
    plain, packed, full = (footprint(QWEN, each) for each in ("bf16", "fp8", "fp32"))

    assert packed == Footprint(plain.transformer // 2, plain.encoders, plain.rest)
    assert full.whole == 2 * plain.whole


@pytest.mark.parametrize(
    ("free_gb", "place"),
    [(80, "resident"), (63, "resident"), (62, "encoder_offload"), (48, "encoder_offload"), (40, "group_offload")],
)
def test_auto_takes_the_fastest_place_that_fits(free_gb: int, place: str) -> None:
    assert choose("auto", footprint(QWEN, "bf16"), RUN, free_gb * GB) == place


def test_a_place_that_was_asked_for_is_not_traded_for_another() -> None:
    with pytest.raises(ConfigError, match=r"need about 62\.8 GB .*memory = 'resident', and 40\.0 GB are free"):
        choose("resident", footprint(QWEN, "bf16"), RUN, 40 * GB)


def test_weights_that_fit_nowhere_are_refused_with_the_least_that_they_need() -> None:
    with pytest.raises(ConfigError, match=r"memory = 'group_offload'.*precision = 'fp8'"):
        choose("auto", footprint(QWEN, "bf16"), RUN, 8 * GB)


def test_a_run_takes_more_for_more_pixels_and_more_references() -> None:
    small = KLEIN.bytes(SQUARE, [10**6], guided=False)

    assert KLEIN.bytes(Size(1280, 1280), [10**6], guided=False) > small
    assert KLEIN.bytes(SQUARE, [10**6] * 3, guided=False) > small


def test_a_reference_counts_at_the_size_to_which_it_is_scaled() -> None:
    assert KLEIN.bytes(SQUARE, [5000 * 5000] * 3, guided=False) == KLEIN.bytes(SQUARE, [2**20] * 3, guided=False)
    assert KLEIN.bytes(SQUARE, [384 * 384] * 3, guided=False) < KLEIN.bytes(SQUARE, [2**20] * 3, guided=False)
    assert JOY.bytes(SQUARE, [384 * 384] * 3, guided=False) == JOY.bytes(SQUARE, [2**20] * 3, guided=False)


def test_guidance_in_one_batch_takes_twice_as_much() -> None:
    references = [2**20] * 9  # so many that the blocks take more than the VAE

    assert JOY.bytes(SQUARE, references, guided=True) == 2 * JOY.bytes(SQUARE, references, guided=False)
    assert KLEIN.bytes(SQUARE, references, guided=True) == KLEIN.bytes(SQUARE, references, guided=False)


def test_what_does_not_fit_is_refused_with_size_images_and_figures() -> None:
    with pytest.raises(EngineFailed) as refused:
        admit(6 * GB, 4 * GB, Size(1280, 960), 3)

    told = "1280x960 with 3 images needs about 6.0 GB of memory beside the weights, and 4.0 GB are free"
    assert told in str(refused.value)
    assert admit(4 * GB, 4 * GB, Size(1280, 960), 3) is None
