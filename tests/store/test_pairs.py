"""Whatever two ask at the same instant: what came of it comes of one order of both, too. Any two of many, on servers."""

import itertools
import os
import random
from typing import Final

import pytest
from tests.databases import urls
from tests.store.given import Base
from tests.store.pairs import BEFORE_COMMIT, Pair, differences, rows_of
from tests.store.situations import SITUATIONS

PROOF: Final = os.environ.get("BREEZEBLOCK_PROOF") == "1"
SEED: Final = int(os.environ.get("BREEZEBLOCK_SEED") or random.SystemRandom().randrange(2**32))
PAIRS: Final = 40 if PROOF else 1


@pytest.mark.skipif(not urls(), reason="takes two transactions at once: BREEZEBLOCK_TEST_DATABASE names servers")
@pytest.mark.parametrize("name", SITUATIONS)
def test_two_requests_at_once_are_as_one_after_the_other(base: Base, name: str) -> None:
    """The second begins at a statement of the first that is drawn, and at its end."""
    situation, chance = SITUATIONS[name], random.Random(f"{SEED}-{name}")
    situation.given(base)
    given = rows_of(base)
    every = list(itertools.product(sorted(situation.requests), repeat=2))

    for first, second in chance.sample(every, PAIRS):
        pair = Pair(base, given, situation.requests[first], situation.requests[second])
        found, statements = pair.beside(BEFORE_COMMIT)
        assert found in pair.serial, f"{first} and {second}, BREEZEBLOCK_SEED={SEED}\n{differences(found, pair.serial)}"
        at = chance.randrange(statements)
        found, _ = pair.beside(at)
        assert found in pair.serial, (
            f"{first} and, at {at}, {second}, BREEZEBLOCK_SEED={SEED}\n{differences(found, pair.serial)}"
        )
