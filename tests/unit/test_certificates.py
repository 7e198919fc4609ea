"""Certificates and keys that cannot be served are refused at the start, each with its reason."""

import errno
import os
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.edge.authority import Authority, Files

from breezeblock.options import Api
from breezeblock.processes.certificates import Unusable, is_expired, path_of, read_pair, stamp


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def options(files: Files, *, password: str = "", client_ca: Path | None = None) -> Api:
    return Api(tls_certificate=files.certificate, tls_key=files.key, tls_key_password=password, tls_client_ca=client_ca)


def refusal(api: Api) -> str:
    with pytest.raises(Unusable) as refused:
        read_pair(api)
    return str(refused.value)


def test_a_pair_is_held_in_memory_alone(authority: Authority) -> None:
    """Whoever replaces the files changes nothing of what was read; and the key lies decrypted on no disk."""
    files = authority.write("one", password="open sesame")
    pair = read_pair(options(files, password="open sesame"))
    authority.write("two", into=files)

    assert b"ENCRYPTED" not in Path(path_of(pair.key_file)).read_bytes()
    assert pair.subject == "CN=one"
    assert "memfd:" in str(Path(path_of(pair.key_file)).readlink())
    assert stat.S_ISREG(os.fstat(pair.key_file).st_mode)
    assert pair.stamp != stamp(options(files))
    pair.close()


@pytest.mark.parametrize(
    ("sealed_with", "told", "expected"),
    [("right", "", "it needs a tls_key_password"), ("right", "wrong", "is the tls_key_password right?"),
     ("", "needless", "expected no tls_key_password")],
)  # fmt: skip
def test_a_key_that_cannot_be_opened_is_told_without_its_password(
    authority: Authority, sealed_with: str, told: str, expected: str
) -> None:
    message = refusal(options(authority.write("one", password=sealed_with), password=told))

    assert expected in message
    assert not told or told not in message


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    one, two = authority.write("one"), authority.write("two")

    assert "is not that of the certificate" in refusal(options(Files(one.certificate, two.key)))


def test_files_that_are_not_what_they_should_be_are_refused_by_name(authority: Authority, tmp_path: Path) -> None:
    files, empty, absent = authority.write("one"), tmp_path / "empty", tmp_path / "absent"
    empty.touch()

    assert f"{empty} has no certificate" in refusal(options(Files(empty, files.key)))
    assert f"The key {empty} cannot be read" in refusal(options(Files(files.certificate, empty)))
    assert f"{absent} cannot be read: No such file" in refusal(options(Files(absent, files.key)))
    assert f"{empty} has no certificate" in refusal(options(files, client_ca=empty))


def test_a_missing_file_that_appears_is_a_change(authority: Authority, tmp_path: Path) -> None:
    files = Files(tmp_path / "late.crt", tmp_path / "late.key")
    before = stamp(options(files))
    authority.write("late", into=files)

    assert stamp(options(files)) != before


def test_an_expired_certificate_is_served_and_known_to_be_expired(authority: Authority) -> None:
    """Its clients refuse it; a service that does not start would help nobody."""
    pair = read_pair(options(authority.write("old", days=-1)))

    assert is_expired(pair, int(datetime.now(UTC).timestamp() * 1_000_000))
    pair.close()


def test_a_certificate_of_an_unknown_kind_is_refused(authority: Authority) -> None:
    """Its key is on a curve that nobody here knows."""
    files = authority.write("one")
    der = ssl.PEM_cert_to_DER_cert(files.certificate.read_text())
    known, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030109")
    assert known in der
    files.certificate.write_text(ssl.DER_cert_to_PEM_cert(der.replace(known, unknown)))

    assert "is of a kind that cannot be used" in refusal(options(files))


def test_a_pair_that_comes_to_nothing_leaves_no_descriptor(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again and again, also by who has too few of them."""
    files, made = authority.write("one"), os.memfd_create

    def only_certificates(name: str) -> int:
        if "key" in name:
            raise OSError(errno.EMFILE, "Too many open files")
        return made(name)

    monkeypatch.setattr(os, "memfd_create", only_certificates)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="Too many"):
        read_pair(options(files))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
