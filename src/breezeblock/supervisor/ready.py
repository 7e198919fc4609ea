"""When the service is ready: a node of ours has announced what it serves, and a pool was reported."""

import shlex
import sqlite3
from collections.abc import Collection
from typing import Final
from urllib.parse import quote

# `api.microversions.NEWEST`, which this process does not load; a test compares.
NEWEST_MICROVERSION: Final = "3.71"

_SERVED = "SELECT keeper_pid FROM nodes WHERE state = 'up' AND worker_pid IS NOT NULL AND queues_json != '[]'"
_REPORTED = "SELECT EXISTS (SELECT 1 FROM pools WHERE reported_at_us IS NOT NULL)"


def storage_is_ready(database_path: str, keeper_pids: Collection[int]) -> bool:
    """Whether volumes can be made. Opens the database only for this look (see `guard`); False when it is locked."""
    connection = sqlite3.connect(f"file:{quote(database_path)}?mode=ro", uri=True, isolation_level=None)
    try:
        serving = {row[0] for row in connection.execute(_SERVED)}
        return bool(serving & set(keeper_pids)) and bool(connection.execute(_REPORTED).fetchone()[0])
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()


def greeting(endpoint: str, *, data: str) -> str:
    """What `up` prints once. A test pastes every line below the first into a shell, so they are what really works."""
    url = f"{endpoint}/v3"
    sdk = f'openstack.connect(auth_type="none", endpoint="{url}").block_storage.volumes()'
    # Not exported: what one client needs here, the loader of the other refuses.
    cinder = f"OS_AUTH_TYPE=noauth OS_USER_ID=admin OS_PROJECT_ID=admin CINDER_ENDPOINT={url}"
    return f"""
Breezeblock is ready at {endpoint}   (data in {data}; Ctrl-C stops it)

# openstack
export OS_AUTH_TYPE=none OS_ENDPOINT={url}
openstack volume create --size 1 first
openstack volume list

# cinder
{cinder} cinder --os-volume-api-version {NEWEST_MICROVERSION} list

# openstacksdk
python3 -c 'import openstack; print([volume.name for volume in {sdk}])'

# the service itself
breezeblock status --data {shlex.quote(data)}
"""
