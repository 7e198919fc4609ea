"""Filters and weighers: which pools may take a volume, and in which order they are tried."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breezeblock.placement.choose import Pool, Wish, in_order, refusal

POOL = Pool(
    name="c@b#p",
    queue="c@b",
    allocated_gib=40,
    total_gib=100,
    free_gib=100,
    reserved_percentage=0,
    over_subscription_percent=100,
    availability_zone="nova",
    capabilities={"disk": "ssd"},
    enabled=True,
    live=True,
)
WISH = Wish(size_gib=10, availability_zone=None, extra_specs={})

REFUSALS = [
    (POOL, WISH, None),
    (replace(POOL, enabled=False), WISH, "is disabled"),
    (POOL, replace(WISH, pool_name="c@b#p"), None),
    (POOL, replace(WISH, pool_name="c@b#q"), "does not hold the source"),
    (POOL, replace(WISH, availability_zone="nova"), None),
    (POOL, replace(WISH, availability_zone="west"), "is in availability zone nova"),
    (POOL, replace(WISH, extra_specs={"disk": "ssd"}), None),
    (POOL, replace(WISH, extra_specs={"disk": "hdd"}), "does not offer disk=hdd"),
    (POOL, replace(WISH, size_gib=60), None),
    (POOL, replace(WISH, size_gib=61), "may promise 60 GiB more"),
    (replace(POOL, allocated_gib=130), replace(WISH, size_gib=1), "may promise 0 GiB more"),
    (replace(POOL, allocated_gib=100), replace(WISH, size_gib=0), None),
    (replace(POOL, reserved_percentage=50), replace(WISH, size_gib=11), "may promise 10 GiB more"),
    (replace(POOL, over_subscription_percent=200), replace(WISH, size_gib=160), None),
    (replace(POOL, over_subscription_percent=200), replace(WISH, size_gib=161), "may promise 160 GiB more"),
    (replace(POOL, free_gib=9), WISH, "has 9 GiB free"),
    (replace(POOL, free_gib=5, over_subscription_percent=200), WISH, None),
    (replace(POOL, free_gib=10, over_subscription_percent=90), WISH, None),
    # Not a filter: the request waits until a node is back.
    (replace(POOL, live=False), WISH, None),
]


@pytest.mark.parametrize(("pool", "wish", "why"), REFUSALS)
def test_a_pool_refuses_for_one_reason_that_can_be_read(pool: Pool, wish: Wish, why: str | None) -> None:
    """One filter after the other, each from both sides of its bound."""
    assert refusal(pool, wish) == why


@pytest.mark.parametrize(
    ("total", "reserved", "over", "limit"),
    [(100, 0, 100, 100), (100, 10, 100, 90), (99, 10, 100, 89), (99, 10, 150, 133), (0, 0, 100, 0), (100, 100, 900, 0)],
)
def test_the_limit_is_counted_in_whole_gib(total: int, reserved: int, over: int, limit: int) -> None:
    """Rounded down after each step, as the row's own condition does in SQL."""
    pool = replace(POOL, total_gib=total, reserved_percentage=reserved, over_subscription_percent=over)

    assert pool.limit_gib == limit


def test_the_emptiest_live_pool_comes_first() -> None:
    """Live before silent, then what is left to promise, then the name."""
    silent = replace(POOL, name="silent", live=False, allocated_gib=0)
    full = replace(POOL, name="full", allocated_gib=90)
    b = replace(POOL, name="b", allocated_gib=10)
    a = replace(POOL, name="a", allocated_gib=110, total_gib=200)

    assert [pool.name for pool in in_order([silent, full, b, a])] == ["a", "b", "full", "silent"]


pools = st.builds(
    Pool,
    name=st.sampled_from("abcdefgh"),
    queue=st.just("c@b"),
    allocated_gib=st.integers(0, 50),
    total_gib=st.integers(0, 50),
    free_gib=st.integers(0, 50),
    reserved_percentage=st.integers(0, 100),
    over_subscription_percent=st.integers(100, 300),
    availability_zone=st.just("nova"),
    capabilities=st.just({}),
    enabled=st.booleans(),
    live=st.booleans(),
)


@given(
    st.lists(pools, unique_by=lambda pool: pool.name).flatmap(
        lambda some: st.tuples(st.just(some), st.permutations(some))
    )
)
def test_the_order_does_not_depend_on_how_the_rows_came(both: tuple[list[Pool], list[Pool]]) -> None:
    """Two APIs that read the same rows try the same pools."""
    one, other = both

    assert in_order(one) == in_order(other)


@given(pool=pools, size_gib=st.integers(1, 100))
def test_what_is_taken_never_exceeds_the_limit(pool: Pool, size_gib: int) -> None:
    """Whatever the numbers."""
    taken = refusal(pool, replace(WISH, size_gib=size_gib)) is None

    assert not taken or pool.allocated_gib + size_gib <= pool.limit_gib
