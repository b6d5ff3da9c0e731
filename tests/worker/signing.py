"""Certificates to sign pictures with, as an operator would have them, and what a verifier sees in a signed one."""

import contextlib
import io
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

PEM = serialization.Encoding.PEM
A_YEAR = timedelta(days=365)
USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
          "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    root: x509.Certificate


def authority() -> Authority:
    key, name = ec.generate_private_key(ec.SECP256R1()), _name("Test authority")
    root = _certificate(name, name, key, A_YEAR, "key_cert_sign", "crl_sign", ca=True).sign(key, hashes.SHA256())
    return Authority(name, key, root)


def signer(
    folder: Path, key: Any = None, *, by: Authority | None = None, lives: timedelta = A_YEAR,
    usage: ObjectIdentifier | None = ExtendedKeyUsageOID.EMAIL_PROTECTION, form: str = "PKCS8", secret: bytes = b"",
) -> dict[str, Path]:  # fmt: skip
    """A chain and its key as files in *folder*: settings."""
    by, key = by or authority(), key or ec.generate_private_key(ec.SECP256R1())
    built = _certificate(_name("Test signer"), by.name, key, lives, "digital_signature")
    built = built.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), False)
    if usage:
        built = built.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    leaf = built.sign(by.key, hashes.SHA256())
    locked = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(leaf.public_bytes(PEM) + by.root.public_bytes(PEM))
    private.write_bytes(key.private_bytes(PEM, getattr(serialization.PrivateFormat, form), locked))
    return {"c2pa_certificates": chain, "c2pa_key": private}


STAMPING = """[tsa]
default_tsa = ours
[ours]
serial = {folder}/serial
default_policy = 1.2.3.4
digests = sha256
signer_digest = sha256
ess_cert_id_alg = sha256
"""


@contextlib.contextmanager
def stamping(folder: Path, by: Authority) -> Iterator[str]:
    """The URL of a time-stamp authority: openssl's own."""
    key = ec.generate_private_key(ec.SECP256R1())
    built = _certificate(_name("Test clock"), by.name, key, A_YEAR, "digital_signature")
    built = built.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), False)
    built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    plain = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "clock.pem").write_bytes(built.sign(by.key, hashes.SHA256()).public_bytes(PEM) + plain)
    (folder / "clock.cnf").write_text(STAMPING.format(folder=folder))
    words = ["openssl", "ts", "-reply", "-config", "clock.cnf", "-queryfile", "query", "-signer", "clock.pem",
             "-inkey", "clock.pem", "-out", "reply"]  # fmt: skip

    class Stamp(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (folder / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            subprocess.run(words, cwd=folder, check=True, capture_output=True)
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write((folder / "reply").read_bytes())

        def log_message(self, *told: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Stamp) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/stamp"
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Seen:
    """What a verifier says of a picture."""

    state: str
    manifest: dict[str, Any]
    failures: list[str]

    @property
    def actions(self) -> list[dict[str, Any]]:
        (told,) = [each for each in self.manifest["assertions"] if each["label"].startswith("c2pa.actions")]
        return list(told["data"]["actions"])

    @property
    def made(self) -> dict[str, Any]:
        """The last action."""
        return self.actions[-1]


def seen(png: bytes, trusts: Authority | None = None) -> Seen:
    anchors = {"trust": {"trust_anchors": trusts.root.public_bytes(PEM).decode()}} if trusts else {}
    with c2pa.Reader("image/png", io.BytesIO(png), context=c2pa.Context.from_dict(anchors)) as reader:
        results = reader.get_validation_results()["activeManifest"]
        failures = [each["code"] for each in results["failure"]]
        return Seen(reader.get_validation_state(), reader.get_active_manifest(), failures)


def _name(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Gesso"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: Any, lives: timedelta, *usages: str, ca: bool = False
) -> x509.CertificateBuilder:
    public, now = key.public_key(), datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
        .not_valid_before(now - A_YEAR)
        .not_valid_after(now + lives)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{each: each in usages for each in USAGES}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
