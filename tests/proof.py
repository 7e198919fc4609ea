"""What a machine cannot do: left out in the tests of every day, a failure in the long run that is quoted as a proof."""

import os
from typing import Final, NoReturn

import pytest

__all__ = ["PROOF", "not_here"]

# Set by scripts/run_tests.py --proof.
PROOF: Final = os.environ.get("BREEZEBLOCK_PROOF") == "1"


def not_here(reason: str) -> NoReturn:
    """Skip the test; in a proof, fail it: what was not tried is not proved."""
    if PROOF:
        pytest.fail(f"a proof needs a machine that can do this: {reason}", pytrace=False)
    pytest.skip(reason)
