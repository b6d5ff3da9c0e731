"""What is on offer: filters, pages and languages of the catalogue; the balance."""

from typing import Any

import pytest
from served import ECHO, SUBMIT, WAN, Served

ENTRY = [
    "model_id", "display_name", "description", "categories", "kind", "base_price_usd", "price_unit", "pricing_note",
    "model_url", "inputs", "required_inputs",
]  # fmt: skip


async def listed(served: Served, query: str = "") -> dict[str, Any]:
    answer = await served.client.get(f"/v1/models?{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_the_catalogue_is_ordered_by_id_and_says_what_page_it_is(served: Served) -> None:
    body = await listed(served)
    ids = [each["model_id"] for each in body["models"]]

    assert list(body) == ["models", "total", "limit", "offset"]
    assert ids == sorted(ids) == list(served.parts.catalog)
    assert (body["total"], body["limit"], body["offset"]) == (len(ids), 100, 0)


async def test_an_entry_has_these_keys_and_its_price_is_a_number_of_outputs_or_seconds(served: Served) -> None:
    for entry in (await listed(served))["models"]:
        assert list(entry) == ENTRY
        assert isinstance(entry["base_price_usd"], int | float)
        assert entry["base_price_usd"] >= 0
        assert entry["price_unit"] in ("output", "second")
        assert entry["kind"] in ("model", "workflow", "inference")
        assert set(entry["required_inputs"]) <= set(entry["inputs"])


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("search=WAN-AI", [WAN]),
        ("search=wan+2.6", [WAN]),
        ("search=REFERENCE+images", [WAN]),
        ("search=echo", [ECHO]),
        ("search=nothing-has-this", []),
        ("search=", [ECHO, WAN]),
        ("search=%D0%AD%D0%A5%D0%9E&lang=ru", [ECHO]),
        ("category=image-to-image", [ECHO, WAN]),
        ("category=Image-To-Image", []),
        ("category=text-to-video", []),
        ("kind=model", [ECHO, WAN]),
        ("kind=workflow", []),
        ("search=echo&category=image-to-image&kind=model&colour=red", [ECHO]),
        ("limit=1", [ECHO]),
        ("limit=1&offset=1", [WAN]),
        ("offset=2", []),
        ("limit=500&offset=0", [ECHO, WAN]),
    ],
)
async def test_filters_and_pages_give_exactly_what_fits(served: Served, query: str, ids: list[str]) -> None:
    assert [each["model_id"] for each in (await listed(served, query))["models"]] == ids


async def test_the_total_counts_what_fits_not_what_is_shown(served: Served) -> None:
    body = await listed(served, "limit=1&offset=1")

    assert (body["total"], body["limit"], body["offset"], len(body["models"])) == (2, 1, 1, 1)


@pytest.mark.parametrize(
    ("query", "name", "type"),
    [
        ("limit=0", "limit", "greater_than_equal"),
        ("limit=501", "limit", "less_than_equal"),
        ("limit=-1", "limit", "greater_than_equal"),
        ("limit=", "limit", "int_type"),
        ("limit=ten", "limit", "int_type"),
        ("limit=1.0", "limit", "int_type"),
        ("limit=--5", "limit", "int_type"),
        ("limit=-", "limit", "int_type"),
        ("limit=%D9%A3", "limit", "int_type"),
        ("limit=%C2%B2", "limit", "int_type"),
        ("limit=" + "9" * 5000, "limit", "int_type"),
        ("offset=-1", "offset", "greater_than_equal"),
        ("offset=x", "offset", "int_type"),
        ("kind=thing", "kind", "enum"),
        ("kind=", "kind", "enum"),
        ("include_schema=maybe", "include_schema", "bool_type"),
    ],
)
async def test_a_value_out_of_range_is_told_by_its_place_in_the_query(
    served: Served, query: str, name: str, type: str
) -> None:
    answer = await served.client.get(f"/v1/models?{query}")
    body = answer.json()

    assert (answer.status_code, body["code"]) == (422, 422001)
    assert [(each["loc"], each["type"]) for each in body["detail"]] == [(["query", name], type)]


@pytest.mark.parametrize("flag", ["true", "True", "1"])
async def test_schemas_come_with_a_model_and_with_the_list_when_asked_for(served: Served, flag: str) -> None:
    (shown,) = (await listed(served, f"search=wan-ai&include_schema={flag}"))["models"]
    one = (await served.client.get(SUBMIT)).json()

    assert shown == one
    assert list(one) == [*ENTRY, "input_schema", "output_schema"]
    assert one["inputs"] == list(one["input_schema"]["properties"])
    assert one["required_inputs"] == one["input_schema"]["required"] == ["prompt", "image_urls"]


async def test_schemas_are_not_in_the_list_unasked(served: Served) -> None:
    for query in ("", "include_schema=false", "include_schema=0"):
        assert all(list(each) == ENTRY for each in (await listed(served, query))["models"])


async def test_categories_are_those_in_use_and_win_over_a_model_of_that_name(served: Served) -> None:
    assert (await served.client.get("/v1/models/categories")).json() == {"categories": ["image-to-image"]}


async def test_both_balances_are_the_same_and_positive(served: Served) -> None:
    one, two = [(await served.client.get(path)).json() for path in ("/v1/balance", "/prod/v2/balance")]

    assert one == two == {"balance_usd": 1000.0, "balance_microdollars": 1_000_000_000, "currency": "USD"}


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [
        ("", None, "en"),
        ("", "*", "en"),
        ("", "ja-JP,ja;q=0.9", "ja"),
        ("", "fr, ru;q=0.3, en;q=0.2", "ru"),
        ("lang=ja", "ru", "ja"),
        ("lang=JA", None, "ja"),
        ("lang=xx", "ru", "en"),
        ("lang=", "ru", "en"),
        ("lang=%ff%00", None, "en"),
        ("x=1&lang=ru", "ja", "ru"),
    ],
)
async def test_the_query_beats_the_header_and_the_answer_says_its_language(
    served: Served, query: str, header: str | None, language: str
) -> None:
    headers = {"Accept-Language": header} if header else {}
    name = {"en": "Echo", "ja": "エコー", "ru": "Эхо"}[language]

    for path in (f"/v1/models/{ECHO}", "/v1/models"):
        answer = await served.client.get(f"{path}?{query}", headers=headers)
        assert name in answer.text
        assert answer.headers["content-language"] == language
        assert "Accept-Language" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("language", "msg"), [("en", "Field required."), ("ja", "必須項目です。"), ("ru", "Обязательное поле.")]
)
async def test_errors_speak_the_readers_language_but_their_types_and_names_do_not(
    served: Served, language: str, msg: str
) -> None:
    answer = await served.client.post(f"{SUBMIT}?lang={language}", json={"prompt": "a"})
    body = answer.json()

    assert body["detail"] == [{"loc": ["body", "image_urls"], "msg": msg, "type": "missing"}]
    assert body["error"] == "ValidationError"
    assert (answer.headers["content-language"], answer.headers["vary"]) == (language, "Accept-Language")


async def test_what_holds_no_text_says_no_language(served: Served) -> None:
    request_id = await served.submit()

    for path in (f"/v1/requests/{request_id}/status", "/v1/models/categories", "/v1/balance"):
        assert "content-language" not in (await served.client.get(path, headers={"Accept-Language": "ja"})).headers
