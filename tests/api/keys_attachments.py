"""The keys of attachments, written down independently of the code."""

SUMMARY = {"id", "status", "instance", "volume_id"}
DETAIL = SUMMARY | {"attached_at", "detached_at", "attach_mode", "connection_info"}
# os-brick's connection of the kind `local`, as the attachments API shows it.
CONNECTION = {
    "device_path", "access_mode", "qos_specs", "encrypted", "cacheable", "enforce_multipath", "driver_volume_type",
    "attachment_id",
}  # fmt: skip
NESTED_DATA = CONNECTION - {"driver_volume_type", "attachment_id"}
OF_VOLUME = {"id", "attachment_id", "volume_id", "server_id", "host_name", "device", "attached_at"}
