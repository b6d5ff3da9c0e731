"""The code that the page shows does what the form does: it is run, as it stands, against the server."""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
from person import ECHO, SAMPLES, SCRIPTED, WAN, Person

pytestmark = pytest.mark.slow
AWKWARD = """He said: "it's" $HOME `id` \\n 100% ~ ünï ✓ 🎨 'quoted' </script> ${x} {y}"""


@pytest.fixture
def person(newcomer: Any) -> Person:
    return newcomer().open(f"/models/{ECHO}")  # type: ignore[no-any-return]


def snippet(person: Person, language: str) -> str:
    person.tab("API")
    person.page.get_by_role("radio", name=language, exact=True).check(force=True)
    text = str(person.page.locator("gesso-code code").inner_text())
    assert person.server.token not in text
    return text


def run(person: Person, *command: str, text: str) -> str:
    environment = {"PATH": os.environ["PATH"], "GESSO_TOKEN": person.server.token}
    done = subprocess.run(command, check=False, input=text, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_code_runs_as_it_stands(newcomer: Any) -> None:
    person: Person = newcomer().open(f"/models/{WAN}")  # its form has fields of every kind
    person.pick(SAMPLES / "cat.jpg")

    told = json.loads(run(person, sys.executable, "-I", "-", text=snippet(person, "Python")))

    assert (told["status"], told["model_id"]) == ("succeeded", WAN)
    assert told["output"]["image"].startswith(person.server.url)


def test_the_javascript_code_runs_as_it_stands(person: Person) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here")
    person.pick(SAMPLES / "cat.jpg")

    told = json.loads(run(person, node, "--input-type=module", text=snippet(person, "JavaScript")))

    assert told["status"] == "succeeded"


def test_the_curl_lines_run_as_they_stand(person: Person) -> None:
    person.pick(SAMPLES / "cat.jpg")
    submit, _, rest = snippet(person, "curl").partition("\n\n#")

    told = json.loads(run(person, "bash", text=submit))

    person.server.ended(told["request_id"])
    result = rest.partition("\n")[2]
    told = json.loads(run(person, "bash", text=f"REQUEST_ID={told['request_id']}\n{result}"))
    assert told["status"] == "succeeded"


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_no_text_of_the_form_breaks_out_of_the_code(newcomer: Any, language: str) -> None:
    person: Person = newcomer().open(f"/models/{SCRIPTED}")
    prompt = f"nothing {AWKWARD}\nsecond line"
    person.write(prompt)
    text = snippet(person, language)
    commands = {"curl": ["bash"], "Python": [sys.executable, "-I", "-"], "JavaScript": ["node", "--input-type=module"]}
    if shutil.which(commands[language][0]) is None:
        pytest.skip(f"there is no {commands[language][0]} here")

    run(person, *commands[language], text=text.partition("\n\n#")[0])

    inputs = [json.loads(row["input"]) for row in person.server.rows().values()]
    assert prompt in [input.get("prompt") for input in inputs]


def test_the_code_follows_the_form(person: Person) -> None:
    person.tab("API")
    person.page.get_by_role("radio", name="16:9").check(force=True)

    assert '"1280*720 (16:9)"' in person.page.locator("gesso-code code").inner_text()


def test_a_press_copies_it(person: Person) -> None:
    person.context.grant_permissions(["clipboard-read", "clipboard-write"])
    text = snippet(person, "Python")

    person.button("Copy").click()

    person.page.get_by_role("button", name="Copied").wait_for()
    assert person.page.evaluate("navigator.clipboard.readText()") == text
