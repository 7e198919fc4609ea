"""The clients that people use, logged in as people: with Keystone and its catalogue, and with users in files."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import cinderclient.client
import cinderclient.exceptions
import openstack
import pytest
from keystoneauth1 import http_basic, session
from keystoneauth1.identity import v3
from tests.identity.conftest import ANN, BOB, NOVA, ONE, SERVICE_USER, TWO
from tests.identity.files import Files
from tests.servers.database import Address
from tests.servers.keystone import Keystone
from tests.service import OnServers, Service, eventually, start

# What the clients warn of in themselves is theirs to change.
pytestmark = pytest.mark.filterwarnings("ignore")

LIMIT_S: Final = 120.0
VERSION: Final = "3.71"
# What the service is called in catalogues: today's name, and the one that older clients look for.
TYPES: Final = ("block-storage", "volumev3")
# Nothing here is about leases, and other suites run beside.
OPTIONS: Final = {"BREEZEBLOCK_NODES__POLL_S": "0.2", "BREEZEBLOCK_BACKENDS__FAST__DRIVER": "file"}
USERS: Final = """
[ann]
project = "one"
roles = ["member"]
quota = { volumes = 2 }

[root]
project = "operators"
roles = ["admin"]
"""


class Cloud(NamedTuple):
    """A service, and what programs are told to find it and to be somebody."""

    service: Service
    environs: Mapping[str, Mapping[str, str]]
    home: Path

    def openstack(self, who: str, *words: str, answers: bool = True) -> Any:
        """The program; what it answers, if it does."""
        done = self.run("openstack", who, *words, *(("-f", "json") if answers else ()))
        assert done.returncode == 0, f"{words}\n{done.stderr[-2000:]}"
        return json.loads(done.stdout) if answers else None

    def run(self, program: str, who: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """Any program of the clients', which may fail."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.home), "OS_VOLUME_API_VERSION": VERSION}
        command = [str(Path(sys.executable).with_name(program)), *words]
        given = {**environ, **self.environs[who]}
        return subprocess.run(command, env=given, capture_output=True, text=True, timeout=LIMIT_S, check=False)


Serve = Callable[[str, Mapping[str, str]], Service]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, database_proxy: Address | None) -> Iterator[Serve]:
    """Starts services with options of [auth]."""
    with ExitStack() as stack:

        def begin(name: str, auth: Mapping[str, str]) -> Service:
            data = tmp_path_factory.mktemp(name) / "data"
            environ = OPTIONS | {f"BREEZEBLOCK_AUTH__{key}": value for key, value in auth.items()}
            given = OnServers(stack, database_proxy).options(data, ttl_s=10.0, environ=environ)
            service = start(data, nodes=1, workers=2, **given)
            stack.callback(service.end)
            return service

        yield begin


# --- Keystone --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cloud(serve: Serve, identity: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    """In the catalogue, and with a service user."""
    given = {"STRATEGY": "keystone", "AUTH_URL": identity.url, "USERNAME": SERVICE_USER[0], "PASSWORD": SERVICE_USER[1]}
    service = serve("cloud", given)
    for type_ in TYPES:
        identity.offer(type_, f"breezeblock-{type_}", f"{service.endpoint}/v3/%(project_id)s")

    def of(who: tuple[str, str], project: str) -> dict[str, str]:
        mine = {"OS_USERNAME": who[0], "OS_PASSWORD": who[1], "OS_PROJECT_NAME": project}
        return {**identity.credentials, **mine}

    environs = {"admin": identity.credentials, "ann": of(ANN, ONE), "bob": of(BOB, TWO)}
    return Cloud(service, environs, tmp_path_factory.mktemp("home"))


def logged_in(identity: Keystone, who: tuple[str, str], project: str) -> session.Session:
    """As programs do it that use keystoneauth."""
    domains: dict[str, Any] = {"user_domain_id": "default", "project_domain_id": "default"}
    plugin = v3.Password(identity.url, username=who[0], password=who[1], project_name=project, **domains)
    return session.Session(auth=plugin)


def test_the_program_openstack_in_a_cloud(cloud: Cloud) -> None:
    """A user's volume is the project's; administrators see all, and find a project by its name."""
    made = cloud.openstack("ann", "volume", "create", "--size", "1", "anns")
    eventually(lambda: cloud.openstack("ann", "volume", "show", made["id"])["status"] == "available")
    bobs = cloud.openstack("bob", "volume", "list")
    hidden = cloud.run("openstack", "bob", "volume", "show", made["id"])
    seen = cloud.openstack("admin", "volume", "list", "--project", ONE)
    cloud.openstack("admin", "quota", "set", "--volumes", "7", ONE, answers=False)
    limits = {one["Resource"]: one["Limit"] for one in cloud.openstack("admin", "quota", "show", "--volume", ONE)}
    (version,) = cloud.openstack("ann", "versions", "show", "--service", "block-storage")
    cloud.openstack("ann", "volume", "delete", made["id"], answers=False)

    assert (bobs, [one["ID"] for one in seen], limits["volumes"]) == ([], [made["id"]], 7)
    assert hidden.returncode != 0
    assert version["Max Microversion"] == VERSION


def test_openstacksdk_in_a_cloud(cloud: Cloud) -> None:
    """By the catalogue alone."""
    given: dict[str, Any] = {key.removeprefix("OS_").lower(): value for key, value in cloud.environs["ann"].items()}
    with openstack.connect(load_envvars=False, load_yaml_config=False, **given) as connection:
        made = connection.create_volume(size=1, name="sdk", wait=True, timeout=30)
        found = connection.block_storage.find_volume("sdk", ignore_missing=False)
        connection.delete_volume(made.id, wait=True, timeout=30)

        assert (found.id, made.status) == (made.id, "available")
        assert str(connection.current_project_id) in str(connection.block_storage.get_endpoint())
        with pytest.raises(openstack.exceptions.ForbiddenException):
            list(connection.block_storage.services())


def test_cinderclient_in_a_cloud(cloud: Cloud, identity: Keystone) -> None:
    """As a library, and as the program `cinder`."""
    ann = cinderclient.client.Client(VERSION, session=logged_in(identity, ANN, ONE))
    made = ann.volumes.create(1, name="library")
    eventually(lambda: ann.volumes.get(made.id).status == "available")
    listed = cloud.run("cinder", "ann", "list")
    ann.volumes.delete(made.id)

    assert made.id in listed.stdout, listed.stderr
    with pytest.raises(cinderclient.exceptions.NotFound):
        cinderclient.client.Client(VERSION, session=logged_in(identity, BOB, TWO)).volumes.get(made.id)


def test_nova_alone_takes_a_volume_away_under_an_instance(cloud: Cloud, identity: Keystone) -> None:
    """By both tokens, as Nova's client sends them; the user's token may have expired meanwhile."""
    ann = cinderclient.client.Client(VERSION, session=logged_in(identity, ANN, ONE))
    made = ann.volumes.create(1)
    eventually(lambda: ann.volumes.get(made.id).status == "available")
    instance = "7f3b5a52-1111-4222-8333-9d2c5a1e0a01"
    attachment = ann.attachments.create(made.id, {"host": "host-1"}, instance)
    token = identity.token(*ANN, project=ONE, lives_s=3)
    url = f"/v3/attachments/{attachment['id']}"
    headers = {"X-Auth-Token": token, "OpenStack-API-Version": f"volume {VERSION}"}

    refused = cloud.service.request("DELETE", url, headers=headers)
    eventually(lambda: cloud.service.request("GET", url, headers=headers).status == 401)
    service = {"X-Service-Token": identity.token(*NOVA, project="service")}
    taken = cloud.service.request("DELETE", url, headers=headers | service)
    ann.volumes.delete(made.id)

    assert refused.status == 409
    assert instance in refused.body["conflictingRequest"]["message"]
    assert (taken.status, taken.body) == (200, {"attachments": []})


def test_what_anybody_may_ask(cloud: Cloud) -> None:
    """Versions, health and what watches the service; nothing below /v3, whose answer says where tokens are."""
    asked = {
        path: cloud.service.request("GET", path) for path in ("/", "/healthcheck", "/metrics", "/v3", "/v3/volumes")
    }

    assert [one.status for one in asked.values()] == [300, 200, 200, 401, 401]
    assert {key.lower(): value for key, value in asked["/v3"].headers.items()}["www-authenticate"].startswith(
        "Keystone "
    )
    assert asked["/v3"].body["unauthorized"]["code"] == 401


# --- users in files --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def company(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    """Ann and an operator."""
    files = Files(tmp_path_factory.mktemp("users"))
    files.write({"ann": "passwordofann", "root": "passwordofroot"}, USERS)
    given = {"STRATEGY": "http_basic", "HTPASSWD_FILE": str(files.passwords), "USERS_FILE": str(files.users)}
    service = serve("company", given)
    url = f"{service.endpoint}/v3"

    def of(name: str, password: str) -> dict[str, str]:
        named = {"OS_AUTH_TYPE": "http_basic", "OS_USERNAME": name, "OS_PASSWORD": password}
        return {**named, "OS_ENDPOINT": url}

    ann = of("ann", "passwordofann")
    # Its own option of the endpoint's name meets the plugin's when the type is in the environment.
    at_cinder = {name: ann[name] for name in ("OS_USERNAME", "OS_PASSWORD")}
    environs = {"ann": ann, "at-cinder": at_cinder, "root": of("root", "passwordofroot"), "eve": of("ann", "guess")}
    return Cloud(service, environs, tmp_path_factory.mktemp("home"))


def test_the_program_openstack_with_a_password(company: Cloud) -> None:
    """And without the right one."""
    made = company.openstack("ann", "volume", "create", "--size", "1", "anns")
    seen = company.openstack("root", "volume", "list", "--all-projects")
    refused = company.run("openstack", "eve", "volume", "list")
    asked = ("--os-auth-type", "http_basic", "--os-project-id", "any", "--os-endpoint")
    cinder = company.run("cinder", "at-cinder", *asked, company.environs["ann"]["OS_ENDPOINT"], "list")
    eventually(lambda: company.openstack("ann", "volume", "show", made["id"])["status"] == "available")
    company.openstack("ann", "volume", "delete", made["id"], answers=False)

    assert [one["ID"] for one in seen] == [made["id"]]
    # It asks for the versions first, and takes any refusal for a service that is not there.
    assert (refused.returncode != 0, refused.stdout) == (True, "")
    assert company.service.request("GET", "/v3/one/volumes").status == 401
    assert made["id"] in cinder.stdout, cinder.stderr


def test_openstacksdk_and_cinderclient_with_a_password(company: Cloud) -> None:
    """The limits of the user's project are those of the file."""
    url = company.environs["ann"]["OS_ENDPOINT"]
    auth = {"endpoint": url, "username": "ann", "password": "passwordofann"}
    plugin = http_basic.HTTPBasicAuth(**auth)
    cinder = cinderclient.client.Client(VERSION, session=session.Session(auth=plugin), endpoint_override=url)
    given: dict[str, Any] = {"auth_type": "http_basic", "auth": auth, "block_storage_endpoint_override": url}
    with openstack.connect(load_envvars=False, load_yaml_config=False, **given) as connection:
        made = [connection.block_storage.create_volume(size=1).id, cinder.volumes.create(1).id]
        assert (cinder.quotas.get("one").volumes, cinder.limits.get().to_dict()["absolute"]["maxTotalVolumes"]) == (
            2,
            2,
        )
        with pytest.raises(cinderclient.exceptions.OverLimit):
            cinder.volumes.create(1)
        eventually(lambda: {one.status for one in cinder.volumes.list()} == {"available"})
        assert {one.id for one in connection.block_storage.volumes()} == set(made)
        for id_ in made:
            connection.block_storage.delete_volume(id_)
        eventually(lambda: not cinder.volumes.list())


def test_our_own_command_says_who_asks(company: Cloud) -> None:
    """`breezeblock detach` is told by the variables of the other clients."""
    command = ("detach", "7f3b5a52-1111-4222-8333-9d2c5a1e0a01", "--api", company.service.endpoint)
    known, stranger = company.run("breezeblock", "ann", *command), company.run("breezeblock", "eve", *command)

    assert "nothing is attached" in known.stdout, known.stderr
    assert "name and the password" in stranger.stderr
