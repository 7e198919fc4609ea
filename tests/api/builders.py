"""Rows with defaults; a test names only what it is about."""

import uuid
from typing import Any

from breezeblock.resources.types import DEFAULT_TYPE_ID, DEFAULT_TYPE_NAME

START_US = 1_795_000_000_000_000  # 2026-11-18T13:06:40
QUEUE = "breezeblock@file"
POOL_NAME = f"{QUEUE}#pool"

NODE: dict[str, Any] = {
    "incarnation": "11111111-1111-1111-1111-111111111111",
    "name": "node-1",
    "cluster": "breezeblock",
    "boot_id": "22222222-2222-2222-2222-222222222222",
    "state": "up",
    "queues_json": f'["{QUEUE}"]',
    "kinds_json": "{}",
    "version": "0",
    "lock_path": "/nowhere",
    "lock_id": "33333333-3333-3333-3333-333333333333",
    "keeper_pid": 1,
    "started_at_us": START_US,
}

POOL: dict[str, Any] = {
    "name": POOL_NAME,
    "queue": QUEUE,
    "total_gib": 10_000,
    "free_gib": 10_000,
    "availability_zone": "nova",
}


def default_type() -> dict[str, Any]:
    return {"id": DEFAULT_TYPE_ID, "name": DEFAULT_TYPE_NAME, "created_at_us": START_US}


def volume_row(**values: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "project_id": "p1",
        "user_id": "user",
        "name": "data",
        "description": None,
        "size_gib": 1,
        "status": "available",
        "volume_type_id": DEFAULT_TYPE_ID,
        "availability_zone": "nova",
        "pool_name": POOL_NAME,
        "object_name": "object",
        "metadata_json": "{}",
        "readonly": None,
        "created_at_us": START_US,
        "updated_at_us": None,
    }
    return row | values


def snapshot_row(**values: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "project_id": "p1",
        "user_id": "user",
        "name": "before",
        "description": None,
        "volume_id": str(uuid.uuid4()),
        "size_gib": 1,
        "status": "available",
        "progress": "100%",
        "pool_name": POOL_NAME,
        "object_name": "object",
        "metadata_json": "{}",
        "created_at_us": START_US,
        "updated_at_us": None,
    }
    return row | values


def backup_row(**values: Any) -> dict[str, Any]:
    id_ = str(uuid.uuid4())
    row: dict[str, Any] = {
        "id": id_,
        "project_id": "p1",
        "user_id": "user",
        "name": "nightly",
        "description": None,
        "volume_id": str(uuid.uuid4()),
        "parent_id": None,
        "status": "available",
        "size_gib": 1,
        "object_count": 3,
        "stored_bytes": 4096,
        "store": "default",
        "container": "default",
        "availability_zone": "nova",
        "host": QUEUE,
        "metadata_json": "{}",
        "data_timestamp_us": START_US,
        "created_at_us": START_US,
        "updated_at_us": None,
        "charged_gib": 1,
        "archive_id": str(uuid.uuid4()),
        "manifest": f"{values.get('id', id_)}.1.1",
    }
    return row | values


GROUP_TYPE = "6e2c1d7a-9d0b-4a8e-8a51-9a1a7a0c7f10"


def group_type_row(**values: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": GROUP_TYPE,
        "name": "plain",
        "description": "of no special kind",
        "is_public": True,
        "group_specs_json": '{"key":"value"}',
        "created_at_us": START_US,
    }
    return row | values


def group_row(**values: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "project_id": "p1",
        "user_id": "user",
        "name": "pair",
        "description": None,
        "status": "available",
        "availability_zone": "nova",
        "group_type_id": GROUP_TYPE,
        "pool_name": POOL_NAME,
        "created_at_us": START_US,
    }
    return row | values


def group_snapshot_row(**values: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "project_id": "p1",
        "user_id": "user",
        "name": "both",
        "description": None,
        "status": "available",
        "group_id": str(uuid.uuid4()),
        "group_type_id": GROUP_TYPE,
        "created_at_us": START_US,
    }
    return row | values
