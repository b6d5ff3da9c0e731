"""The API's description of itself is valid, complete, and true.

`openapi-3.1.schema.json` is the OpenAPI Initiative's own schema, https://spec.openapis.org/oas/3.1/schema/2022-10-07.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from served import EXAMPLE, SUBMIT, Served, picture

from gesso.store.workers import Workers

JSON = dict[str, Any]
OFFICIAL = json.loads((Path(__file__).parent / "openapi-3.1.schema.json").read_text("utf-8"))
MODEL_ROUTE = "/v1/models/{model_id}"
METHODS = {"get", "post", "put", "delete", "patch", "head", "options", "trace"}


@pytest.fixture(scope="module")
async def document(served: Served) -> JSON:
    return dict((await served.client.get("/v1/openapi.json")).json())


def operations(document: JSON) -> Iterator[tuple[str, str, JSON]]:
    for path, item in document["paths"].items():
        yield from ((path, method, operation) for method, operation in item.items() if method in METHODS)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


async def test_the_document_is_valid_openapi_3_1(document: JSON) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in jsonschema_rs.validator_for(OFFICIAL).iter_errors(document)] == []


@pytest.mark.parametrize("language", ["en", "ja", "ru"])
async def test_its_paths_and_methods_are_the_routes_one_operation_for_each_model(served: Served, language: str) -> None:
    document = (await served.client.get(f"/v1/openapi.json?lang={language}")).json()
    described = {(path, method.upper()) for path, method, _ in operations(document)}

    routes: set[tuple[str, str]] = set()
    for route in served.app.inner.routes:  # type: ignore[attr-defined]
        if not route.include_in_schema:  # pages, and what speaks another protocol
            continue
        path = re.sub(r"{(\w+):\w+}", r"{\1}", route.path)
        paths = [f"/v1/models/{model}" for model in served.parts.catalog] if path == MODEL_ROUTE else [path]
        routes |= {(each, method) for each in paths for method in route.methods - {"HEAD"}}
    assert described == routes


async def test_its_references_lead_somewhere_and_its_ids_are_unique(document: JSON) -> None:
    for reference in references(document["paths"]):
        kind, name = re.fullmatch(r"#/components/(\w+)/(\w+)", reference).groups()  # type: ignore[union-attr]
        assert name in document["components"][kind]
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    assert set(references(document["components"])) <= {
        f"#/components/schemas/{name}" for name in document["components"]["schemas"]
    }


async def test_every_brace_of_a_path_is_a_required_parameter(document: JSON) -> None:
    for path, _, operation in operations(document):
        told = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path" and each["required"]}
        assert told == set(re.findall(r"{(\w+)}", path)), path


async def test_each_models_example_fits_its_own_schema_and_is_the_schema_that_is_published(
    served: Served, document: JSON
) -> None:
    for model in served.parts.catalog.values():
        body = document["paths"][f"/v1/models/{model.id}"]["post"]["requestBody"]["content"]["application/json"]
        published = (await served.client.get(f"/v1/models/{model.id}")).json()["input_schema"]

        jsonschema_rs.validator_for(body["schema"]).validate(body["example"])
        assert body["schema"] == published


async def test_only_files_and_health_need_no_token(document: JSON) -> None:
    free = {path for path, _, operation in operations(document) if operation.get("security") == []}

    assert free == {"/files/{key}/{name}", "/healthz", "/readyz"}
    assert document["security"] == [{"bearer": []}]


async def test_the_texts_are_in_the_readers_language(served: Served) -> None:
    answer = await served.client.get("/v1/openapi.json", headers={"Accept-Language": "ja"})

    assert answer.headers["content-language"] == "ja"
    assert answer.json()["paths"][SUBMIT]["post"]["requestBody"]["content"]["application/json"]["schema"]["title"] == (
        "入力スキーマ"
    )


async def test_every_route_answers_as_it_is_described(fresh: Served, document: JSON) -> None:
    file = await fresh.output_url()
    done, waiting = await fresh.submit(), await fresh.submit()
    await fresh.end()
    waiter = fresh.parts.database.wakeups.listen()
    await Workers(fresh.parts.database).beat(waiter.name, "here", {})
    upload = {"content": picture(), "headers": {"Content-Type": "image/png"}}
    calls: dict[tuple[str, str], list[tuple[str, JSON]]] = {
        ("/v1/requests/{request_id}/status", "get"): [(f"/v1/requests/{each}/status", {}) for each in (done, waiting)],
        ("/v1/requests/{request_id}/result", "get"): [
            (f"/v1/requests/{each}/result?include_cost=true", {}) for each in (done, waiting)
        ],
        ("/v1/requests/{request_id}/events", "get"): [(f"/v1/requests/{done}/events", {})],
        ("/v1/requests/{request_id}/cancel", "post"): [(f"/v1/requests/{waiting}/cancel", {})],
        ("/v1/files", "post"): [("/v1/files", upload)],
        ("/files/{key}/{name}", "get"): [(file, {})],
    }
    schemas = {"components": document["components"]}
    try:
        for path, method, operation in operations(document):
            default = [(path, {"json": EXAMPLE} if method == "post" else {})]
            for url, given in calls.get((path, method), default):
                answer = await fresh.client.request(method, url, **given)
                assert answer.status_code == 200, (url, answer.text)
                for type, content in operation["responses"]["200"].get("content", {}).items():
                    assert answer.headers["content-type"] == type
                    if type == "application/json":
                        judge(answer.json(), content["schema"] | schemas, document)
    finally:
        waiter.close()


def judge(body: JSON, schema: JSON, document: JSON) -> None:
    """*body* fits, and has no top-level key that is not described."""
    jsonschema_rs.validator_for(schema).validate(body)
    if "$ref" in schema:
        described = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert set(body) <= set(described["properties"])
        assert set(described["required"]) <= set(body)


async def test_every_error_is_as_it_is_described(served: Served, document: JSON) -> None:
    schema = {"$ref": "#/components/schemas/Error", "components": document["components"]}

    for answer in (
        await served.client_of("no").get("/v1/models"),
        await served.client.get("/no/route"),
        await served.client.post(SUBMIT, json={"prompt": 1, "image_urls": ["x"]}),
    ):
        judge(answer.json(), schema, document)
    assert {operation["responses"]["default"]["$ref"] for _, _, operation in operations(document)} == {
        "#/components/responses/Error"
    }
