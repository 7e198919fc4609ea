"""Reading: pages of rows, their number, one row by id. The same few statements however many rows there are.

A page is found by key, not by counting: the marker's own values are read and the page starts after them, so that page
one thousand costs what page one does. A `Listing` says what of a table can be filtered and sorted, under which names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    Table,
    and_,
    bindparam,
    func,
    literal,
    null,
    or_,
    select,
)

from breezeblock.model.errors import NotFound
from breezeblock.store.tables import backups, snapshots, volume_types, volumes

Op = Literal["eq", "neq", "gt", "gte", "lt", "lte", "like", "has", "place"]
Direction = Literal["asc", "desc"]


class Condition(NamedTuple):
    """One filter. `has` means: this map of texts, kept as JSON, has that key with that value.

    `place` means: this pool is that one, or is of that backend, or of a backend of that host, by how much of it is named.
    """

    attribute: str
    op: Op
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What part of a list is wanted. A project of None means all projects."""

    project_id: str | None
    limit: int
    sort: tuple[tuple[str, Direction], ...]
    where: tuple[Condition, ...] = ()
    marker: str | None = None
    offset: int = 0
    with_count: bool = False


class Found(NamedTuple):
    rows: Sequence[Row[Any]]
    # The number of all rows that the filters let through, when it was asked for.
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A kind of resource, as lists see it. `attributes`: what filters and sort keys may name, and nothing else."""

    noun: str
    table: Table
    source: FromClause
    columns: tuple[ColumnElement[Any], ...]
    attributes: Mapping[str, ColumnElement[Any]]

    def base(self, project_id: str | None) -> Select[Any]:
        """The rows of a project, or of all, that requests can see."""
        query = select(*self.columns).select_from(self.source)
        if "tombstone" in self.table.c:
            query = query.where(~self.table.c.tombstone)
        if project_id is not None:
            query = query.where(self.table.c.project_id == project_id)
        return query


def page(tx: Connection, listing: Listing, wanted: Page) -> Found:
    """One page of a list. Raises NotFound for a marker that is not there. At most three statements."""
    filtered = listing.base(wanted.project_id).where(*(_holds(listing, one) for one in wanted.where))
    total = None
    if wanted.with_count:
        total = tx.execute(select(func.count()).select_from(filtered.order_by(None).subquery())).scalar_one()
    sort = _total(wanted.sort)
    query = filtered
    if wanted.marker is not None:
        query = query.where(_after(tx, listing, sort, wanted))
    for key, direction in sort:
        column = _ordered(listing, key)
        query = query.order_by(column.desc() if direction == "desc" else column.asc())
    query = query.limit(wanted.limit)
    if wanted.offset:
        query = query.offset(wanted.offset)
    return Found(tx.execute(query).fetchall(), total)


def one(tx: Connection, listing: Listing, *, id_: str, project_id: str | None) -> dict[str, Any]:
    """The row with that id, if that project (None: anybody) may see it. Raises NotFound."""
    query = _ONE[listing.noun, project_id is None]
    row = tx.execute(query, {"id_": id_, "project_": project_id}).mappings().first()
    if row is None:
        raise missing(listing.noun, id_)
    return dict(row)


def missing(noun: str, id_: str) -> NotFound:
    """The refusal for a row that is not there, or not for this caller: the two must not be told apart."""
    return NotFound(f"{noun} {id_} could not be found.")


def _total(sort: tuple[tuple[str, Direction], ...]) -> tuple[tuple[str, Direction], ...]:
    """The sort keys, completed so that no two rows are equal. What is added follows the first key's direction."""
    direction: Direction = sort[0][1] if sort else "desc"
    named = {key for key, _ in sort}
    return sort + tuple((key, direction) for key in ("created_at", "id") if key not in named)


def _ordered(listing: Listing, key: str) -> ColumnElement[Any]:
    """What rows are sorted by. Databases disagree about where NULL sorts, so it becomes the smallest value."""
    column = listing.attributes[key]
    if getattr(column, "nullable", False):
        return func.coalesce(column, "" if column.type.python_type is str else 0)
    return column


def _after(
    tx: Connection, listing: Listing, sort: tuple[tuple[str, Direction], ...], wanted: Page
) -> ColumnElement[bool]:
    """True for the rows behind the marker. Raises NotFound when there is no such row for this caller."""
    ordered = [_ordered(listing, key) for key, _ in sort]
    query = listing.base(wanted.project_id).with_only_columns(*ordered).where(listing.table.c.id == wanted.marker)
    values = tx.execute(query).first()
    if values is None:
        raise missing(listing.noun, str(wanted.marker))
    alternatives: list[ColumnElement[bool]] = []
    equal: list[ColumnElement[bool]] = []
    for column, (_, direction), value in zip(ordered, sort, values, strict=True):
        alternatives.append(and_(*equal, column < value if direction == "desc" else column > value))
        equal.append(column == value)
    first = ordered[0] <= values[0] if sort[0][1] == "desc" else ordered[0] >= values[0]
    return and_(first, or_(*alternatives))  # the bound on the first key alone lets an index find the place


def _holds(listing: Listing, condition: Condition) -> Any:
    column = listing.attributes[condition.attribute]
    value = condition.value
    match condition.op:
        case "eq":
            return column.is_(None) if value is None else column == value
        case "neq":
            return column != value
        case "gt":
            return column > value
        case "gte":
            return column >= value
        case "lt":
            return column < value
        case "lte":
            return column <= value
        case "like":
            return contains(column, value)
        case "place":
            return _is_at(column, value)
        case "has":
            # `value` is the pair as JSON. A pair follows a brace or a comma, and neither can stand before a quote that
            # opens a key in any other place, as keys hold neither.
            return or_(*(contains(column, f"{before}{value}") for before in "{,"))


def _is_at(column: ColumnElement[Any], place: str) -> ColumnElement[bool]:
    """`node` has the pools of `node@…`, and `node@backend` those of `node@backend#…`.

    Ranges, and not prefixes, because an index serves them on every database: texts are compared by code points here.
    """
    marks = "" if "#" in place else "#" if "@" in place else "#@"
    below = (and_(column >= place + mark, column < place + chr(ord(mark) + 1)) for mark in marks)
    return or_(column == place, *below)


def contains(column: ColumnElement[Any], part: str) -> ColumnElement[bool]:
    """Whether a text has that part, character by character. LIKE would ignore case on some databases."""
    return func.replace(column, part, "") != column if part else column.is_not(None)


# --- what there is to list -------------------------------------------------------------------------------------------

# Columns that no answer shows. A list of a thousand rows is the faster for each that is left out.
PRIVATE: Final = frozenset(
    {"op_seq", "tombstone", "previous_status", "object_name", "admin_metadata_json", "charged_gib", "charged_type_id"}
    | {"managed_from"}
)


def _without(table: Table, names: frozenset[str]) -> tuple[ColumnElement[Any], ...]:
    return tuple(column for column in table.c if column.key not in names)


VOLUMES: Final = Listing(
    noun="Volume",
    table=volumes,
    source=volumes.outerjoin(volume_types, volumes.c.volume_type_id == volume_types.c.id),
    columns=(
        *_without(volumes, PRIVATE),
        volume_types.c.name.label("volume_type_name"),
        null().label("attachments_json"),  # filled where volumes are shown (`shown_volumes`)
    ),
    attributes={
        "id": volumes.c.id,
        "project_id": volumes.c.project_id,
        "user_id": volumes.c.user_id,
        "name": volumes.c.name,
        "description": volumes.c.description,
        "size": volumes.c.size_gib,
        "status": volumes.c.status,
        "attach_status": volumes.c.attach_status,
        "migration_status": volumes.c.migration_status,
        "volume_type_id": volumes.c.volume_type_id,
        "availability_zone": volumes.c.availability_zone,
        "host": volumes.c.pool_name,
        "snapshot_id": volumes.c.snapshot_id,
        "source_volid": volumes.c.source_volid,
        "bootable": volumes.c.bootable,
        "multiattach": volumes.c.multiattach,
        "encrypted": volumes.c.encrypted,
        "replication_status": volumes.c.replication_status,
        "encryption_key_id": volumes.c.encryption_key_id,
        "metadata": volumes.c.metadata_json,
        "image_metadata": volumes.c.image_metadata_json,
        "created_at": volumes.c.created_at_us,
        "updated_at": volumes.c.updated_at_us,
        "group_id": volumes.c.group_id,
        "consumes_quota": literal(True),  # there are no temporary volumes yet
    },
)

SNAPSHOTS: Final = Listing(
    noun="Snapshot",
    table=snapshots,
    source=snapshots,
    columns=_without(snapshots, PRIVATE | {"image_metadata_json", "encryption_key_id", "bootable"}),
    attributes={
        "id": snapshots.c.id,
        "project_id": snapshots.c.project_id,
        "user_id": snapshots.c.user_id,
        "name": snapshots.c.name,
        "description": snapshots.c.description,
        "size": snapshots.c.size_gib,
        "status": snapshots.c.status,
        "progress": snapshots.c.progress,
        "volume_id": snapshots.c.volume_id,
        "volume_type_id": snapshots.c.volume_type_id,
        "host": snapshots.c.pool_name,
        "availability_zone": select(volumes.c.availability_zone)
        .where(volumes.c.id == snapshots.c.volume_id)
        .scalar_subquery(),
        "metadata": snapshots.c.metadata_json,
        "created_at": snapshots.c.created_at_us,
        "updated_at": snapshots.c.updated_at_us,
        "consumes_quota": snapshots.c.consumes_quota,
        "group_snapshot_id": snapshots.c.group_snapshot_id,
    },
)


_DEPENDENT: Final = backups.alias("dependent")
# What of a backup nobody lists.
_OWN: Final = frozenset(
    {"archive_id", "manifest", "pin", "temp_volume_id", "temp_snapshot_id", "encryption_key_id", "image_metadata_json"}
)

BACKUPS: Final = Listing(
    noun="Backup",
    table=backups,
    source=backups,
    columns=(
        *_without(backups, PRIVATE | _OWN),
        select(func.count())
        .where(_DEPENDENT.c.parent_id == backups.c.id, ~_DEPENDENT.c.tombstone)
        .scalar_subquery()
        .label("dependent_backups"),
    ),
    attributes={
        "id": backups.c.id,
        "project_id": backups.c.project_id,
        "user_id": backups.c.user_id,
        "name": backups.c.name,
        "description": backups.c.description,
        "size": backups.c.size_gib,
        "status": backups.c.status,
        "volume_id": backups.c.volume_id,
        "snapshot_id": backups.c.snapshot_id,
        "parent_id": backups.c.parent_id,
        "container": backups.c.container,
        "fail_reason": backups.c.fail_reason,
        "object_count": backups.c.object_count,
        "availability_zone": backups.c.availability_zone,
        "host": backups.c.host,
        "metadata": backups.c.metadata_json,
        "data_timestamp": backups.c.data_timestamp_us,
        "created_at": backups.c.created_at_us,
        "updated_at": backups.c.updated_at_us,
    },
)


def _one(listing: Listing, *, anybody: bool) -> Select[Any]:
    query = listing.base(None).where(listing.table.c.id == bindparam("id_"))
    return query if anybody else query.where(listing.table.c.project_id == bindparam("project_"))


# Built once: reading one row is what clients that wait do all day.
_ONE: Final = {
    (listing.noun, anybody): _one(listing, anybody=anybody)
    for listing in (VOLUMES, SNAPSHOTS, BACKUPS)
    for anybody in (True, False)
}


# --- the summary of volumes ------------------------------------------------------------------------------------------

# Distinct metadata texts that a summary looks at; a project with more gets those of its smallest texts.
SUMMARY_METADATA_MAX: Final = 10_000


class Summary(NamedTuple):
    volumes: int
    size_gib: int
    metadata_texts: Sequence[str]


def summarize_volumes(tx: Connection, *, project_id: str | None, where: Sequence[Condition] = ()) -> Summary:
    """How many volumes a project (None: everybody) has that fit, their size, and the distinct metadata that all carry."""
    seen = (
        ~volumes.c.tombstone if project_id is None else and_(~volumes.c.tombstone, volumes.c.project_id == project_id)
    )
    fit = and_(seen, *(_holds(VOLUMES, one) for one in where))
    count, size = tx.execute(select(func.count(), func.coalesce(func.sum(volumes.c.size_gib), 0)).where(fit)).one()
    texts = tx.execute(
        select(volumes.c.metadata_json)
        .where(seen, volumes.c.metadata_json != "{}")
        .distinct()
        .order_by(volumes.c.metadata_json)
        .limit(SUMMARY_METADATA_MAX)
    ).scalars()
    return Summary(count, int(size), list(texts))
