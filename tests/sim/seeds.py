"""Which seeds this run of the suite tries, and how many: `BREEZEBLOCK_SEED` chooses the first, and is always printed."""

import os
from random import SystemRandom
from typing import Final

BASE: Final = int(os.environ.get("BREEZEBLOCK_SEED") or SystemRandom().randrange(1 << 32))
TOLD: Final[list[str]] = []
"""What the tests want said at the end of the run, whatever came of it."""
PROOF: Final = os.environ.get("BREEZEBLOCK_PROOF") == "1"


def seeds(quick: int, proof: int) -> range:
    """So many seeds in the inner loop, and so many in the long runs."""
    return range(BASE, BASE + (proof if PROOF else quick))
