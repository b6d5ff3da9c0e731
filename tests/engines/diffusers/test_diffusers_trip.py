"""The whole trip with real processes: a client of Wan's model gets a picture made by weights of one's own."""

import base64
import io
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from diffusers_rig import Folders, picture
from PIL import Image

sys.path.append(str(Path(__file__).parents[2] / "trip"))
from server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
WAN, KLEIN = "wan-ai/wan-2-6/image-to-image", "black-forest-labs/flux-2-klein-4b/image-to-image"


def data_uri(number: int) -> str:
    file = io.BytesIO()
    picture(number, 400, 400).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def test_wans_model_served_by_weights_of_ones_own(
    tiny: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gesso.cli.main import main

    for name in [name for name in os.environ if name.startswith("GESSO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    words = ["models", "enable", KLEIN, "--as", WAN, "--models-dir", "mine", "--precision", "fp32"]
    enabled = CliRunner().invoke(main, [*words, "--weights", str(tiny("klein-distilled"))])
    assert enabled.exit_code == 0, enabled.output
    monkeypatch.setenv("GESSO_MODELS_DIR", "mine")
    server = Server(tmp_path / "data")
    try:
        body = {"prompt": "image 1 before image 2", "image_urls": [data_uri(1), data_uri(2)], "seed": 3}
        told = server.ask(f"/v1/models/{WAN}", {**body, "image_size": "1344*576 (21:9)"})
        result = server.ended(told["request_id"], within_s=300)
        assert result["status"] == "succeeded", (result, server.log())
        with Image.open(io.BytesIO(server.fetch(result["output"]["image"]))) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (1344, 576))
        about = result["metadata"]
    finally:
        server.kill_all()

    assert (about["engine"], about["weights"], about["seed"], about["steps"]) == ("diffusers", "klein-distilled", 3, 4)
    assert "negative_prompt_ignored" in about["warnings"]
    assert str(tmp_path) not in str(about)
