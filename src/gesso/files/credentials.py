"""Content credentials (C2PA): a certificate and its key, judged in words, and pictures signed with them."""

import asyncio
import io
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise

import c2pa
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from PIL import Image

from gesso.core.errors import ConfigError, Unavailable
from gesso.core.ports import Clock
from gesso.files.images import encode_png
from gesso.files.manifest import Origin, manifest

ALGORITHMS = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512", "RSA": "ps256", "Ed25519": "ed25519"}
ENDS_SOON = timedelta(days=30)
RETRY_S = 5
MOST_AT_ONCE = 4
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
log = logging.getLogger(__name__)


class Credentials:
    """Signs PNGs by a certificate, in threads of its own: a time-stamp authority may be silent for 30 s.

    Args:
        chain: certificates in PEM, the signer's own first; the root may be left out.
        key: its private key in PEM, without a passphrase.
        timestamp_url: of an authority (RFC 3161) that attests when; empty: nobody does.

    Raises:
        ConfigError: when nothing can be signed with these.
    """

    def __init__(self, chain: bytes, key: bytes, *, timestamp_url: str, now: Clock) -> None:
        certificates, private = _certificates(chain), _private(key)
        _require_fit(certificates, private, now())
        self._now, self._chain, self._timestamp_url = now, chain, timestamp_url.encode()
        self._algorithm = _algorithm(private).encode()
        self._key = private.private_bytes(  # the one form that the library takes
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._context = c2pa.Context.from_dict({"builder": {"thumbnail": {"enabled": False}}})
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, "c2pa")
        self.name = _name(certificates[0])
        self.ends_at = min(each.not_valid_after_utc for each in certificates)
        self._try()
        if self.ends_at - now() < ENDS_SOON:
            log.warning("the certificate that signs pictures ends at %s; nothing is given out after that", self.ends_at)

    async def sign(self, png: bytes, origin: Origin) -> bytes:
        """*png* with a signed manifest of its *origin*; its other chunks are as they were.

        Raises:
            Unavailable: when the certificate has ended meanwhile, or the time-stamp authority is away.
        """
        if self._now() >= self.ends_at:
            log.error("the certificate that signs pictures has ended at %s: renew it, and start again", self.ends_at)
            raise Unavailable(seconds=RETRY_S)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._signed, png, origin, self._timestamp_url)
        except c2pa.C2paError as fault:
            if not self._timestamp_url:
                raise
            log.error("a picture cannot be signed and stamped: %s", fault)
            raise Unavailable(seconds=RETRY_S) from fault

    def _signed(self, png: bytes, origin: Origin, timestamp_url: bytes) -> bytes:
        signer = c2pa.C2paSignerInfo(self._algorithm, self._chain, self._key, timestamp_url or None)
        signed = io.BytesIO()
        with (
            c2pa.Signer.from_info(signer) as by,
            c2pa.Builder(manifest(origin), context=self._context) as builder,
        ):
            builder.sign(by, "image/png", io.BytesIO(png), signed)
        return signed.getvalue()

    def _try(self) -> None:
        """Sign something: the library judges the certificate's profile then. No authority is asked."""
        try:
            self._signed(encode_png(Image.new("RGB", (8, 8))), Origin("a/model", "none", "none"), b"")
        except c2pa.C2paError as fault:
            raise ConfigError(
                reason=f"c2pa_certificates cannot sign pictures ({fault}): the first must be no root, with "
                "digitalSignature as its key usage and emailProtection as its extended key usage"
            ) from None


def _certificates(chain: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(chain)
    except ValueError:
        raise ConfigError(reason="c2pa_certificates: no certificates in PEM are in that file") from None


def _private(key: bytes) -> Key:
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        raise ConfigError(reason="c2pa_key: it has a passphrase; keep one without, readable for Gesso alone") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(reason="c2pa_key: no private key in PEM is in that file") from None
    if not isinstance(private, Key):
        raise ConfigError(reason=f"c2pa_key: it must be one of {', '.join(ALGORITHMS)}")
    return private


def _algorithm(private: Key) -> str:
    match private:
        case ec.EllipticCurvePrivateKey():
            name = private.curve.name
        case rsa.RSAPrivateKey():
            name = "RSA"
        case _:
            name = "Ed25519"
    if name not in ALGORITHMS:
        raise ConfigError(reason=f"c2pa_key: it is {name}; it must be one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def _require_fit(certificates: list[x509.Certificate], private: Key, now: datetime) -> None:
    if certificates[0].public_key() != private.public_key():
        raise ConfigError(reason="c2pa_key is not the key of the first certificate in c2pa_certificates")
    for each, issuer in pairwise(certificates):
        _require_issued(each, issuer)
    for each in certificates:
        name, begins, ends = _name(each), each.not_valid_before_utc, each.not_valid_after_utc
        if ends <= now:
            raise ConfigError(reason=f"c2pa_certificates: the certificate of {name} has ended at {ends}: renew it")
        if begins > now:
            raise ConfigError(reason=f"c2pa_certificates: the certificate of {name} is good from {begins} only")


def _require_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        told = f"{_name(issuer)} did not issue {_name(certificate)}, which stands before it"
        raise ConfigError(reason=f"c2pa_certificates: {told}") from None


def _name(certificate: x509.Certificate) -> str:
    """Whose it is, for people."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()
