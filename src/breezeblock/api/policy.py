"""Who may do what: one table from rule to audience. The names of the rules are those operators know from Cinder.

Ownership is not decided here: queries show a project's caller only rows of its own project, so that somebody else's
volume is 404 and not 403. An administrator sees all rows.
"""

import enum
from typing import Final


class Audience(enum.Enum):
    PROJECT = "administrators, and members for their own project"
    ADMIN = "administrators"


_A, _P = Audience.ADMIN, Audience.PROJECT

RULES: Final[dict[str, Audience]] = {
    "discovery": _P,  # ours: versions, health and extensions, for anybody
    "volume:create": _P,
    "volume:get": _P,
    "volume:get_all": _P,
    "volume:update": _P,
    "volume:delete": _P,
    "volume:force_delete": _A,
    "volume:extend": _P,
    "volume:extend_attached_volume": _P,
    "volume:revert_to_snapshot": _P,
    "volume:retype": _P,
    "volume:update_readonly_flag": _P,
    "volume:get_volume_metadata": _P,
    "volume:create_volume_metadata": _P,
    "volume:update_volume_metadata": _P,
    "volume:delete_volume_metadata": _P,
    "volume_extension:volume_admin_actions:reset_status": _A,
    "volume_extension:volume_admin_actions:force_delete": _A,
    "volume_extension:volume_admin_actions:extend_volume_completion": _A,
    "volume_extension:volume_encryption_metadata": _P,
    "volume_extension:volume_host_attribute": _A,
    "volume_extension:volume_mig_status_attribute": _A,
    "volume_extension:volume_tenant_attribute": _P,
    "volume_extension:volume_manage": _A,
    "volume_extension:volume_unmanage": _A,
    "volume_extension:list_manageable": _A,
    "volume:create_snapshot": _P,
    "volume:get_snapshot": _P,
    "volume:get_all_snapshots": _P,
    "volume:update_snapshot": _P,
    "volume:delete_snapshot": _P,
    "volume:get_snapshot_metadata": _P,
    "volume:update_snapshot_metadata": _P,
    "volume:delete_snapshot_metadata": _P,
    "volume_extension:extended_snapshot_attributes": _P,
    "volume_extension:snapshot_admin_actions:reset_status": _A,
    "volume_extension:snapshot_admin_actions:force_delete": _A,
    "snapshot_extension:snapshot_actions:update_snapshot_status": _P,
    "snapshot_extension:snapshot_manage": _A,
    "snapshot_extension:snapshot_unmanage": _A,
    "snapshot_extension:list_manageable": _A,
    "backup:create": _P,
    "backup:get": _P,
    "backup:get_all": _P,
    "backup:update": _P,
    "backup:delete": _P,
    "backup:restore": _P,
    "backup:export-import": _A,
    "backup:backup-import": _A,
    "backup:backup_project_attribute": _A,
    "volume_extension:backup_admin_actions:reset_status": _A,
    "volume_extension:backup_admin_actions:force_delete": _A,
    "volume_extension:type_get": _P,
    "volume_extension:type_get_all": _P,
    "volume_extension:type_create": _A,
    "volume_extension:type_update": _A,
    "volume_extension:type_delete": _A,
    "volume_extension:access_types_extra_specs": _P,
    "volume_extension:access_types_qos_specs_id": _A,
    "volume_extension:volume_type_access": _P,
    "volume_extension:volume_type_access:addProjectAccess": _A,
    "volume_extension:volume_type_access:removeProjectAccess": _A,
    "volume_extension:volume_type_access:get_all_for_type": _A,
    "volume_extension:volume_type_encryption:get": _A,
    "volume_extension:types_extra_specs:index": _P,
    "volume_extension:types_extra_specs:show": _P,
    "volume_extension:types_extra_specs:read_sensitive": _A,
    "volume_extension:types_extra_specs:create": _A,
    "volume_extension:types_extra_specs:update": _A,
    "volume_extension:types_extra_specs:delete": _A,
    "volume_extension:qos_specs_manage:get_all": _A,
    "volume_extension:quotas:show": _P,
    "volume_extension:quotas:update": _A,
    "volume_extension:quotas:delete": _A,
    "volume_extension:quota_classes:get": _A,
    "volume_extension:quota_classes:update": _A,
    "limits_extension:used_limits": _P,
    "volume_extension:availability_zone_list": _P,
    "message:get": _P,
    "message:get_all": _P,
    "message:delete": _P,
    "volume_extension:services:index": _A,
    "volume_extension:services:update": _A,
    "services:fence": _A,  # ours
    "volume:freeze_host": _A,
    "volume:thaw_host": _A,
    "volume:failover_host": _A,
    "clusters:get": _A,
    "clusters:get_all": _A,
    "clusters:update": _A,
    "workers:cleanup": _A,
    "scheduler_extension:scheduler_stats:get_pools": _A,
    "volume_extension:capabilities": _A,
    "volume_extension:hosts": _A,
}


def allows(rule: str, *, is_admin: bool) -> bool:
    """Whether the table lets this caller do it. A rule that is not in the table is a mistake of ours (KeyError)."""
    return RULES[rule] is Audience.PROJECT or is_admin
