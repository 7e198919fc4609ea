"""The searches of this run, two at a time. Real spin: what is missing is installed, and what cannot be installed fails."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from scripts import check_models
from scripts.check_models import Case, Found


class Searches:
    """Each case is searched once, whoever asks for it. The small ones begin before anybody asks."""

    def __init__(self, pool: ThreadPoolExecutor, cases: Iterable[Case]) -> None:
        self._pool = pool
        self._begun: dict[Case, Future[Found]] = {}
        for case in cases:
            self._begin(case)

    def _begin(self, case: Case) -> Future[Found]:
        if case not in self._begun:
            self._begun[case] = self._pool.submit(check_models.search, case)
        return self._begun[case]

    def result(self, case: Case) -> Found:
        """What the search of a case told."""
        return self._begin(case).result()


def cases_of(items: Iterable[pytest.Item]) -> list[Case]:
    """The cases that the tests of this run are about, without the large ones: those come one at a time."""
    specs = (getattr(item, "callspec", None) for item in items)
    cases = [spec.params["case"] for spec in specs if spec is not None and "case" in spec.params]
    return [case for case in cases if case in check_models.USUAL]


@pytest.fixture(scope="session")
def searches(request: pytest.FixtureRequest) -> Iterator[Searches]:
    check_models.install()
    pool = ThreadPoolExecutor(check_models.AT_ONCE)
    try:
        yield Searches(pool, cases_of(request.session.items))
    finally:
        pool.shutdown(cancel_futures=True)
