"""What is backed up, in which ways, and what is done with it."""

from typing import Final

__all__ = ["ACTS", "AFAR", "CHANGED", "CINDER", "CINDER_ZSTD", "DATA", "OURS", "TITLES", "TOLD", "USUAL"]

DATA: Final = {"random": "random bytes", "mixed": "real files", "sparse": "90 % holes"}
ACTS: Final = {"full": "Full", "incremental": "Incremental", "restore": "Restore"}

OURS: Final = "breezeblock"
TOLD: Final = "breezeblock_told"
AFAR: Final = "breezeblock_afar"
CINDER: Final = "cinder_zlib"
CINDER_ZSTD: Final = "cinder_zstd"
TITLES: Final = {
    OURS: "**Breezeblock**",
    TOLD: "**Breezeblock**, told what changed",
    AFAR: "**Breezeblock**, stored elsewhere",
    CINDER: "Cinder, chunked driver at its defaults (zlib)",
    CINDER_ZSTD: "Cinder, chunked driver with zstd",
    "restic": "restic",
    "borg": "borg",
    "benji": "Benji",
}
USUAL: Final = tuple(TITLES)
# The share of a volume that is written over between the full backup and the incremental one.
CHANGED: Final = 0.01
