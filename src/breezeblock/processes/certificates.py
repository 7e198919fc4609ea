"""The certificate and the key that the API speaks TLS with: read, checked, and read again when the files change.

A pair is read at once, checked as a whole and handed on in memory, so that nobody ever serves a certificate with another's
key because the files were being replaced at that moment. The key is decrypted here, and its password goes no further.
"""

import os
import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from breezeblock.options import Api

__all__ = ["Pair", "Unusable", "read_pair", "stamp"]


class Unusable(Exception):
    """The files cannot be used; the text says which, and why."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, each in memory that has a descriptor, and who vouches for clients."""

    certificate_file: int
    key_file: int
    client_ca_file: int | None
    subject: str
    not_after: datetime
    stamp: tuple[object, ...]

    def close(self) -> None:
        """Let go of the memory; whoever has read it goes on."""
        for file in (self.certificate_file, self.key_file, self.client_ca_file):
            if file is not None:
                os.close(file)


def stamp(api: Api) -> tuple[object, ...]:
    """What changes whenever one of the files does. A missing one is a change, too."""
    return tuple(_stamp(path) for path in (api.tls_certificate, api.tls_key, api.tls_client_ca))


def _stamp(path: Path | None) -> object:
    if path is None:
        return None
    try:
        found = path.stat()  # of what a link means: a mounted secret is replaced by moving a link
    except OSError as error:
        return error.errno
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read_pair(api: Api) -> Pair:
    """Read the files that the options name. Raises Unusable."""
    assert api.tls_certificate is not None and api.tls_key is not None, "settings of half a pair were accepted"
    seen = stamp(api)
    chain = _read(api.tls_certificate)
    key = _key(_read(api.tls_key), api.tls_key, api.tls_key_password)
    first = _first(chain, api.tls_certificate)
    if _public(_key_of(first, api.tls_certificate)) != _public(key.public_key()):
        raise Unusable(f"The key {api.tls_key} is not that of the certificate {api.tls_certificate}.")
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    client_ca = None if api.tls_client_ca is None else _read(api.tls_client_ca)
    if client_ca is not None:
        _first(client_ca, api.tls_client_ca)
    with ExitStack() as made:  # of a pair that comes to nothing no descriptor stays: it is tried again and again

        def keep(name: str, content: bytes) -> int:
            file = _in_memory(name, content)
            made.callback(os.close, file)
            return file

        pair = Pair(
            certificate_file=keep("certificate", chain),
            key_file=keep("key", plain),
            client_ca_file=None if client_ca is None else keep("client-ca", client_ca),
            subject=first.subject.rfc4514_string(),
            not_after=first.not_valid_after_utc,
            stamp=seen,
        )
        _require_loadable(pair, api)
        made.pop_all()
    return pair


def is_expired(pair: Pair, now_us: int) -> bool:
    """Whether clients will refuse it."""
    return pair.not_after < datetime.fromtimestamp(now_us / 1_000_000, UTC)


def _require_loadable(pair: Pair, api: Api) -> None:
    """A TLS library takes the whole chain, not only what was looked at here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(path_of(pair.certificate_file), path_of(pair.key_file))
        if pair.client_ca_file is not None:
            context.load_verify_locations(path_of(pair.client_ca_file))
    except (ssl.SSLError, OSError) as error:
        raise Unusable(f"The certificate {api.tls_certificate} with its key cannot be used: {error}.") from error


def path_of(file: int) -> str:
    """A name for memory that a library wants to open."""
    return f"/proc/self/fd/{file}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}.") from error


def _first(chain: bytes, path: Path | None) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise Unusable(f"{path} has no certificate: expected PEM that begins with BEGIN CERTIFICATE.") from error


def _key(text: bytes, path: Path, password: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(text, password.encode() if password else None)
    except TypeError as error:  # encrypted without a password given, or the other way round
        expected = "it is not encrypted: expected no tls_key_password" if password else "it needs a tls_key_password"
        raise Unusable(f"The key {path} cannot be read: {expected}.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = "is the tls_key_password right?" if password else "expected a private key in PEM."
        raise Unusable(f"The key {path} cannot be read: {hint}") from error


def _key_of(certificate: x509.Certificate, path: Path) -> object:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unusable(f"The certificate {path} is of a kind that cannot be used: {error}.") from error


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]


def _in_memory(name: str, content: bytes) -> int:
    file = os.memfd_create(f"breezeblock-{name}")
    os.write(file, content)
    return file
