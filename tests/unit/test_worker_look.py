"""What a worker looks for is asked by another thread than the one in which operations begin and end."""

from breezeblock.node.worker import Worker

# What changes while the look is made; and the methods that read it.
CHANGING = {"_running", "_revoked", "_guards", "_alone", "_unserved", "_busy", "_room_for_patient", "_still_works"}


def test_the_look_for_work_reads_nothing_that_changes_meanwhile() -> None:
    """A worker once ended with "dictionary changed size during iteration", and all that it had was to be taken over."""
    named = {*Worker._look.__code__.co_names, *Worker._is_patient.__code__.co_names}

    assert {"_backends", "_catalogue"} <= named
    assert named.isdisjoint(CHANGING)
