"""What a made-up history counts as."""

from breezeblock.testing.counts import counted
from breezeblock.testing.history import History


def test_a_history_is_counted() -> None:
    tell = History(lambda: 0.0)
    for name, incarnation in (("node0.keeper1", "a"), ("node0-2.keeper2", "b"), ("node1.keeper1", "c")):
        tell("", kind="identity", process=name, incarnation=incarnation)
    for number, answer in enumerate(("accepted", "answered", "refused", "unavailable")):
        tell("", kind="request", number=number, call="extend")
        tell("", kind="answer", number=number, answer=answer)
    tell("", kind="fault", fault="crash", number=1)
    for operation, owners in (("same", "ab"), ("other", "ac"), ("back", "aca"), ("one", "c")):
        for owner in owners:
            tell("", kind="owned", operation=operation, owner=owner, epoch=1)
            tell("", kind="owned", operation=operation, owner=None, epoch=2)
        tell("", kind="ended", operation=operation, operation_kind="extend_volume", outcome="done")
    tell("", kind="ended", operation="never owned", operation_kind="extend_volume", outcome="done")
    tell("", kind="resumed", resource="r", name="n")
    tell("", kind="waits", operation="one")

    assert counted(tell.entries) == {"accepted extend": 2, "struck crash": 1, "takeovers": 1, "resumed": 1, "waited": 1}
