"""A request that cannot be done in time ends with an error that is true."""

from pathlib import Path

import pytest
from tests.store.test_run import Files, add

from breezeblock.model.errors import Ambiguous, Unavailable
from breezeblock.store.run import REQUEST_ATTEMPTS


def test_a_lost_answer_that_nobody_could_ask_for_stays_in_doubt(tmp_path: Path) -> None:
    """It was answered 503 with "Nothing was changed" although the change was there."""
    files = Files(tmp_path)

    with pytest.raises(Ambiguous):
        files.run(["answer lost"] + ["unavailable"] * (REQUEST_ATTEMPTS - 1), add)

    assert files.counter == 1


def test_a_request_that_never_reached_the_database_has_changed_nothing(tmp_path: Path) -> None:
    """This one may say so."""
    files = Files(tmp_path)

    with pytest.raises(Unavailable):
        files.run(["unavailable", "contended"] * REQUEST_ATTEMPTS, add)

    assert files.counter == 0
