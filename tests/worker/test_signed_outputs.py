"""Outputs are signed when a certificate is set: who made them, of what, and nothing that is private."""

import asyncio
import hashlib
import io
import re
import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from house import OWNER, House, png
from PIL import Image
from signing import A_YEAR, PEM, Authority, authority, seen, signer, stamping

from gesso import processes
from gesso.assembly import make_credentials, now
from gesso.cli.main import main
from gesso.config import Settings
from gesso.core.errors import ConfigError, Unavailable
from gesso.core.pictures import Picture
from gesso.core.request import Request
from gesso.files.blobs import new_key
from gesso.files.credentials import Credentials
from gesso.files.images import encode_png
from gesso.files.manifest import Origin, source_type

Open = Callable[..., Any]
PAINTER = Origin("acme/painter", "diffusers", "acme/weights")
END = b"-----END CERTIFICATE-----\n"
SECRET = "a portrait of Ada Lovelace at her desk"


@pytest.fixture(scope="module")
def root() -> Authority:
    return authority()


@pytest.fixture
def files(root: Authority, tmp_path: Path) -> dict[str, Path]:
    return signer(tmp_path, by=root)


def make(files: dict[str, Path], **more: Any) -> Credentials:
    credentials = make_credentials(Settings(**files, **more))
    assert credentials is not None
    return credentials


async def output(house: House, request: Request) -> bytes:
    """The bytes of its output, which are those that size and hash were recorded of."""
    (file,) = (await house.succeeded(request)).files
    data = await house.parts.shelf.read(file.key, file.sha256)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size_bytes, file.sha256)
    return data


async def test_an_output_says_signed_by_what_it_was_made(houses: Open, files: dict[str, Path], root: Authority) -> None:
    house = await houses(**files)
    house.start("lane")
    request = await house.submit("picture:RGB")
    data = await output(house, request)

    told = seen(data, root)
    assert set(Image.open(io.BytesIO(data)).info) == {"Software", "gesso"}
    assert (told.state, told.failures) == ("Trusted", [])
    assert told.manifest["claim_generator_info"][0]["name"] == "Gesso"
    assert told.made["action"] == "c2pa.created"
    assert told.made["digitalSourceType"].endswith("/algorithmicMedia")
    assert told.made["parameters"]["gesso.model_id"] == request.model_id
    assert told.made["parameters"]["gesso.engine"] == "scripted"


async def test_references_are_named_by_their_hashes(houses: Open, files: dict[str, Path], root: Authority) -> None:
    house = await houses(**files)
    house.start("lane")
    hashes = [hashlib.sha256(each).hexdigest() for each in (png(400), png(408))]
    request = await with_references(house, png(400), png(408))

    told = seen(await output(house, request), root)
    assert told.state == "Trusted"
    assert [each["action"] for each in told.actions] == ["c2pa.opened", "c2pa.edited"]
    assert told.made["digitalSourceType"].endswith("/composite")
    assert [(each["instance_id"], each["relationship"]) for each in told.manifest["ingredients"]] == [
        (f"sha256:{hashes[0]}", "parentOf"), (f"sha256:{hashes[1]}", "inputTo"),
    ]  # fmt: skip


async def test_nothing_private_is_signed(houses: Open, files: dict[str, Path]) -> None:
    house = await houses(**files)
    house.start("lane")
    request = await with_references(house, png(), prompt=f"picture:RGB {SECRET}")

    signed = chunk(await output(house, request), b"caBX")
    assert b"gesso.model_id" in signed
    assert [each for each in ("Lovelace", "alice", request.id, "example.org") if each.encode() in signed] == []


async def test_without_a_certificate_nothing_is_signed(house: House) -> None:
    house.start("lane")
    data = await output(house, await house.submit("picture:RGB"))

    kinds = [kind for kind, _ in chunks(data)]
    assert kinds == [b"IHDR", b"iTXt", b"iTXt", b"IDAT", b"IEND"]


async def test_a_changed_pixel_or_word_breaks_the_signature(files: dict[str, Path]) -> None:
    plain = encode_png(Image.new("RGB", (16, 16), "red"), {"gesso": "{}"})
    signed = await make(files).sign(plain, PAINTER)
    parts = chunks(signed)

    changed = [
        join((kind, content[:-1] + bytes([content[-1] ^ 1]) if kind == touched else content) for kind, content in parts)
        for touched in (b"IDAT", b"iTXt")
    ]
    assert seen(signed).state == "Valid"
    assert join(parts) == signed
    assert [seen(each).state for each in changed] == ["Invalid", "Invalid"]
    assert all("assertion.dataHash.mismatch" in seen(each).failures for each in changed)


async def test_only_the_manifest_is_added(files: dict[str, Path]) -> None:
    plain = encode_png(Image.new("RGB", (16, 16), "red"), {"Software": "Gesso", "gesso": "{}"})

    signed = await make(files).sign(plain, PAINTER)
    assert join(each for each in chunks(signed) if each[0] != b"caBX") == plain


@pytest.mark.parametrize(
    ("weights", "references", "source"),
    [
        ("acme/weights", 0, "trainedAlgorithmicMedia"),
        ("acme/weights", 1, "compositeWithTrainedAlgorithmicMedia"),
        ("acme/weights", 3, "compositeWithTrainedAlgorithmicMedia"),
        ("none", 0, "algorithmicMedia"),
        ("none", 1, "algorithmicallyEnhanced"),
        ("none", 3, "composite"),
    ],
)
async def test_what_a_trained_model_made_says_so(
    files: dict[str, Path], root: Authority, weights: str, references: int, source: str
) -> None:
    origin = replace(PAINTER, weights=weights, references=("ab" * 32, "cd" * 32, "ef" * 32)[:references])

    told = seen(await make(files).sign(png(), origin), root)
    assert (told.state, source_type(origin)) == ("Trusted", source)
    assert told.made["digitalSourceType"] == f"http://cv.iptc.org/newscodes/digitalsourcetype/{source}"
    assert len(told.manifest.get("ingredients", [])) == references + (weights != "none")
    assert told.made["parameters"]["gesso.weights"] == weights


KEYS = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("kind", KEYS)
async def test_the_algorithm_follows_from_the_key(tmp_path: Path, root: Authority, kind: str) -> None:
    credentials = make(signer(tmp_path, KEYS[kind](), by=root))

    assert seen(await credentials.sign(png(), PAINTER), root).state == "Trusted"


async def test_a_key_in_openssls_own_form_is_taken(tmp_path: Path, root: Authority) -> None:
    credentials = make(signer(tmp_path, by=root, form="TraditionalOpenSSL"))

    assert b"BEGIN EC PRIVATE KEY" in (tmp_path / "key.pem").read_bytes()
    assert seen(await credentials.sign(png(), PAINTER), root).state == "Trusted"


async def test_many_are_signed_at_once(files: dict[str, Path], root: Authority) -> None:
    credentials = make(files)
    signed = await asyncio.gather(*(credentials.sign(png(8 + side), PAINTER) for side in range(16)))

    assert {seen(each, root).state for each in signed} == {"Trusted"}


async def test_once_the_certificate_has_ended_pictures_wait(files: dict[str, Path]) -> None:
    clock = [datetime.now(UTC)]
    chain, key = (files[name].read_bytes() for name in ("c2pa_certificates", "c2pa_key"))
    credentials = Credentials(chain, key, timestamp_url="", now=lambda: clock[0])
    await credentials.sign(png(), PAINTER)
    clock[0] = credentials.ends_at

    with pytest.raises(Unavailable):
        await credentials.sign(png(), PAINTER)


async def test_while_the_time_stamp_authority_is_away_pictures_wait(files: dict[str, Path]) -> None:
    credentials = make(files, c2pa_timestamp_url="http://127.0.0.1:9/stamp")

    with pytest.raises(Unavailable):
        await credentials.sign(png(), PAINTER)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl plays the time-stamp authority")
async def test_a_time_stamp_authority_attests_when(files: dict[str, Path], root: Authority, tmp_path: Path) -> None:
    with stamping(tmp_path, root) as url:
        signed = await make(files, c2pa_timestamp_url=url).sign(png(), PAINTER)

    told = seen(signed, root)
    assert told.state == "Trusted"
    assert abs(datetime.fromisoformat(told.manifest["signature_info"]["time"]) - datetime.now(UTC)) < timedelta(
        minutes=5
    )


def spoiled(folder: Path, root: Authority, how: str) -> dict[str, Any]:
    """Settings with which nothing can be signed."""
    good = signer(folder, by=root)
    match how:
        case "no key":
            return {"c2pa_certificates": good["c2pa_certificates"]}
        case "no certificates":
            return {"c2pa_key": good["c2pa_key"]}
        case "missing file":
            return good | {"c2pa_key": folder / "nowhere.pem"}
        case "another's key":
            (folder / "other").mkdir()
            return good | {"c2pa_key": signer(folder / "other", by=root)["c2pa_key"]}
        case "swapped":
            return {"c2pa_certificates": good["c2pa_key"], "c2pa_key": good["c2pa_certificates"]}
        case "no pem":
            good["c2pa_key"].write_text("no key")
            return good
        case "another's chain":
            chain = good["c2pa_certificates"]
            chain.write_bytes(chain.read_bytes().partition(END)[0] + END + authority().root.public_bytes(PEM))
            return good
        case "root first":
            leaf, end, rest = good["c2pa_certificates"].read_bytes().partition(END)
            good["c2pa_certificates"].write_bytes(rest + leaf + end)
            return good
    return signer(folder, by=root, **SPOILED[how])


SPOILED: dict[str, dict[str, Any]] = {
    "ended": {"lives": timedelta(days=-1)},
    "for servers": {"usage": ExtendedKeyUsageOID.SERVER_AUTH},
    "for nothing": {"usage": None},
    "locked": {"secret": b"open sesame"},
    "odd curve": {"key": ec.generate_private_key(ec.SECP256K1())},
}
TOLD = {
    "no key": "set both",
    "no certificates": "set both",
    "missing file": "nowhere.pem: No such file",
    "another's key": "is not the key of the first certificate",
    "another's chain": "did not issue",
    "swapped": "no certificates in PEM",
    "no pem": "no private key in PEM",
    "root first": "is not the key of the first certificate",
    "ended": "has ended at",
    "for servers": "emailProtection as its extended key usage",
    "for nothing": "emailProtection as its extended key usage",
    "locked": "passphrase",
    "odd curve": "it is secp256k1; it must be one of",
}


@pytest.mark.parametrize("how", TOLD)
def test_what_cannot_sign_is_refused_at_the_start_and_says_why(tmp_path: Path, root: Authority, how: str) -> None:
    with pytest.raises(ConfigError, match=TOLD[how]):
        make(spoiled(tmp_path, root, how))


def test_a_time_stamp_authority_has_an_http_url() -> None:
    with pytest.raises(ValueError, match=r"https://timestamp.example.org"):
        Settings(c2pa_timestamp_url="timestamp.example.org")


async def test_no_server_starts_that_cannot_sign(tmp_path: Path, root: Authority) -> None:
    settings = Settings(data_dir=tmp_path / "data", port=0, **spoiled(tmp_path, root, "ended"))
    announced: list[str] = []

    with pytest.raises(ConfigError, match="the certificate of Test signer has ended at"):
        await processes.up(settings, lambda url, _: announced.append(url))
    with pytest.raises(ConfigError, match="the certificate of Test signer has ended at"):
        await processes.work(settings)
    assert announced == []


def test_the_doctor_says_who_signs_and_until_when(files: dict[str, Path], tmp_path: Path) -> None:
    environment = {f"GESSO_{name.upper()}": str(path) for name, path in files.items()}
    said = CliRunner().invoke(main, ["doctor", "--data-dir", str(tmp_path / "data")], env=environment)

    ends = datetime.now(UTC) + A_YEAR
    assert re.search(rf"^signing +outputs, by Test signer, until {ends.year}-", said.stdout, re.MULTILINE), said.output


def test_without_the_extra_it_says_what_to_install(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gesso.files.credentials")
    monkeypatch.setitem(sys.modules, "c2pa", None)

    with pytest.raises(ConfigError, match=r"gesso\[server,c2pa\]"):
        make(files)


async def with_references(house: House, *data: bytes, prompt: str = "picture:RGB") -> Request:
    """A request whose pictures are already frozen."""
    keys = [new_key() for _ in data]
    hashes = [await house.parts.blobs.put(key, each) for key, each in zip(keys, data, strict=True)]
    pictures = tuple(
        Picture("image_urls", index, f"https://example.org/{index}.png", key, sha256)
        for index, (key, sha256) in enumerate(zip(keys, hashes, strict=True))
    )
    input = {"prompt": prompt, "image_size": "512*512 (1:1)", "image_urls": [each.url for each in pictures]}
    request = Request.new(owner=OWNER, model_id=house.script.model, input=input, at=now(), pictures=pictures)
    await house.queue.add(request)
    return request


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of each chunk of a PNG."""
    found, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += size + 12
    return found


def chunk(data: bytes, kind: bytes) -> bytes:
    return dict(chunks(data))[kind]


def join(parts: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )
