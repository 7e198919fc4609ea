"""The judge of the races has to be strict: it refuses what cannot have been."""

import pytest
from tests.race.model import Answered, State, explain

WON = {kind: Answered(kind, True) for kind in ("delete", "extend", "snapshot", "clone", "retype", "reset")}


def lost(kind: str, message: str) -> Answered:
    return Answered(kind, False, message)


@pytest.mark.parametrize(
    "answers",
    [
        [WON["delete"], lost("extend", "Volume x has status deleting; it must be available.")],
        [WON["snapshot"], WON["clone"], WON["snapshot"], lost("delete", "Volume x still has snapshots; …")],
        [WON["snapshot"], WON["extend"], lost("delete", "Volume x has status extending; …")],
        [WON["extend"], WON["reset"], lost("retype", "Volume x is still being worked on, …")],
        [WON["clone"], WON["delete"]],
    ],
)
def test_what_can_have_been_is_explained(answers: list[Answered]) -> None:
    assert explain(State(), answers) is not None


@pytest.mark.parametrize(
    "answers",
    [
        [WON["delete"], WON["extend"]],
        [WON["delete"], WON["snapshot"]],
        [WON["delete"], WON["delete"]],
        [WON["extend"], WON["extend"]],
        [WON["extend"], lost("delete", "Volume x has status deleting; …")],
        [lost("extend", "Volume x has status extending; …")],
        [WON["extend"], WON["retype"], WON["reset"]],
    ],
)
def test_what_cannot_have_been_is_not(answers: list[Answered]) -> None:
    assert explain(State(), answers) is None
