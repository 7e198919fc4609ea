"""One seed for the whole suite, printed; examples are drawn from it alone."""

import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from tests.fuzz.world import FuzzApi

SUITE_SECONDS = float(os.environ.get("BREEZEBLOCK_SUITE_SECONDS", "60"))
PROOF = os.environ.get("BREEZEBLOCK_PROOF") == "1"

_SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture)
# Nothing is shrunk: that may take minutes for each failure, and what is sent is one short request anyway.
_PHASES = (Phase.explicit, Phase.generate)
settings.register_profile(
    "fuzz",
    deadline=None,
    database=None,
    phases=_PHASES,
    suppress_health_check=_SLOW_IS_FINE,
    max_examples=80,
)
settings.register_profile("fuzz-proof", settings.get_profile("fuzz"), max_examples=500)
settings.load_profile("fuzz-proof" if PROOF else "fuzz")


def pytest_configure(config: pytest.Config) -> None:
    """Without --hypothesis-seed (as the suites' script gives it) the seed is BREEZEBLOCK_SEED, or a fresh one."""
    if getattr(config.option, "hypothesis_seed", None) is None:
        chosen = os.environ.get("BREEZEBLOCK_SEED") or str(random.SystemRandom().randrange(2**32))
        config.option.hypothesis_seed = chosen


def pytest_report_header(config: pytest.Config) -> str:
    return f"BREEZEBLOCK_SEED={config.option.hypothesis_seed}"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzApi]:
    api = FuzzApi(tmp_path_factory.mktemp("fuzz"))
    yield api
    api.close()
