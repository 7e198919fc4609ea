"""A fresh database of each kind, as the tests of upgrades have them."""

from tests.upgrade.conftest import a_galera, a_mariadb, a_postgresql, database

__all__ = ["a_galera", "a_mariadb", "a_postgresql", "database"]
