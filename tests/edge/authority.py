"""Somebody who vouches for certificates, and the certificates: for the service, for clients, encrypted, expired."""

import datetime
import ipaddress
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

__all__ = ["Authority", "Files"]

HOST: Final = "127.0.0.1"
_SERIALS: Final = itertools.count(1)


@dataclass(frozen=True)
class Files:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs what it is asked to. `path` is what others are told to trust."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        certificate = (
            _begun(self._name, self._name, self._key, days=2)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(certificate.public_bytes(Encoding.PEM))

    def write(self, name: str, *, password: str = "", days: int = 1, into: Files | None = None) -> Files:
        """A new certificate that is called so; into the files of an older one, if those are given."""
        files = into or Files(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _begun(_named(name), self._name, key, days=days)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        sealed: KeySerializationEncryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        _replace(files.certificate, certificate.public_bytes(Encoding.PEM))
        _replace(files.key, key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, sealed))
        return files


def _begun(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(next(_SERIALS))
        .not_valid_before(now - datetime.timedelta(days=3))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _replace(path: Path, content: bytes) -> None:
    """As tools that renew certificates do: at once."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.replace(path)
