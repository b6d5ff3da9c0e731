"""Weights are looked at before anything is loaded: what is wrong is said, with what would be right. No torch."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gesso.core.errors import ConfigError
from gesso.engines.diffusers.engine import DiffusersEngine
from gesso.engines.diffusers.options import Lora, Options
from gesso.engines.diffusers.weights import find, lora_file, read

Folder = Callable[..., Path]
PARTS = {
    "transformer": ["diffusers", "QwenImageTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKLQwenImage"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"],
}


def tensors(*shapes: tuple[int, ...], cut: int = 0) -> bytes:
    """A safetensors file of float16 zeros, with so many bytes cut off its end."""
    header, at = {}, 0
    for number, shape in enumerate(shapes):
        size = 2 * shape[0] * shape[1]
        header[f"layer.{number}"] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    whole = len(text).to_bytes(8, "little") + text + bytes(at)
    return whole[: len(whole) - cut]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Writes the folder of a pipeline; what is given replaces a file, or with None takes it away."""

    def write(changes: dict[str, bytes | str | None] | None = None, **index: Any) -> Path:
        root = tmp_path / "some-weights"
        told = {"_class_name": "QwenImageEditPlusPipeline", "_diffusers_version": "0.42.1", **PARTS, **index}
        files: dict[str, bytes | str | None] = {
            "model_index.json": json.dumps(told),
            "transformer/config.json": json.dumps({"num_attention_heads": 24, "attention_head_dim": 128}),
            "transformer/model.safetensors": tensors((8, 4), (2, 2)),
            "vae/config.json": json.dumps({"base_dim": 96}),
            "vae/model.safetensors": tensors((3, 3)),
            "tokenizer/vocab.json": "{}",
            "README.md": "---\nlanguage: en\nlicense: apache-2.0\n---\n# Some weights\n",
            **(changes or {}),
        }
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return write


def test_a_good_folder_tells_its_class_size_and_licence(folder: Folder) -> None:
    found = read(folder(), "some-weights")

    assert found.parts == {"transformer": 36, "vae": 9, "tokenizer": 0}
    assert (found.class_name, found.hidden, found.vae_width) == ("QwenImageEditPlusPipeline", 3072, 96)
    assert found.licence == "apache-2.0"


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: other\nlicense_name: qwen-research\n---\n", "qwen-research"),
        ("# No head\nlicense: mit\n", ""),
        ("---\nlicense: 'mit'\n---\n", "mit"),
        (None, ""),
    ],
)
def test_the_licence_is_read_off_the_cards_head_only(folder: Folder, card: str | None, licence: str) -> None:
    assert read(folder({"README.md": card}), "some-weights").licence == licence


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_index.json": None}, "some-weights holds no model_index.json: a folder in the layout of diffusers"),
        ({"model_index.json": "[]"}, "holds no model_index.json"),
        (
            {"transformer/model.safetensors": None, "transformer/pytorch_model.bin": b"pickle"},
            "transformer/ holds pytorch_model.bin, which may run code; only safetensors are loaded",
        ),
        ({"transformer/model.safetensors": tensors((8, 4), cut=1)}, "transformer/model.safetensors is damaged or not"),
        ({"transformer/model.safetensors": b"version https://git-lfs"}, "model.safetensors is damaged or not complete"),
        ({"tokenizer/vocab.json": None}, "tokenizer/ is missing or empty: the download is not complete"),
        (
            {"transformer/model.safetensors.index.json": '{"weight_map": {"a": "model-00002-of-00002.safetensors"}}'},
            "transformer/ lacks model-00002-of-00002.safetensors: the download is not complete",
        ),
    ],
)
def test_a_bad_folder_is_refused_with_what_is_wrong(folder: Folder, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(folder(changes), "some-weights")

    assert said in str(refused.value)


def test_a_class_that_is_not_in_the_table_is_refused_with_those_that_are(folder: Folder) -> None:
    with pytest.raises(ConfigError, match=r"is a StableDiffusionPipeline, .*it runs QwenImageEditPlusPipeline"):
        read(folder(_class_name="StableDiffusionPipeline"), "some-weights")


@pytest.mark.parametrize("place", [["my_block", "Mine"], ["transformer", "QwenPlus"]])
def test_code_that_came_with_the_weights_is_not_run(folder: Folder, place: list[str]) -> None:
    with pytest.raises(ConfigError, match="transformer would run code that came with the weights"):
        read(folder(transformer=place), "some-weights")


def test_a_part_that_is_left_out_is_not_looked_for(folder: Folder) -> None:
    assert "feature_extractor" not in read(folder(feature_extractor=[None, None]), "some-weights").parts


def test_a_folder_that_is_not_there_is_told_by_its_name_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        find(str(tmp_path / "deep" / "nowhere"), None, local_files_only=True)

    assert "'nowhere'" in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "model is missing"),
        ({"model": "a/b", "speed": "warp"}, "speed must be one of exact, balanced, fast"),
        ({"model": "a/b", "memory": "disk"}, "memory must be one of auto, resident"),
        ({"model": "a/b", "precision": "int4"}, "precision must be one of bf16, fp8, fp32"),
        ({"model": "a/b", "steps": 0}, "steps must be a whole number from 1 to 200"),
        ({"model": "a/b", "steps": True}, "steps must be a whole number"),
        ({"model": "a/b", "guidance": -1}, "guidance must be a number of at least 0"),
        ({"model": "a/b", "memory_limit_gb": 0}, "memory_limit_gb must be a number above 0"),
        ({"model": "a/b", "loras": [{"scale": 1.0}]}, "a LoRA is a table with at least a path"),
        ({"model": "a/b", "loras": [{"path": "x", "strength": 1}]}, "a LoRA has no strength"),
        ({"model": "a/b", "few_steps": {"path": "x", "steps": "4"}}, "a LoRA's steps must be a whole number"),
        ({"model": "a/b", "warm_up": ["big"]}, "'big' is no size"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_looked_for(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        DiffusersEngine(**options).load()


def test_a_few_step_lora_is_merged_at_speed_fast_only() -> None:
    told = {"model": "a/b", "loras": [{"path": "style"}], "few_steps": {"path": "lightning"}}

    assert [each.path for each in Options(**told).merged] == ["style"]
    assert [each.path for each in Options(**told, speed="fast").merged] == ["style", "lightning"]


def test_a_lora_is_found_as_a_file_or_as_the_only_one_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "style.safetensors").touch()

    for path in (tmp_path, tmp_path / "style.safetensors"):
        assert lora_file(Lora(str(path)), local_files_only=True) == tmp_path / "style.safetensors"


@pytest.mark.parametrize(
    ("names", "path", "said"),
    [
        (("a.safetensors", "b.safetensors"), ".", "2 files fit; name one as weight_name"),
        ((), "gone.safetensors", "there is no LoRA 'gone.safetensors'"),
        (("style.pt",), "style.pt", "only safetensors are loaded"),
    ],
)
def test_a_lora_that_is_unclear_missing_or_a_pickle_is_refused(
    tmp_path: Path, names: tuple[str, ...], path: str, said: str
) -> None:
    for name in names:
        (tmp_path / name).touch()

    with pytest.raises(ConfigError, match=said):
        lora_file(Lora(str(tmp_path / path)), local_files_only=True)


def test_the_server_and_the_engines_class_need_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['diffusers'] = None;"
        "from gesso.engines.diffusers.engine import DiffusersEngine;"
        "print(DiffusersEngine(model='a/b').abilities.name)"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "diffusers\n"


def test_without_the_packages_the_command_that_installs_them_is_told(folder: Folder) -> None:
    code = (
        "import sys; from importlib import util; seen = util.find_spec;"
        "util.find_spec = lambda name, *more: None if name in ('torch', 'torchvision') else seen(name, *more);"
        "from gesso.core.errors import ConfigError; from gesso.engines import registry\n"
        "try: registry.make('diffusers', {'model': sys.argv[1]}).load()\n"
        "except ConfigError as fault: print(fault)"
    )

    told = subprocess.run([sys.executable, "-c", code, str(folder())], capture_output=True, text=True, check=True)
    assert "the diffusers engine needs torch" in told.stdout
    assert "pip install 'gesso[diffusers]'" in told.stdout
