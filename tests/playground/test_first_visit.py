"""What a person does first, in a real Chromium; few enough for every run of the tests."""

import re
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from person import SAMPLES, WAN, Person

FIRST_VIEW_BYTES = 100_000


def test_the_first_view_is_small_and_asks_nobody_but_this_server(newcomer: Any) -> None:
    person: Person = newcomer()
    devtools = person.context.new_cdp_session(person.page)
    devtools.send("Network.enable")
    sizes: list[float] = []
    devtools.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))

    person.open()
    person.page.wait_for_load_state("networkidle")

    assert len(sizes) > 15
    assert sum(sizes) < FIRST_VIEW_BYTES
    assert all(url.startswith(person.server.url) for url in person.asked)


def test_a_person_signs_in_edits_a_photograph_and_looks_at_it(newcomer: Any) -> None:
    person: Person = newcomer().open(signed_in=False)
    person.page.get_by_label("Token", exact=True).fill(person.server.token)
    person.button("Use this token").click()
    person.page.get_by_label("Model").select_option(WAN)
    person.write("a pencil drawing with a unicorn")
    person.pick(SAMPLES / "cat.jpg")
    person.run()

    picture = person.result()

    assert picture.evaluate("image => image.naturalWidth") == 1024
    assert "Not understood: unicorn" in person.page.locator("gesso-stage").inner_text()
    assert person.page.url.startswith(f"{person.server.url}/")
    slider = person.page.get_by_label("Compare before and after")
    slider.focus()
    person.page.keyboard.press("End")
    assert slider.get_attribute("aria-valuetext") == "100 % before"
    with person.page.expect_download() as download:
        person.page.get_by_role("link", name="Download").click()
    assert re.fullmatch(r"[0-9a-f-]{36}-1\.png", download.value.suggested_filename)
    assert Axe().run(person.page).violations_count == 0
