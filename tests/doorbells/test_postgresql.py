"""What only PostgreSQL does."""

import asyncio

from tests.doorbells.bells import Kind
from tests.servers.postgresql import PostgreSQL


def test_a_server_that_only_reads_is_passed_over(postgresql: Kind, postgresql_server: PostgreSQL) -> None:
    """As a replica is: it would take the connection, and refuse each ring."""
    postgresql_server.create_database("replica")
    replica = postgresql_server.libpq_url("replica")
    with postgresql_server.admin() as connection:
        connection.execute("ALTER DATABASE replica SET default_transaction_read_only = on")

    async def main() -> None:
        bell = postgresql.bell_at(replica, postgresql.url)
        async with postgresql.ears(postgresql.queue) as ears:
            bell.ring(postgresql.queue)
            await ears.hear()
        bell.close()

    asyncio.run(main())
