"""The type that a project's volumes get when they name none, where an administrator has said so.

Whoever says so writes the type's row first, and so does a deletion of the type, which asks whose default it is.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, insert, select, update

from breezeblock.model.errors import BadRequest, Contended, NotFound
from breezeblock.model.ids import ProjectId
from breezeblock.model.origin import Origin
from breezeblock.resources import types
from breezeblock.store.tables import default_types, volume_types
from breezeblock.store.transitions import lock_rows

_OWN = select(default_types.c.volume_type_id).where(default_types.c.project_id == bindparam("project"))
# One statement, since every volume that names no type asks it.
_FOR_PROJECT = select(volume_types).where(
    volume_types.c.id == func.coalesce(_OWN.scalar_subquery(), types.DEFAULT_TYPE_ID)
)


def for_project(tx: Connection, *, project_id: ProjectId, origin: Origin) -> RowMapping:
    """The type that a volume of this project gets when none is named: the project's own default, or the service's.

    Raises NotFound where that is private and not this project's to use, or the migration never ran.
    """
    row = tx.execute(_FOR_PROJECT, {"project": project_id}).mappings().first()
    if row is None:
        raise NotFound("Default volume type can not be found.")
    if row["is_public"] or row["id"] == types.DEFAULT_TYPE_ID or types.may_use(tx, type_id=row["id"], origin=origin):
        return row
    raise NotFound(
        f"Volume type {row['id']}, the default one of project {project_id}, could not be found: it is private, and not "
        "given to the project. Name another one, or ask an administrator."
    )


def get_default(tx: Connection, *, project_id: str) -> RowMapping:
    """What was said for that project. Raises NotFound where nothing was."""
    row = tx.execute(select(default_types).where(default_types.c.project_id == project_id)).mappings().first()
    if row is None:
        raise NotFound(f"Default type for project {project_id} not found.")
    return row


def list_defaults(tx: Connection) -> Sequence[RowMapping]:
    """What was said for each project, by project."""
    return tx.execute(select(default_types).order_by(default_types.c.project_id)).mappings().all()


def set_default(tx: Connection, *, project_id: str, name_or_id: str, origin: Origin) -> RowMapping:
    """Say what a project gets. Raises BadRequest for a type that is not there.

    Two at once for one project meet at its key, or one waits for the other's row: the later one counts.
    """
    try:
        type_id = types.find_type(tx, name_or_id=name_or_id, origin=origin)["id"]
    except NotFound as error:
        raise BadRequest(error.message) from error
    # It came along with its name: gone since is to be looked for again.
    lock_rows(tx, [(volume_types, type_id)], asked_for="")
    if types.find_type(tx, name_or_id=name_or_id, origin=origin)["id"] != type_id:
        raise Contended("the type was renamed before its row was ours")
    mine = default_types.c.project_id == project_id
    if tx.execute(update(default_types).where(mine).values(volume_type_id=type_id)).rowcount == 0:
        tx.execute(insert(default_types).values(project_id=project_id, volume_type_id=type_id))
    return get_default(tx, project_id=project_id)


def unset_default(tx: Connection, *, project_id: str) -> None:
    """Let the service's default count for a project again. Nothing to do where nothing was said."""
    tx.execute(delete(default_types).where(default_types.c.project_id == project_id))
