"""Who may do what: one table from rule to audience. The names of the rules are those operators know from Cinder.

Ownership is not decided here: queries show a project's caller only rows of its own project, so that somebody else's
volume is 404 and not 403. An administrator sees all rows.
"""

import enum
from typing import Final

from breezeblock.api.auth import Caller


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
    "volume:create_transfer": _P,
    "volume:get_transfer": _P,
    "volume:get_all_transfers": _P,
    "volume:accept_transfer": _P,
    "volume:delete_transfer": _P,
    "volume_extension:volume_admin_actions:reset_status": _A,
    "volume_extension:volume_admin_actions:force_delete": _A,
    "volume_extension:volume_admin_actions:migrate_volume": _A,
    "volume_extension:volume_admin_actions:migrate_volume_completion": _A,
    "volume_extension:volume_admin_actions:extend_volume_completion": _A,
    "volume_extension:volume_encryption_metadata": _P,
    "volume_extension:volume_image_metadata:show": _P,
    "volume_extension:volume_image_metadata:set": _P,
    "volume_extension:volume_image_metadata:remove": _P,
    "volume_extension:volume_actions:upload_image": _P,
    "volume_extension:volume_actions:upload_public": _A,
    "volume:reimage": _P,
    "volume:reimage_reserved": _P,
    "volume_extension:volume_host_attribute": _A,
    "volume_extension:volume_mig_status_attribute": _A,
    "volume_extension:volume_tenant_attribute": _P,
    "volume:attachment_get": _P,  # ours: show has no rule in Cinder
    "volume:attachment_get_all": _P,  # ours, as well
    "volume:attachment_create": _P,
    "volume:attachment_update": _P,
    "volume:attachment_complete": _P,
    "volume:attachment_delete": _P,
    "volume_extension:volume_actions:attach": _P,
    "volume_extension:volume_actions:detach": _P,
    "volume_extension:volume_actions:reserve": _P,
    "volume_extension:volume_actions:unreserve": _P,
    "volume_extension:volume_actions:begin_detaching": _P,
    "volume_extension:volume_actions:roll_detaching": _P,
    "volume_extension:volume_actions:initialize_connection": _P,
    "volume_extension:volume_actions:terminate_connection": _P,
    "volume_extension:volume_admin_actions:force_detach": _A,
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
    "volume_extension:volume_type_encryption:create": _A,
    "volume_extension:volume_type_encryption:update": _A,
    "volume_extension:volume_type_encryption:delete": _A,
    "volume_extension:types_extra_specs:index": _P,
    "volume_extension:types_extra_specs:show": _P,
    "volume_extension:types_extra_specs:read_sensitive": _A,
    "volume_extension:types_extra_specs:create": _A,
    "volume_extension:types_extra_specs:update": _A,
    "volume_extension:types_extra_specs:delete": _A,
    "volume_extension:qos_specs_manage:get_all": _A,
    "group:group_types:get": _P,  # ours: for anybody, as everywhere
    "group:group_types:get_all": _P,  # ours
    "group:group_types:create": _A,
    "group:group_types:update": _A,
    "group:group_types:delete": _A,
    "group:access_group_types_specs": _A,
    "group:group_types_specs:get": _A,
    "group:group_types_specs:get_all": _A,
    "group:group_types_specs:create": _A,
    "group:group_types_specs:update": _A,
    "group:group_types_specs:delete": _A,
    "group:create": _P,
    "group:get": _P,
    "group:get_all": _P,
    "group:update": _P,
    "group:delete": _P,
    "group:reset_status": _A,
    "group:enable_replication": _P,
    "group:disable_replication": _P,
    "group:failover_replication": _P,
    "group:list_replication_targets": _P,
    "group:group_project_attribute": _A,
    "group:create_group_snapshot": _P,
    "group:get_group_snapshot": _P,
    "group:get_all_group_snapshots": _P,
    "group:delete_group_snapshot": _P,
    "group:reset_group_snapshot_status": _A,
    "group:group_snapshot_project_attribute": _A,
    "volume_extension:qos_specs_manage:get": _A,
    "volume_extension:qos_specs_manage:create": _A,
    "volume_extension:qos_specs_manage:update": _A,
    "volume_extension:qos_specs_manage:delete": _A,
    "volume_extension:default_get": _A,
    "volume_extension:default_get_all": _A,
    "volume_extension:default_set_or_update": _A,
    "volume_extension:default_unset": _A,
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


class Rights:
    """What one caller may do. The same object for all who may do the same, so that answers can be prepared by it."""

    def __init__(self, *, is_admin: bool) -> None:
        self.is_admin = is_admin
        """Whether all projects' rows are shown."""

    def may(self, rule: str) -> bool:
        """Whether the rule lets this caller. One that is not in the table is a mistake of ours (KeyError)."""
        return RULES[rule] is Audience.PROJECT or self.is_admin


class Policy:
    """From a caller to rights."""

    def __init__(self) -> None:
        self._admin, self._member = Rights(is_admin=True), Rights(is_admin=False)

    def rights(self, caller: Caller) -> Rights:
        """What a caller may do now."""
        return self._admin if "admin" in caller.roles else self._member
