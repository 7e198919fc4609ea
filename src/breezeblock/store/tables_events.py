"""The tables of events, to be used from `tables`."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table

from breezeblock.store.kinds import ID, LONG, text_of
from breezeblock.store.naming import id_column, metadata

events = Table(
    "events",
    metadata,
    # What one receiver has not taken yet: a row for each, so that one that is away keeps nothing from the others.
    Column("receiver", text_of(63), primary_key=True),
    id_column("id", primary_key=True),
    id_column("resource_id"),
    # The resource's `op_seq` in the transaction that wrote it, and which of its events it is: their order.
    Column("op_seq", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    # Wall clock, for people, and for giving up what nobody has taken for days.
    Column("at_us", BigInteger, nullable=False),
    Column("event_json", LONG, nullable=False),
    Index("ix_events_line", "receiver", "resource_id", "op_seq", "number"),
    Index("ix_events_at", "receiver", "at_us"),
    sqlite_with_rowid=False,
)

events_aside = Table(
    "events_aside",
    metadata,
    # What a receiver has refused for good, as it was among its events, and the receiver's own word.
    Column("receiver", text_of(63), primary_key=True),
    id_column("id", primary_key=True),
    id_column("resource_id"),
    Column("op_seq", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    # The database's clock when it was set aside, for giving it up.
    Column("at_us", BigInteger, nullable=False),
    Column("event_json", LONG, nullable=False),
    Column("reason", LONG, nullable=False),
    Index("ix_events_aside_at", "receiver", "at_us"),
    sqlite_with_rowid=False,
)

event_receivers = Table(
    "event_receivers",
    metadata,
    Column("name", text_of(63), primary_key=True),
    # The incarnation that sends to it. It does as long as that is up or draining; each change of it raises the epoch.
    Column("holder", ID),
    Column("epoch", BigInteger, nullable=False, default=0),
    # Rises with every write by the holder, so that each of them changes something.
    Column("touched", BigInteger, nullable=False, default=0),
    Column("sent", BigInteger, nullable=False, default=0),
    # Tries that failed: all of them, and those since one did not. Events that were given up.
    Column("failed", BigInteger, nullable=False, default=0),
    Column("failures", Integer, nullable=False, default=0),
    Column("dropped", BigInteger, nullable=False, default=0),
    # Events that it has refused for good: set aside, then and since.
    Column("refused", BigInteger, nullable=False, default=0, server_default="0"),
    # Why the last try failed; NULL after one that did not.
    Column("error", LONG),
    # Database clock: nobody tries before.
    Column("not_before_us", BigInteger, nullable=False, default=0),
)

usage_periods = Table(
    "usage_periods",
    metadata,
    # How far a receiver has been told what there was in a period: all of that type up to this id. `told` counts them.
    Column("receiver", text_of(63), primary_key=True),
    Column("begins_us", BigInteger, primary_key=True),
    Column("ends_us", BigInteger, primary_key=True),
    Column("resource_type", text_of(36), primary_key=True),
    Column("after_id", ID, nullable=False),
    Column("told", BigInteger, nullable=False),
    Column("is_whole", Boolean, nullable=False),
)
