"""What a machine cannot do is left out on an ordinary day, and fails a proof."""

from pathlib import Path

import pytest
from tests import chaos, proof

CHAOS = Path(next(iter(chaos.__path__)))


@pytest.mark.parametrize(("is_proof", "ends_by"), [(False, pytest.skip.Exception), (True, pytest.fail.Exception)])
def test_what_cannot_be_tried_here_fails_a_proof_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, is_proof: bool, ends_by: type[BaseException]
) -> None:
    """With its reason."""
    monkeypatch.setattr(proof, "PROOF", is_proof)

    with pytest.raises(ends_by, match="no compiler"):
        proof.not_here("no compiler")


def test_no_chaos_test_is_left_out_in_a_proof() -> None:
    """None skips by its own word."""
    files = sorted(CHAOS.glob("*.py"))

    assert files
    assert [path.name for path in files if "pytest.skip" in path.read_text()] == []
