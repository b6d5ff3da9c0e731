"""Every other command of the client, and what all commands share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click.testing
import pytest
from standin import CANCELLED, ID, IN_PROGRESS, IN_QUEUE, MODEL, TOKEN, TOO_MANY, listening

from gesso.cli import exits
from gesso.cli.main import COMMANDS, MainGroup
from gesso.client import errors as ours
from gesso.core import errors


@pytest.mark.parametrize("command", [("status",), ("requests", "status"), ("requests", "get")])
def test_status_tells_the_state_and_the_position(gesso, server, command):
    server.polls[0] = IN_QUEUE

    assert gesso(*command, ID).stdout == "in_queue (position 2)\n"
    assert json.loads(gesso("--json", *command, ID).stdout)["queue_position"] == 2


@pytest.mark.parametrize("command", [("result",), ("requests", "result")])
def test_result_tells_the_urls_of_a_success(gesso, server, command):
    assert gesso(*command, ID).stdout == server.result["output"]["image"] + "\n"


def test_result_fetches_the_files_when_asked(gesso):
    said = gesso("result", ID, "--download", "--output-dir", "out")

    assert said.stdout == "out/0b9f0f7e-1.png\n"
    assert Path("out/0b9f0f7e-1.png").exists()


def test_the_result_of_an_unfinished_request_is_its_state(gesso, server):
    server.result = IN_PROGRESS

    assert (gesso("result", ID).exit_code, gesso("result", ID).stdout) == (0, "in_progress\n")


def test_the_result_of_a_cancelled_request_exits_1(gesso, server):
    server.result = CANCELLED
    said = gesso("result", ID)

    assert said.exit_code == 1
    assert "never ran" in said.stderr


@pytest.mark.parametrize("command", [("cancel",), ("requests", "cancel")])
def test_cancel_tells_the_outcome(gesso, server, command):
    assert gesso(*command, ID).stdout == "cancelled\n"

    server.cancel = {"status": "in_progress", "outcome": "not_cancellable"}
    said = gesso(*command, ID)
    assert (said.exit_code, said.stdout) == (0, "not_cancellable\n")


@pytest.mark.parametrize("command", ["status", "result", "cancel"])
def test_an_unknown_request_exits_65(gesso, command):
    said = gesso(command, "no-such-id")

    assert said.exit_code == 65
    assert "no such request" in said.stderr


def test_models_are_listed_and_searched(gesso, server):
    said = gesso("models", "list", "--search", "wan", "--category", "image-to-image")

    assert said.stdout == f"{MODEL}  Wan 2.6 Image-to-Image\n"
    assert server.seen[0].query == {"search": ["wan"], "category": ["image-to-image"], "limit": ["100"]}
    assert json.loads(gesso("models", "list", "--json").stdout)["total"] == 1


def test_a_model_is_told_with_its_fields(gesso):
    said = gesso("models", "get", MODEL)

    assert "  prompt (string, required): Prompt" in said.stdout
    assert "one of: 1280*720 (16:9), 720*1280 (9:16)" in said.stdout
    assert json.loads(gesso("models", "get", MODEL, "--json").stdout)["model_id"] == MODEL


def test_categories_are_listed(gesso):
    assert gesso("models", "categories").stdout == "image-to-image\n"


def test_the_balance_is_told(gesso):
    assert gesso("balance").stdout == "1000.0 USD\n"
    assert json.loads(gesso("balance", "--json").stdout)["currency"] == "USD"


def test_login_keeps_a_good_token_and_logout_forgets_it(gesso, server):
    assert gesso("login", "--token", TOKEN, token=None).exit_code == 0
    assert gesso("balance", token=None).exit_code == 0

    assert gesso("logout", token=None).exit_code == 0
    assert gesso("balance", token=None).exit_code == 77


def test_login_reads_a_token_that_is_piped_in_and_never_shows_it(gesso):
    said = gesso("login", token=None, stdin=f"{TOKEN}\n")

    assert said.exit_code == 0
    assert TOKEN not in said.output
    assert gesso("whoami", "--json", token=None).exit_code == 0


def test_a_bad_token_is_not_kept(gesso):
    assert gesso("login", "--token", "wrong", token=None).exit_code == 77
    assert gesso("whoami", token=None).exit_code == 77


def test_login_to_a_server_makes_it_the_one_that_is_used(gesso, server, monkeypatch):
    gesso("login", "--base-url", f"{server.url}/v1", "--token", TOKEN, token=None)
    gesso.url = None

    assert gesso("balance", token=None).exit_code == 0


def test_whoami_tells_where_server_and_token_were_found(gesso, server):
    said = gesso("whoami", "--json")

    body = json.loads(said.stdout)
    assert (body["base_url_from"], body["token_from"], body["balance_usd"]) == ("GESSO_BASE_URL", "GESSO_TOKEN", 1000.0)
    assert TOKEN not in said.output


def test_a_paid_token_does_not_reach_a_server_that_only_gesso_named(gesso, server, monkeypatch):
    monkeypatch.setenv("RUNCOMFY_TOKEN", "paid")

    assert gesso("balance", token=None).exit_code == 77
    assert "authorization" not in server.seen[0].headers


def test_the_token_of_one_server_does_not_reach_another(gesso):
    gesso("login", "--token", TOKEN, token=None)
    with listening() as foreign:
        said = gesso("balance", "--base-url", foreign.url, token=None)

        assert said.exit_code == 77
        assert "authorization" not in foreign.seen[0].headers


@pytest.mark.parametrize("words", [("--json", "balance"), ("balance", "--json"), ("balance", "--output", "json")])
def test_global_flags_are_taken_before_and_after_the_command(gesso, words):
    assert json.loads(gesso(*words).stdout)["balance_usd"] == 1000.0


def test_verbose_tells_each_exchange_on_stderr_without_the_token(gesso):
    process = gesso.start("balance", "-v")
    stdout, stderr = process.communicate(timeout=20)

    assert stdout == "1000.0 USD\n"
    assert "GET" in stderr
    assert "/v1/balance" in stderr
    assert TOKEN not in stderr


@pytest.mark.parametrize("words", [("nonsense",), ("--nonsense",), ("models", "nonsense"), ("status",), ()])
def test_a_wrong_command_line_exits_64(gesso, words):
    assert gesso(*words).exit_code == 64


def test_a_server_that_is_busy_exits_75(gesso, server):
    server.can("GET /v1/balance", (429, {"Retry-After": "9"}, TOO_MANY))

    assert gesso("balance").exit_code == 75


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.BadToken, 77), (errors.Forbidden, 77), (errors.TooMany, 75), (errors.RequestTimeout, 75),
        (ours.ClientTimeout, 75), (errors.ConfigError, 78), (errors.DefinitionError, 78), (errors.UnknownModel, 65),
        (errors.InvalidInput, 65), (errors.ResourceNotFound, 65), (errors.PayloadTooLarge, 65), (ours.Rejected, 65),
        (errors.Unavailable, 69), (errors.InternalError, 69), (ours.Unreachable, 69), (ours.BadAnswer, 69),
        (ours.DownloadFailed, 69),
    ],
)  # fmt: skip
def test_the_table_of_exit_codes_knows_every_error(kind, code):
    assert exits.exit_code(kind.told("x")) == code


def test_the_help_comes_without_importing_what_commands_need():
    said = subprocess.run(
        [sys.executable, "-c", "import sys; from gesso.cli.main import main\n"
         "try: main(['--help'])\n"
         "finally: print(sorted({'httpx2', 'platformdirs', 'gesso.client', 'PIL', 'starlette'} & set(sys.modules)))"],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip

    assert said.stdout.endswith("[]\n")
    assert all(name in said.stdout for section in COMMANDS.values() for name in section)


def test_the_client_commands_need_no_library_of_the_server(gesso, server):
    absent = ("PIL", "numpy", "cv2", "starlette", "uvicorn", "msgspec", "aiohttp", "jsonschema_rs", "pydantic")
    code = f"import sys\nfor name in {absent}: sys.modules[name] = None\nfrom gesso.cli.main import main; main()"
    environment = os.environ | {"GESSO_BASE_URL": server.url, "GESSO_TOKEN": TOKEN}
    run = [sys.executable, "-c", code, "run", MODEL, "-p", "a cat"]
    said = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=20, check=False)

    assert (said.returncode, said.stdout) == (0, "0b9f0f7e-1.png\n")


def test_a_command_of_the_server_says_what_to_install_where_it_is_missing(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import a_library_that_is_not_there")
    monkeypatch.syspath_prepend(str(tmp_path))
    group = MainGroup("gesso", table={"Commands": {"up": ("needs_more:up", "Start.")}})
    said = click.testing.CliRunner().invoke(group, ["up"])

    assert said.exit_code == 1
    assert "this command needs the server: pip install 'gesso[server]'" in said.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(gesso, shell):
    said = gesso("completion", shell)

    assert said.exit_code == 0
    assert "_GESSO_COMPLETE" in said.stdout


def test_every_command_of_the_client_has_help_with_an_example(gesso):
    names = [name for section in ("Make pictures", "Know the server") for name in COMMANDS[section]]
    for words in [[name] for name in names] + [["models", "list"], ["models", "get"], ["models", "categories"]]:
        said = gesso(*words, "--help")

        assert said.exit_code == 0, words
        assert "Example" in said.stdout, words


def test_no_colour_is_honoured(gesso, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b" not in gesso("status", "no-such-id").stderr
