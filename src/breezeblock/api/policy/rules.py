"""Every rule that a handler asks, with Cinder's name and Cinder's default check. Defaults are for roles of a project:

    reader    looks at what its project has
    member    changes it
    manager   as a member: no rule names it by default, as none of Cinder's does
    admin     everything, in all projects

Whoever has none of these roles may only discover the API: Cinder's older defaults ("any role in the project") are gone.
Ownership is not decided here: queries show a project's caller only rows of its own project, so that somebody else's
volume is 404 and not 403. What else there is to know of Cinder's rules stands below the table.
"""

from typing import Final, NamedTuple

READER: Final = "rule:xena_system_admin_or_project_reader"
MEMBER: Final = "rule:xena_system_admin_or_project_member"
ADMIN: Final = "rule:admin_api"
ANYBODY: Final = "@"
# In words, for whom it is said to.
WORDS: Final = {
    READER: "readers of the project that it belongs to, and administrators",
    MEMBER: "members of the project that it belongs to, and administrators",
    ADMIN: "administrators",
}


class Rule(NamedTuple):
    """One rule: its check where no file has another, and what is known of the resource that it is about.

    A rule about one resource is asked about that resource's project. It may name its user in the check if that is known:
    a list has none, what belongs to nobody has none, and of messages nobody wrote it down.
    """

    check: str
    of_one: bool = False
    has_user: bool = False


def _of_one(check: str) -> Rule:
    return Rule(check, of_one=True, has_user=True)


RULES: Final[dict[str, Rule]] = {
    "discovery": Rule(ANYBODY),  # ours: versions, health and extensions, for anybody
    "volume:create": _of_one(MEMBER),
    "volume:create_from_image": _of_one(MEMBER),
    "volume:multiattach": _of_one(MEMBER),
    "volume:get": _of_one(READER),
    "volume:get_all": Rule(READER),
    "volume:update": _of_one(MEMBER),
    "volume:delete": _of_one(MEMBER),
    "volume:force_delete": _of_one(ADMIN),
    "volume:extend": _of_one(MEMBER),
    "volume:extend_attached_volume": _of_one(MEMBER),
    "volume:revert_to_snapshot": _of_one(MEMBER),
    "volume:retype": _of_one(MEMBER),
    "volume:update_readonly_flag": _of_one(MEMBER),
    "volume:get_volume_metadata": _of_one(READER),
    "volume:create_volume_metadata": _of_one(MEMBER),
    "volume:update_volume_metadata": _of_one(MEMBER),
    "volume:delete_volume_metadata": _of_one(MEMBER),
    "volume:create_transfer": _of_one(MEMBER),
    "volume:get_transfer": _of_one(READER),
    "volume:get_all_transfers": Rule(READER),
    "volume:accept_transfer": Rule(MEMBER),
    "volume:delete_transfer": _of_one(MEMBER),
    "volume_extension:volume_admin_actions:reset_status": _of_one(ADMIN),
    "volume_extension:volume_admin_actions:force_delete": _of_one(ADMIN),
    "volume_extension:volume_admin_actions:migrate_volume": _of_one(ADMIN),
    "volume_extension:volume_admin_actions:migrate_volume_completion": _of_one(ADMIN),
    "volume_extension:volume_admin_actions:extend_volume_completion": _of_one(ADMIN),
    "volume_extension:volume_encryption_metadata": _of_one(READER),
    "volume_extension:volume_image_metadata:show": _of_one(READER),
    "volume_extension:volume_image_metadata:set": _of_one(MEMBER),
    "volume_extension:volume_image_metadata:remove": _of_one(MEMBER),
    "volume_extension:volume_actions:upload_image": _of_one(MEMBER),
    "volume_extension:volume_actions:upload_public": _of_one(ADMIN),
    "volume:reimage": _of_one(MEMBER),
    "volume:reimage_reserved": _of_one(MEMBER),
    "volume_extension:volume_host_attribute": Rule(ADMIN),
    "volume_extension:volume_mig_status_attribute": Rule(ADMIN),
    "volume_extension:volume_tenant_attribute": Rule(READER),
    "volume:attachment_get": _of_one(READER),  # ours: show has no rule in Cinder
    "volume:attachment_get_all": Rule(READER),  # ours, as well
    "volume:attachment_create": _of_one(MEMBER),
    "volume:multiattach_bootable_volume": _of_one(MEMBER),
    "volume:attachment_update": _of_one(MEMBER),
    "volume:attachment_complete": _of_one(MEMBER),
    "volume:attachment_delete": _of_one(MEMBER),
    "volume_extension:volume_actions:attach": _of_one(MEMBER),
    "volume_extension:volume_actions:detach": _of_one(MEMBER),
    "volume_extension:volume_actions:reserve": _of_one(MEMBER),
    "volume_extension:volume_actions:unreserve": _of_one(MEMBER),
    "volume_extension:volume_actions:begin_detaching": _of_one(MEMBER),
    "volume_extension:volume_actions:roll_detaching": _of_one(MEMBER),
    "volume_extension:volume_actions:initialize_connection": _of_one(MEMBER),
    "volume_extension:volume_actions:terminate_connection": _of_one(MEMBER),
    "volume_extension:volume_admin_actions:force_detach": _of_one(ADMIN),
    "volume_extension:volume_manage": Rule(ADMIN),
    "volume_extension:volume_unmanage": _of_one(ADMIN),
    "volume_extension:list_manageable": Rule(ADMIN),
    "volume:create_snapshot": _of_one(MEMBER),
    "volume:get_snapshot": _of_one(READER),
    "volume:get_all_snapshots": Rule(READER),
    "volume:update_snapshot": _of_one(MEMBER),
    "volume:delete_snapshot": _of_one(MEMBER),
    "volume:get_snapshot_metadata": _of_one(READER),
    "volume:update_snapshot_metadata": _of_one(MEMBER),
    "volume:delete_snapshot_metadata": _of_one(MEMBER),
    "volume_extension:extended_snapshot_attributes": Rule(READER),
    "volume_extension:snapshot_admin_actions:reset_status": _of_one(ADMIN),
    "volume_extension:snapshot_admin_actions:force_delete": _of_one(ADMIN),
    "snapshot_extension:snapshot_actions:update_snapshot_status": _of_one(MEMBER),
    "snapshot_extension:snapshot_manage": Rule(ADMIN),
    "snapshot_extension:snapshot_unmanage": _of_one(ADMIN),
    "snapshot_extension:list_manageable": Rule(ADMIN),
    "backup:create": _of_one(MEMBER),
    "backup:get": _of_one(READER),
    "backup:get_all": Rule(READER),
    "backup:update": _of_one(MEMBER),
    "backup:delete": _of_one(MEMBER),
    "backup:restore": _of_one(MEMBER),
    "backup:export-import": _of_one(ADMIN),
    "backup:backup-import": Rule(ADMIN),
    "backup:backup_project_attribute": Rule(ADMIN),
    "volume_extension:backup_admin_actions:reset_status": _of_one(ADMIN),
    "volume_extension:backup_admin_actions:force_delete": _of_one(ADMIN),
    "volume_extension:type_get": Rule(READER),
    "volume_extension:type_get_all": Rule(READER),
    "volume_extension:type_create": Rule(ADMIN),
    "volume_extension:type_update": Rule(ADMIN),
    "volume_extension:type_delete": Rule(ADMIN),
    "volume_extension:access_types_extra_specs": Rule(READER),
    "volume_extension:access_types_qos_specs_id": Rule(ADMIN),
    "volume_extension:volume_type_access": Rule(MEMBER),
    "volume_extension:volume_type_access:addProjectAccess": Rule(ADMIN),
    "volume_extension:volume_type_access:removeProjectAccess": Rule(ADMIN),
    "volume_extension:volume_type_access:get_all_for_type": Rule(ADMIN),
    "volume_extension:volume_type_encryption:get": Rule(ADMIN),
    "volume_extension:volume_type_encryption:create": Rule(ADMIN),
    "volume_extension:volume_type_encryption:update": Rule(ADMIN),
    "volume_extension:volume_type_encryption:delete": Rule(ADMIN),
    "volume_extension:types_extra_specs:index": Rule(READER),
    "volume_extension:types_extra_specs:show": Rule(READER),
    "volume_extension:types_extra_specs:read_sensitive": Rule(ADMIN),
    "volume_extension:types_extra_specs:create": Rule(ADMIN),
    "volume_extension:types_extra_specs:update": Rule(ADMIN),
    "volume_extension:types_extra_specs:delete": Rule(ADMIN),
    "volume_extension:qos_specs_manage:get_all": Rule(ADMIN),
    "group:group_types:get": Rule(READER),  # ours
    "group:group_types:get_all": Rule(READER),  # ours
    "group:group_types:create": Rule(ADMIN),
    "group:group_types:update": Rule(ADMIN),
    "group:group_types:delete": Rule(ADMIN),
    "group:access_group_types_specs": Rule(ADMIN),
    "group:group_types_specs:get": Rule(ADMIN),
    "group:group_types_specs:get_all": Rule(ADMIN),
    "group:group_types_specs:create": Rule(ADMIN),
    "group:group_types_specs:update": Rule(ADMIN),
    "group:group_types_specs:delete": Rule(ADMIN),
    "group:create": _of_one(MEMBER),
    "group:get": _of_one(READER),
    "group:get_all": Rule(READER),
    "group:update": _of_one(MEMBER),
    "group:delete": _of_one(MEMBER),
    "group:reset_status": _of_one(ADMIN),
    "group:enable_replication": _of_one(MEMBER),
    "group:disable_replication": _of_one(MEMBER),
    "group:failover_replication": _of_one(MEMBER),
    "group:list_replication_targets": _of_one(MEMBER),
    "group:group_project_attribute": Rule(ADMIN),
    "group:create_group_snapshot": _of_one(MEMBER),
    "group:get_group_snapshot": _of_one(READER),
    "group:get_all_group_snapshots": Rule(READER),
    "group:delete_group_snapshot": _of_one(MEMBER),
    "group:reset_group_snapshot_status": _of_one(ADMIN),
    "group:group_snapshot_project_attribute": Rule(ADMIN),
    "volume_extension:qos_specs_manage:get": Rule(ADMIN),
    "volume_extension:qos_specs_manage:create": Rule(ADMIN),
    "volume_extension:qos_specs_manage:update": Rule(ADMIN),
    "volume_extension:qos_specs_manage:delete": Rule(ADMIN),
    "volume_extension:default_get": Rule(ADMIN),
    "volume_extension:default_get_all": Rule(ADMIN),
    "volume_extension:default_set_or_update": Rule(ADMIN),
    "volume_extension:default_unset": Rule(ADMIN),
    "volume_extension:quotas:show": Rule(READER),
    "volume_extension:quotas:update": Rule(ADMIN),
    "volume_extension:quotas:delete": Rule(ADMIN),
    "volume_extension:quota_classes:get": Rule(ADMIN),
    "volume_extension:quota_classes:update": Rule(ADMIN),
    "limits_extension:used_limits": Rule(READER),
    "volume_extension:availability_zone_list": Rule(READER),
    "message:get": Rule(READER, of_one=True),
    "message:get_all": Rule(READER),
    "message:delete": Rule(MEMBER, of_one=True),
    "volume_extension:services:index": Rule(ADMIN),
    "volume_extension:services:update": Rule(ADMIN),
    "services:fence": Rule(ADMIN),  # ours
    "volume:freeze_host": Rule(ADMIN),
    "volume:thaw_host": Rule(ADMIN),
    "volume:failover_host": Rule(ADMIN),
    "clusters:get": Rule(ADMIN),
    "clusters:get_all": Rule(ADMIN),
    "clusters:update": Rule(ADMIN),
    "workers:cleanup": Rule(ADMIN),
    "scheduler_extension:scheduler_stats:get_pools": Rule(ADMIN),
    "volume_extension:capabilities": Rule(ADMIN),
    "volume_extension:hosts": Rule(ADMIN),
}

IS_ADMIN: Final = "context_is_admin"

# What the checks above are made of, and what files that were written for Cinder refer to: its names and checks.
BASE: Final[dict[str, str]] = {
    # Decides what `is_admin:True` means, and who sees the rows of all projects.
    IS_ADMIN: "role:admin",
    "admin_api": "is_admin:True or (role:admin and is_admin_project:True)",
    "admin_or_owner": "is_admin:True or (role:admin and is_admin_project:True) or project_id:%(project_id)s",
    "system_or_domain_or_project_admin": "(role:admin and system_scope:all) or (role:admin and domain_id:%(domain_id)s)"
    " or (role:admin and project_id:%(project_id)s)",
    "xena_system_admin_or_project_reader": "(role:admin) or (role:reader and project_id:%(project_id)s)",
    "xena_system_admin_or_project_member": "(role:admin) or (role:member and project_id:%(project_id)s)",
}

# Cinder's rules that nothing here asks, and why. A file may have them; it is told that they do nothing.
NOT_ASKED: Final[dict[str, str]] = {
    "volume:update_volume_admin_metadata": "administrators have no metadata of their own here",
    "group:update_group_snapshot": "the API has no call that changes a group snapshot",
    "volume_extension:volume_type_encryption": "each call has a rule of its own, which ends in :get, :create, …",
}

# Names that Cinder's rules had before they were split. A check under an old name holds for the new ones it does not name.
FORMERLY: Final[dict[str, tuple[str, ...]]] = {
    "group:group_types_manage": ("group:group_types:create", "group:group_types:update", "group:group_types:delete"),
    "group:group_types_specs": (
        "group:group_types_specs:get",
        "group:group_types_specs:get_all",
        "group:group_types_specs:create",
        "group:group_types_specs:update",
        "group:group_types_specs:delete",
    ),
    "volume_extension:quota_classes": ("volume_extension:quota_classes:get", "volume_extension:quota_classes:update"),
    "volume_extension:types_manage": (
        "volume_extension:type_create",
        "volume_extension:type_update",
        "volume_extension:type_delete",
    ),
    "volume_extension:volume_image_metadata": (
        "volume_extension:volume_image_metadata:show",
        "volume_extension:volume_image_metadata:set",
        "volume_extension:volume_image_metadata:remove",
    ),
}
