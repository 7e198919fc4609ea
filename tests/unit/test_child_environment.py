"""What children inherit, and what a start refuses before any child is there."""

from pathlib import Path

import pytest
from tests.edge.authority import Authority

from breezeblock import settings
from breezeblock.supervisor.child import _environment
from breezeblock.supervisor.up import CannotStart, _require_certificate


def test_options_are_not_inherited_and_everything_else_is() -> None:
    """They are in the brief, secrets among them; what is no option may steer a library, or a test."""
    environ = {
        "BREEZEBLOCK_DATABASE__URL": "postgresql://u:secret@h/d",
        "BREEZEBLOCK_API__TLS_KEY_PASSWORD": "secret",
        "BREEZEBLOCK_RECORD_CALLS": "/tmp/calls",
        "CREDENTIALS_DIRECTORY": "/run/credentials/bb",
        "PATH": "/usr/bin",
        "HTTP__PROXY": "x",
    }

    assert _environment(environ).keys() == {"BREEZEBLOCK_RECORD_CALLS", "CREDENTIALS_DIRECTORY", "PATH", "HTTP__PROXY"}


def test_a_certificate_that_nobody_could_serve_ends_the_start(tmp_path: Path) -> None:
    """Else every API process would die of it, again and again."""
    pair = Authority(tmp_path).write("one", password="open sesame")
    options = {"api.tls_certificate": pair.certificate, "api.tls_key": pair.key}

    with pytest.raises(CannotStart, match="it needs a tls_key_password"):
        _require_certificate(settings.load(None, {}, options).settings)
    _require_certificate(settings.load(None, {}, options | {"api.tls_key_password": "open sesame"}).settings)
    _require_certificate(settings.load(None, {}).settings)
