"""`gesso doctor` and `gesso models enable`: from what there is to a model that is served."""

import json
import tomllib
from pathlib import Path

import pytest

from gesso.catalog import read_catalog

KLEIN, WAN = "black-forest-labs/flux-2-klein-4b/image-to-image", "wan-ai/wan-2-6/image-to-image"


def test_the_doctor_tells_machine_server_and_every_offer(gesso):
    said = gesso("doctor", "--data-dir", "kept")

    assert said.exit_code == 0, said.output
    for words in ("python ", "signing   off\n", "database ", "gpu ", "packages ", "none of them served", KLEIN):
        assert words in said.stdout


def test_programs_are_told_the_same_as_json(gesso):
    told = json.loads(gesso("doctor", "--data-dir", "kept", "--output", "json").stdout)

    assert told.keys() >= {"python", "database", "engines", "models", "machine", "problems", "models_with_weights"}
    assert {each["model_id"] for each in told["models_with_weights"]} >= {KLEIN}
    assert all(each["fits"] == bool(each["commands"]) for each in told["models_with_weights"])


def test_an_enabled_model_is_served_beside_the_others(gesso):
    said = gesso("models", "enable", KLEIN, "--models-dir", "mine", "--memory", "resident", "--speed", "fast")

    assert said.exit_code == 0, said.output
    catalog = read_catalog(Path("mine"))
    assert catalog.keys() == {KLEIN, WAN, "gesso/echo/image-to-image"}
    assert catalog[KLEIN].engine == "diffusers"
    assert catalog[KLEIN].engine_options["memory"] == "resident"
    assert catalog[KLEIN].engine_options["speed"] == "fast"
    assert not (Path("mine") / KLEIN / "needs.toml").exists()


def test_weights_of_ones_own_go_in_with_an_absolute_path_and_without_our_word_on_their_licence(gesso):
    Path("weights").mkdir()
    gesso("models", "enable", KLEIN, "--models-dir", "mine", "--weights", "weights")
    options = read_catalog(Path("mine"))[KLEIN].engine_options

    assert options["model"] == str(Path("weights").resolve())
    assert "licence" not in options


def test_a_built_in_models_id_schema_and_texts_may_be_kept(gesso):
    before = read_catalog()[WAN]
    said = gesso("models", "enable", KLEIN, "--as", WAN, "--models-dir", "mine")
    after = read_catalog(Path("mine"))[WAN]

    assert said.exit_code == 0, said.output
    assert after.engine == "diffusers"
    assert after.engine_options["model"] == "black-forest-labs/FLUX.2-klein-4B"
    assert (after.cards, after.binding, after.example) == (before.cards, before.binding, before.example)


def test_tables_among_the_options_survive_the_copy(gesso):
    model_id = "qwen/qwen-image-edit-2511/image-to-image"
    gesso("models", "enable", model_id, "--models-dir", "mine", "--force", "--speed", "fast")
    options = tomllib.loads((Path("mine") / model_id / "model.toml").read_text())["engine_options"]

    assert options["few_steps"]["steps"] == 4
    assert options["speed"] == "fast"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nope/nope",), 1, "there is no 'nope/nope' that needs weights; there are: black-forest-labs/"),
        ((KLEIN, "--as", "nope/nope"), 64, "'nope/nope' is no built-in model"),
        ((KLEIN, "--as", "../secrets"), 64, "is no built-in model"),
        ((KLEIN, "--speed", "warp"), 64, "'warp' is not one of"),
    ],
)
def test_what_cannot_be_enabled_is_refused_and_nothing_written(gesso, words, code, said):
    answer = gesso("models", "enable", *words, "--models-dir", "mine")

    assert (answer.exit_code, Path("mine").exists()) == (code, False)
    assert said in answer.stderr


def test_without_a_folder_for_it_nothing_is_enabled(gesso):
    answer = gesso("models", "enable", KLEIN)

    assert answer.exit_code == 64
    assert "--models-dir" in answer.stderr


def test_what_is_there_is_written_over_only_by_force(gesso):
    line = ("models", "enable", KLEIN, "--models-dir", "mine")
    assert gesso(*line).exit_code == 0
    toml = Path("mine") / KLEIN / "model.toml"
    toml.write_text(toml.read_text() + "# mine\n")

    assert gesso(*line).exit_code == 1
    assert toml.read_text().endswith("# mine\n")
    assert gesso(*line, "--force").exit_code == 0
    assert "# mine" not in toml.read_text()
