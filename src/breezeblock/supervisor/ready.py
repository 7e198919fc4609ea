"""When the service is ready: a node of ours has announced what it serves, and a pool was reported."""

import asyncio
import shlex
import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final
from urllib.parse import quote

from breezeblock.database_urls import is_server_url
from breezeblock.options_auth import Auth
from breezeblock.store import plain

# `api.microversions.NEWEST`, which this process does not load; a test compares.
NEWEST_MICROVERSION: Final = "3.71"

LOOK_LIMIT_S: Final = 3.0
# A server that does not even end what takes longer: the thread that asks it would keep `up` from ending.
CUT_AFTER_S: Final = 2 * LOOK_LIMIT_S

_SERVED = "SELECT keeper_pid FROM nodes WHERE state = 'up' AND worker_pid IS NOT NULL AND queues_json != '[]'"
_REPORTED = "SELECT EXISTS (SELECT 1 FROM pools WHERE reported_at_us IS NOT NULL)"


async def storage_is_ready(urls: Sequence[str], keeper_pids: Collection[int]) -> bool:
    """Whether volumes can be made. Opens the database only for this look; False when it does not answer."""
    if is_server_url(urls[0]):
        opened: list[plain.PlainConnection] = []
        with plain.cut_late(lambda: opened[-1] if opened else None, after_s=CUT_AFTER_S):
            return await asyncio.to_thread(_server_is_ready, urls, keeper_pids, opened.append)
    return _file_is_ready(urls[0].removeprefix("sqlite:///"), keeper_pids)


def _server_is_ready(
    urls: Sequence[str], keeper_pids: Collection[int], opened: Callable[[plain.PlainConnection], None]
) -> bool:
    for url in urls:
        try:
            connection = plain.connect(
                url, statement_limit_s=LOOK_LIMIT_S, idle_limit_s=LOOK_LIMIT_S, reading=True, opened=opened
            )
        except plain.Failed:
            continue
        try:
            return _is_ready(lambda sql, on=connection: on.execute(sql).fetchall(), keeper_pids)  # type: ignore[misc]
        except plain.Failed:
            continue
        finally:
            connection.close()
    return False


def _is_ready(ask: Callable[[str], list[tuple[Any, ...]]], keeper_pids: Collection[int]) -> bool:
    serving = {row[0] for row in ask(_SERVED)}
    return bool(serving & set(keeper_pids)) and bool(ask(_REPORTED)[0][0])


def _file_is_ready(database_path: str, keeper_pids: Collection[int]) -> bool:
    """On the event loop's own thread: closing the file forgets the locks that `guard` looks at through another one."""
    connection = sqlite3.connect(f"file:{quote(database_path)}?mode=ro", uri=True, isolation_level=None)
    try:
        return _is_ready(lambda sql: connection.execute(sql).fetchall(), keeper_pids)
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()


def greeting(endpoint: str | None, *, data: str, auth: Auth) -> str:
    """What `up` prints once. A test pastes every line below the first into a shell, so they are what really works."""
    if endpoint is None:
        return f"\nBreezeblock's nodes are ready   (data in {data}; Ctrl-C stops them)\n"
    clients = {"none": _to_everyone, "http_basic": _to_users, "keystone": _to_a_cloud}[auth.strategy]
    return f"""
Breezeblock is ready at {endpoint}   (data in {data}; Ctrl-C stops it)

{clients(f"{endpoint}/v3", auth)}
# the service itself
breezeblock status --data {shlex.quote(data)}
"""


def _to_everyone(url: str, auth: Auth) -> str:
    sdk = f'openstack.connect(auth_type="none", endpoint="{url}").block_storage.volumes()'
    # Not exported: what one client needs here, the loader of the other refuses.
    cinder = f"OS_AUTH_TYPE=noauth OS_USER_ID=admin OS_PROJECT_ID=admin CINDER_ENDPOINT={url}"
    return f"""# openstack
export OS_AUTH_TYPE=none OS_ENDPOINT={url}
openstack volume create --size 1 first
openstack volume list

# cinder
{cinder} cinder --os-volume-api-version {NEWEST_MICROVERSION} list

# openstacksdk
python3 -c 'import openstack; print([volume.name for volume in {sdk}])'
"""


def _to_users(url: str, auth: Auth) -> str:
    return f"""# openstack, as a user of {auth.users_file}
export OS_AUTH_TYPE=http_basic OS_ENDPOINT={url} OS_USERNAME=NAME OS_PASSWORD=PASSWORD
openstack volume list
"""


def _to_a_cloud(url: str, auth: Auth) -> str:
    return f"""# once, as an administrator of the cloud of {auth.auth_url}
openstack service create --name breezeblock block-storage
openstack endpoint create block-storage public '{url}/%(project_id)s'
"""
