"""Inputs that nobody thought of: whatever comes in, the answer is one of ours and nothing breaks."""

import asyncio
import json
import random
import string
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from inside import PUBLIC_URL, House, data_uri, house, picture
from live import EXAMPLE, FIVE_KEYS, SUBMIT

from gesso.core.pictures import PictureFault, Validation
from gesso.files.decoder import Decoder

SEED = 20261121
QUICK, HEAVY, SHARDS = 2_000, 200_000, 8
SHARES = {"bodies": 0.2, "headers": 0.4, "schema": 0.25, "pictures": 0.15}
TRACES = (b"Traceback", b'File "', b"site-packages", b"gesso.", b"sqlite", b"/src/")
BOUNDS = {"width_pixels>": 384, "height_pixels>": 384, "width_pixels<": 5000, "height_pixels<": 5000,
          "file_size_mb<": 10}  # fmt: skip
NO_WORKER = b'"status":"not_ready"'
VALIDATIONS = tuple(Validation(rule, bound, "") for rule, bound in BOUNDS.items())


def cases(share: str) -> list[Any]:
    """How many cases a test tries, and from which seed: in the default suite, and in CI at every change."""
    heavy = [pytest.mark.slow, pytest.mark.timeout(2700)]
    return [
        pytest.param((int(QUICK * SHARES[share]), SEED), id="quick"),
        *(pytest.param((int(HEAVY * SHARES[share]) // SHARDS, shard), id=f"heavy-{shard}", marks=heavy)
          for shard in range(SHARDS)),
    ]  # fmt: skip


def tried(dose: tuple[int, int]) -> Any:
    chosen = settings(
        max_examples=dose[0], deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    return lambda test: seed(dose[1])(chosen(test))


class Asker:
    """Asks an API in this process, message by message, as a server would: raw header lines, raw bytes."""

    def __init__(self, here: House, loop: asyncio.AbstractEventLoop) -> None:
        self.here = here
        self._loop = loop
        self._rows = 0

    def ask(self, method: str, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
        """The status; judges the answer, and what it left."""
        status, told, said = self._loop.run_until_complete(self._exchange(method, path, query, headers, body))
        assert status < 500 or NO_WORKER in said, (status, said)
        assert not any(trace in said for trace in TRACES), said
        if status >= 400 and NO_WORKER not in said:
            error = json.loads(said)
            assert error.keys() == FIVE_KEYS, error
            assert error["code"] == error["error_code"]
            assert error["error_message"]
            assert isinstance(error["detail"], list)
            assert not error["detail"] or status == 422
            assert told[b"content-type"] == b"application/json"
        rows = int(self.here.value("SELECT count(*) FROM requests"))
        assert rows == self._rows + (status == 200 and b'"status_url"' in said and method == "POST")
        self._rows = rows
        return status

    def sound(self) -> int:
        """The status of a submit in which nothing is wrong."""
        body = spelt(EXAMPLE)
        return self.ask("POST", SUBMIT.encode(), b"", usual(self, body), body)

    async def _exchange(
        self, method: str, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": unquote(path.decode("ascii")), "raw_path": path, "query_string": query, "root_path": "",
            "headers": headers, "client": ("192.0.2.7", 1), "server": ("127.0.0.1", 1), "state": {},
        }  # fmt: skip
        half = len(body) // 2
        parts = [
            {"type": "http.request", "body": body[:half], "more_body": True},
            {"type": "http.request", "body": body[half:], "more_body": False},
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return parts.pop(0) if parts else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.here.app(scope, receive, send)
        start, *rest = sent
        return start["status"], dict(start["headers"]), b"".join(each.get("body", b"") for each in rest)


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    loop = asyncio.new_event_loop()
    opened = house(tmp_path / "house", bad_tokens_per_minute=0, stored_bytes_per_owner=0)
    here = loop.run_until_complete(opened.__aenter__())
    yield Asker(here, loop)
    loop.run_until_complete(opened.__aexit__(None, None, None))
    loop.close()


def usual(asker: Asker, body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"host", b"api.example.org"),
        (b"authorization", f"Bearer {asker.here.token}".encode()),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]


SMALL = data_uri(picture())
nasty = st.sampled_from(
    ["\0", "\ud800", "\u200b", "\ufeff", "a" * 2000, "𝄞" * 1999, "'; --", "{facts}", "%s", "../../x", "-0", "1e999",
     "https://[", "https://a.example:99999/", "https://xn--/", "http://a.example", "https://169.254.169.254/",
     "data:,", "data:image/png;base64,", "data:image/png;base64,AAAA", SMALL, SMALL[:-5], "https://a.example/a.png",
     f"{PUBLIC_URL}/files/x/y?expires=1&signature=é", f"{PUBLIC_URL}/files/", f"{PUBLIC_URL}/files/a/b?&&=;"]
)  # fmt: skip
texts = nasty | st.text(max_size=40)
leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
                      max_leaves=8)  # fmt: skip
fields = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.just("a cat") | values,
        "image_urls": st.just(EXAMPLE["image_urls"]) | st.lists(nasty, max_size=4) | values,
        "negative_prompt": values,
        "image_size": st.just("1280*720 (16:9)") | values,
        "seed": st.integers(-1, 2**31) | values,
        "prompt_extend": st.booleans() | values,
        "unknown": values,
    },
)


def spelt(value: Any) -> bytes:
    """JSON, lone surrogates and NaN and all."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


@st.composite
def broken(draw: Any) -> bytes:
    """The bytes of a body, some of them altered."""
    body = bytearray(draw(fields.map(spelt)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3) | st.sampled_from([b"[" * 2000, b"\xff"]))
    return bytes(body)


bodies = fields.map(spelt) | broken() | st.binary(max_size=60) | values.map(spelt)


@pytest.mark.parametrize("dose", cases("bodies"))
def test_any_body_gets_one_of_our_answers(asker, dose):
    seen: set[int] = set()

    @tried(dose)
    @given(bodies)
    def each(body: bytes) -> None:
        seen.add(asker.ask("POST", SUBMIT.encode(), b"", usual(asker, body), body))

    each()
    assert asker.sound() == HTTPStatus.OK, "after all these"
    assert {400, 422} <= seen


visible = st.text(string.printable.replace("\r", "").replace("\n", ""), max_size=30)
names = st.sampled_from(
    ["host", "authorization", "content-type", "content-length", "accept-language", "range", "cookie", "expect",
     "idempotency-key", "prefer", "last-event-id", "x-forwarded-host", "x-forwarded-for", "transfer-encoding",
     "if-none-match"]
) | st.text(string.ascii_lowercase + "-", min_size=1, max_size=12)  # fmt: skip
lines = st.tuples(names.map(str.encode), visible.map(str.encode) | st.binary(max_size=20) | st.sampled_from(
    [b"ja;q=x, *;q=0.1", b"bytes=0-", b"bytes=-1,2-", b"Bearer \xff", b"bearer", b"[::1]:80", b"a" * 3000, b"1e9",
     b"application/json; charset=\xff", b"multipart/form-data; boundary=", b"99999999999999999999", b"-1",
     b"wait=60", b"wait", b"wait=0", b"wait=\xff", b"respond-async, wait=1"]
).map(bytes))  # fmt: skip
segments = st.sampled_from(
    [b"v1", b"models", b"requests", b"files", b"wan-ai", b"wan-2-6", b"image-to-image", b"status", b"result",
     b"cancel", b"events", b"balance", b"openapi.json", b"categories", b"healthz", b"readyz", b"prod", b"v2",
     b"..", b".",
     b"",
     b"%00", b"%2e%2e", b"%2F", b"%ff", b"%", b"\\", b"00000000-0000-4000-8000-000000000000", b"a" * 300]
)  # fmt: skip
paths = st.just(SUBMIT.encode()) | st.lists(segments, max_size=6).map(lambda parts: b"/" + b"/".join(parts))
queries = st.just(b"") | st.lists(
    st.tuples(
        st.sampled_from([b"lang", b"limit", b"offset", b"dry_run", b"include_cost", b"include_schema", b"kind",
                         b"expires", b"signature", b"search", b"category", b"wait", b"previews", b"cursor", b"status",
                         b"model_id"]),
        st.sampled_from([b"", b"1", b"-1", b"true", b"ja", b"xx", b"%00", b"%ff", b"\xff", b"9" * 30, b"%F0%9D%84%9E"]),
    ).map(b"=".join),
    max_size=3,
).map(b"&".join)  # fmt: skip
methods = st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])


@pytest.mark.parametrize("dose", cases("headers"))
def test_any_header_path_and_query_gets_one_of_our_answers(asker, dose):
    seen: set[int] = set()

    @tried(dose)
    @given(methods, paths, queries, st.lists(lines, max_size=4), st.sets(st.integers(0, 3)), bodies)
    def each(method: str, path: bytes, query: bytes, more: Any, kept: set[int], body: bytes) -> None:
        sent = usual(asker, body)
        known = [line for number, line in enumerate(sent) if number in kept or len(kept) < 2]
        seen.add(asker.ask(method, path, query, known + more, body))

    each()
    assert asker.sound() == HTTPStatus.OK, "after all these"
    assert {400, 401, 404} <= seen


def from_schema(schema: Any, root: Any) -> st.SearchStrategy[Any]:  # noqa: C901 - a table of types
    """Values that fit *schema*, as far as it is written: enough of the dialect for our own description."""
    if "$ref" in schema:
        found = root
        for name in schema["$ref"].split("/")[1:]:
            found = found[name.replace("~1", "/").replace("~0", "~")]
        return from_schema(found, root)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            known = {name: from_schema(each, root) for name, each in schema.get("properties", {}).items()}
            required = set(schema.get("required", ()))
            return st.fixed_dictionaries(
                {name: each for name, each in known.items() if name in required},
                optional={name: each for name, each in known.items() if name not in required},
            )
        case "array":
            items = from_schema(schema.get("items", {}), root)
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 3))
        case "string" if str(schema.get("format", "")).startswith(("image", "uri")):
            return st.sampled_from(["https://images.example/a.png", SMALL])
        case "string":
            return st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 40), 40))
        case "integer":
            return st.integers(schema.get("minimum", -9), schema.get("maximum", 2**31))
        case "number":
            return st.floats(schema.get("minimum", -9), schema.get("maximum", 9e9))
        case "boolean":
            return st.booleans()
    return values


@pytest.mark.parametrize("dose", cases("schema"))
def test_whatever_our_own_description_allows_or_nearly_allows_gets_an_answer_that_it_names(asker, dose):
    described = json.loads(
        asker._loop.run_until_complete(asker._exchange("GET", b"/v1/openapi.json", b"", usual(asker, b""), b""))[2]
    )
    operations = [
        (method.upper(), path, operation)
        for path, item in described["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "put", "delete")
    ]
    drawn = st.sampled_from(operations).flatmap(
        lambda each: st.tuples(st.just(each), _body(each[2], described), queries, st.sampled_from(range(5)))
    )
    answered: set[tuple[str, int]] = set()

    @tried(dose)
    @given(drawn)
    def each(case: Any) -> None:
        (method, path, operation), value, query, twist = case
        if twist == 0 and isinstance(value, dict) and value:
            value = {**value, sorted(value)[0]: None}
        body = b"" if value is None else spelt(value)
        filled = path
        for name in ("request_id", "model_id", "key", "name"):
            filled = filled.replace("{" + name + "}", "00000000-0000-4000-8000-000000000000")
        status = asker.ask(method, filled.encode(), query, usual(asker, body), body)
        named = operation["responses"]
        assert str(status) in named or "default" in named or f"{status // 100}XX" in named, (method, path, status)
        answered.add((path, status))

    each()
    assert {path for path, _ in answered} == {path for _, path, _ in operations}
    assert 200 in {status for _, status in answered}


def _body(operation: Any, root: Any) -> st.SearchStrategy[Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return from_schema(content["schema"], root) | fields if content else st.none()


LENGTHS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0")
ORIENTATION = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"


def grown(chance: random.Random, seeds: list[bytes]) -> bytes:
    """A picture's file, altered: bytes, runs, lengths, the end, or another file's middle."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data)) if data else 0
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = chance.randbytes(1)
            case 1:
                data[at : at + 4] = chance.choice(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0"]
                )
            case 2:
                del data[at : at + chance.randrange(1, 200)]
            case 3:
                data[at:at] = chance.randbytes(chance.randrange(1, 50))
            case 4:
                data = data[: max(at, 1)]
            case 5:
                other = chance.choice(seeds)
                start = chance.randrange(len(other))
                data[at:at] = other[start : start + chance.randrange(1, 300)]
    return bytes(data)


def seeds() -> list[bytes]:
    """Small sound files of every kind that is read, and of two that are not."""
    plain = [picture(384, 384, format=kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF")]
    turned = picture(400, 384, format="JPEG", progressive=True, exif=ORIENTATION)
    return [*plain, turned, picture(384, 384, format="WEBP", lossless=True)]


@pytest.mark.anyio
@pytest.mark.parametrize("dose", cases("pictures"))
async def test_any_file_gets_a_verdict_and_the_decoder_lives_on(dose):
    times, chance, files = dose[0], random.Random(dose[1]), seeds()
    decoder = Decoder(2)
    seen: set[str] = set()

    async def try_some(number: int) -> None:
        for _ in range(number):
            try:
                await decoder.inspect(grown(chance, files), VALIDATIONS)
                seen.add("ok")
            except PictureFault as fault:
                seen.add(fault.type)

    await decoder.inspect(files[0])
    assert decoder._forker is not None
    process = decoder._forker._process
    await asyncio.gather(try_some(times // 2), try_some(times - times // 2))

    assert decoder._forker is not None
    assert decoder._forker._process is process
    assert process.poll() is None
    assert {"ok", "image_corrupt", "unsupported_image"} <= seen
    await decoder.close()
