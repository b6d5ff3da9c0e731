"""Compiled blocks make the same pictures. On a CPU the engine does not compile; here it is made to."""

import shutil

import pytest
from diffusers_rig import Engines, Folders, asked

from gesso.engines.diffusers import pipeline
from gesso.engines.diffusers.calls import CALLS
from gesso.engines.diffusers.engine import DiffusersEngine
from gesso.testing import Recorder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch compiles with a C++ compiler")
def test_compiled_blocks_make_the_same_picture_with_the_cache_among_them(
    engines: Engines, tiny: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = pipeline.CACHE_LEAST_STEPS
    monkeypatch.setattr(pipeline, "CACHE_THRESHOLD", -1.0)  # the cache is there, and never used: equal pixels
    engine = DiffusersEngine(model=str(tiny("klein-base")), precision="fp32", device="cpu")
    engine.load()
    done = pipeline.quicken(engine._pipe, CALLS["Flux2KleinPipeline"], "balanced", steps, compiles=True)
    made = engine.run(asked(steps=steps), Recorder()).images[0]
    plain = engines().run(asked(steps=steps), Recorder()).images[0]

    assert done == ("first_block_cache", "compiled_blocks")
    worst = max(abs(one - other) for one, other in zip(made.tobytes(), plain.tobytes(), strict=True))
    assert worst <= 2
