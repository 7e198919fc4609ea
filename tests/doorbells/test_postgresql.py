"""What only PostgreSQL does."""

import asyncio

import psycopg
from tests.doorbells.bells import QUEUE, Kind


def test_a_server_that_only_reads_is_passed_over(postgresql: Kind) -> None:
    """As a replica is: it would take the connection, and refuse each ring."""
    url = postgresql.server.url
    replica = url.removesuffix("postgres") + "replica"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE replica")
        connection.execute("ALTER DATABASE replica SET default_transaction_read_only = on")

    async def main() -> None:
        bell = postgresql.bell_at(replica, url)
        async with postgresql.ears(QUEUE) as ears:
            bell.ring(QUEUE)
            await ears.hear()
        bell.close()

    asyncio.run(main())
