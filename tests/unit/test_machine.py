"""Which machine this is: certain, or nothing."""

from pathlib import Path

import pytest

from breezeblock.env import machine

UUID = "7b2c1f0e-93d4-4a51-8e6b-0c5d2a9f1e38"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "product_uuid"


@pytest.mark.parametrize("text", [UUID, UUID.upper() + "\n"])
def test_the_firmware_knows_the_machine(file: Path, text: str) -> None:
    """In whatever spelling."""
    file.write_text(text)

    assert machine.machine_id("", file) == f"product {UUID}"


def test_the_configuration_knows_better(file: Path) -> None:
    """For clones; and what it says is never taken for what some firmware says."""
    file.write_text(UUID)

    assert machine.machine_id(UUID, file) == f"configured {UUID}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Not Settable",
        "To be filled by O.E.M.",
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "fefefefe-fefe-fefe-fefe-fefefefefefe",
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90AB-CDDEEFAABBCC",
        UUID + UUID,
        "ÿ",
    ],
)
def test_what_many_machines_have_is_nothing(file: Path, text: str) -> None:
    """Two machines that pass for one would be fenced for each other."""
    file.write_text(text, encoding="latin-1")

    assert machine.machine_id("", file) == ""


def test_where_there_is_no_firmware_to_ask_nothing_is_certain(file: Path) -> None:
    """In many containers and on other architectures; or without the right to read it."""
    assert machine.machine_id("", file) == ""


def test_a_boot_has_an_id_of_its_own() -> None:
    """The kernel's."""
    assert machine.boot_id() == machine.BOOT_ID.read_text().strip()
    assert len(machine.boot_id()) == 36


@pytest.mark.parametrize("bogus", [*sorted(machine.BOGUS), "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_what_was_copied_into_the_settings_is_no_better_than_the_firmwares_word(tmp_path: Path, bogus: str) -> None:
    """Many machines share it: another boot of one of them would prove another machine lost."""
    assert machine.machine_id(bogus.upper(), tmp_path / "none") == ""
