"""A real Keystone for these tests, with a user of the service's own and a few people."""

from collections.abc import Iterator
from typing import Final

import pytest
from tests.servers.keystone import Keystone, keystone
from tests.servers.needed import needed

SERVICE_USER: Final = ("breezeblock", "passwordofbreezeblock")
NOVA: Final = ("nova", "passwordofnova")
ANN, BOB, MAX = (("ann", "passwordofann"), ("bob", "passwordofbob"), ("max", "passwordofmax"))
ONE, TWO = "one", "two"
# The project of administrators, as operators of large clouds name one.
RESOURCE: Final = f"[resource]\nadmin_project_domain_name = Default\nadmin_project_name = {Keystone.PROJECT}\n"


@pytest.fixture(scope="session")
def identity() -> Iterator[Keystone]:
    """Ann is a member of project one, Bob of two, and Max only reads one; Nova is a service."""
    with needed(keystone(more=RESOURCE)) as server:
        for who in (SERVICE_USER, NOVA):
            server.add_user(*who, project="service", roles=("service",))
        server.add_user(*ANN, project=ONE)
        server.add_user(*BOB, project=TWO)
        server.add_user(*MAX, project=ONE, roles=("reader",))
        yield server
