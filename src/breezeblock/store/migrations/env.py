"""Alembic's way in. The connection, and the transaction around everything, come from `store.schema`."""

from alembic import context

from breezeblock.store import ddl as ddl
from breezeblock.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
