"""Every option there is: its name, its type and bounds, its default, and what it means. `settings.py` reads them."""

from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, structs

from breezeblock.database_urls import POSTGRESQL, kind_of
from breezeblock.options_auth import Auth
from breezeblock.options_limits import Limits

UNLIMITED: Final = -1

# A queue is called cluster@backend, and keys are split at dots: neither sign may be in a name.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
Text = Annotated[str, Meta(min_length=1, max_length=255)]
Limit = Annotated[int, Meta(ge=UNLIMITED)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]  # a day is longer than anybody means
Method = Literal["same_machine", "boot", "external", "storage"]
LocksKind = Literal["local", "database", "tooz"]
# As they go over a line each: `key=value`.
OptionValue = bool | int | Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=1024)]
# Hidden wherever settings are shown; may be in a file of its own or a credential of systemd (settings_secrets.py).
Secret = Annotated[str, Meta(extra={"secret": True})]
Options = dict[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")], OptionValue]


class Service(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    data_dir: Annotated[Path, Meta(description="Where everything without a place of its own is kept.")]
    cluster: Annotated[Name, Meta(description="Nodes with the same cluster and backend share their work.")] = (
        "breezeblock"
    )
    availability_zone: Annotated[Text, Meta(description="The zone of volumes that ask for none.")] = "nova"
    availability_zone_fallback: Annotated[
        bool, Meta(description="Whether who asks for a zone that does not exist gets that one instead of a refusal.")
    ] = False
    cloned_volume_same_az: Annotated[
        bool,
        Meta(description="Whether a volume from another one, or from a snapshot, may only be in the zone of that."),
    ] = True
    default_project: Annotated[Text, Meta(description="The project of requests that name none.")] = "admin"
    default_group_type: Annotated[
        str, Meta(max_length=255, description="The group type that group_types/default shows; empty: there is none.")
    ] = ""


class Api(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: Annotated[Text, Meta(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="The port; 0 takes a free one.")] = 8776
    workers: Annotated[int, Meta(ge=0, le=256, description="API processes that `up` starts here; 0: nodes only.")] = 2
    max_limit: Annotated[int, Meta(ge=1, description="The longest page of a list.")] = 1000
    answer_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="How long a request waits for an answer that a backend has to give.")
    ] = 50.0
    drain_s: Annotated[float, Meta(ge=0, le=3600, description="How long a stop waits for requests in flight.")] = 10.0
    tls_certificate: Annotated[
        Path | None,
        Meta(description="Its certificate and those that vouch for it, in PEM; with it the API speaks TLS."),
    ] = None
    tls_key: Annotated[Path | None, Meta(description="The certificate's private key, in PEM.")] = None
    tls_key_password: Annotated[Secret, Meta(description="What the key is encrypted with; empty: it is not.")] = ""
    tls_client_ca: Annotated[
        Path | None, Meta(description="Who vouches for clients, in PEM; with it only those with a certificate may ask.")
    ] = None
    trusted_proxies: Annotated[
        list[str], Meta(description="Addresses and networks of proxies whose headers are believed.", max_length=64)
    ] = []
    proxy_headers: Annotated[
        Literal["x-forwarded", "forwarded"],
        Meta(description="Which they write: X-Forwarded-For, -Proto, -Host and -Prefix, or Forwarded."),
    ] = "x-forwarded"


class Database(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: Annotated[
        Secret,
        Meta(
            description="sqlite:///PATH, or postgresql:// or mariadb://USER:PASSWORD@HOST/NAME; empty: SQLite in data_dir."
        ),
    ]
    failover_urls: Annotated[
        list[Secret], Meta(description="More servers of the same database: the next is used when one does not answer.")
    ] = []
    connections: Annotated[
        int, Meta(ge=2, le=256, description="Connections of each process for writing to a server; half as many read.")
    ] = 8

    @property
    def urls(self) -> tuple[str, ...]:
        """All servers, in the order in which they are tried."""
        return (self.url, *self.failover_urls)


class Nodes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=0, le=64, description="Nodes that `up` starts here; 0: an API only.")] = 3
    name: Annotated[Name, Meta(description="What they are called: NAME-1, NAME-2, …; of no two machines alike.")] = (
        "node"
    )
    ttl_s: Annotated[float, Meta(ge=0.3, le=3600, description="How long a lease holds after a renewal.")] = 6.0
    drift: Annotated[float, Meta(ge=0, lt=1, description="How much the rates of two machines' clocks may differ.")] = (
        0.05
    )
    slots: Annotated[int, Meta(ge=1, le=1024, description="Operations at the same time, for each backend.")] = 16
    poll_s: Annotated[Seconds, Meta(description="How often a node looks for work when no doorbell rings.")] = 1.0
    poison_limit: Annotated[int, Meta(ge=2, description="Deaths in one step after which it is given up.")] = 5
    park_after_s: Annotated[Seconds, Meta(description="When an operation that no live node can claim is given up.")] = (
        600.0
    )
    machine_id: Annotated[
        str, Meta(max_length=255, description="What no other machine has; empty takes the DMI product UUID.")
    ] = ""
    fence_agent: Annotated[str, Meta(description="The `[fences.NAME]` of backends that name none.")] = ""
    one_machine: Annotated[
        bool, Meta(description="All nodes of the cluster run on this machine, though the database is on a server.")
    ] = False


class Doorbell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: Annotated[
        Literal["auto", "datagram", "postgresql", "rabbitmq", "none"],
        Meta(description="What tells nodes of new work; auto is postgresql with that database, else datagram."),
    ] = "auto"
    urls: Annotated[
        list[Secret],
        Meta(max_length=16, description="Its servers, tried in turn; default, with postgresql, the database's."),
    ] = []
    quorum: Annotated[
        bool,
        Meta(
            description="RabbitMQ: quorum queues, for a broker of several nodes; default whether there are several urls."
        ),
    ]
    idle_poll_s: Annotated[
        Seconds, Meta(description="Instead of nodes.poll_s while the doorbell is connected; default nodes.poll_s.")
    ]


class Quota(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a project may have when nothing was set for it; -1 is without limit."""

    volumes: Limit = 10
    snapshots: Limit = 10
    gigabytes: Limit = 1000
    backups: Limit = 10
    backup_gigabytes: Limit = 1000
    per_volume_gigabytes: Limit = UNLIMITED
    groups: Limit = 10
    snapshots_use_gigabytes: Annotated[
        bool, Meta(description="Whether snapshots count in gigabytes; no is Cinder's no_snapshot_gb_quota.")
    ] = True

    def defaults(self) -> dict[str, int]:
        """The limits by resource, and by its name what decides how they are held against a project: for transactions."""
        return {name: int(value) for name, value in structs.asdict(self).items()}


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Annotated[Literal["json", "console"], Meta(description="Lines for machines, or for people.")] = "json"


class Backend(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: Annotated[Path, Meta(description="Where a driver that uses files keeps them; default data_dir/volumes/NAME.")]
    driver: Annotated[Name, Meta(description="The driver's name.")] = "file"
    availability_zone: Annotated[Text, Meta(description="The zone it is in; default service.availability_zone.")]
    copy_rate_limit: Annotated[int, Meta(ge=0, description='Bytes per second, or "100 MiB"; 0 is no limit.')] = 0
    max_over_subscription_ratio: Annotated[
        float, Meta(ge=1, le=1000, description="Promised to real capacity, if thin.")
    ] = 20.0
    reserved_percentage: Annotated[int, Meta(ge=0, le=100, description="Capacity that is never given out.")] = 0
    thin: Annotated[bool, Meta(description="Whether space is taken only when it is written.")] = True
    capabilities: Annotated[
        dict[str, str], Meta(description="What volume types may ask for, besides the driver's.")
    ] = {}
    fence: Annotated[
        list[Method],
        Meta(description="What may prove that a lost node writes no more, in order; default all that apply."),
    ]
    fence_agent: Annotated[str, Meta(description="The `[fences.NAME]` of `external`; default nodes.fence_agent.")] = ""
    track_changes: Annotated[
        bool,
        Meta(
            description="Keep what a backup was read from until the next one, where files share data: less to read then."
        ),
    ] = True
    trust_self_fencing: Annotated[
        bool, Meta(description="Release on the lease alone when nothing else proves it. Can cost data.")
    ] = False
    settle_s: Annotated[
        float, Meta(ge=0, le=86_400, description="How long that waits; default, and least, is what the driver needs.")
    ]
    locks: Annotated[
        LocksKind,
        Meta(description="Who keeps its driver's locks; default local where all nodes share a machine, else database."),
    ]
    locks_url: Annotated[Secret, Meta(max_length=1024, description="The service that `tooz` is to use.")] = ""
    locks_scope: Annotated[Name, Meta(description="Backends with the same scope share locks; default its own name.")]


class FenceAgent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command that cuts a node off, called as fence agents are: options as lines on its standard input."""

    command: Annotated[
        list[Text], Meta(min_length=1, description="The program, by its whole path, and its arguments. Needed.")
    ]
    options: Annotated[Options, Meta(description="What it is told about every node.")] = {}
    option_files: Annotated[
        dict[str, Path], Meta(description="Options whose values are read from files each time: passwords.")
    ] = {}
    nodes: Annotated[
        dict[str, Options], Meta(description="Per node; of a node without a table, plug is the node's name.")
    ] = {}
    timeout_s: Annotated[Seconds, Meta(description="After so long it is killed, and has failed.")] = 60.0
    scope: Annotated[
        Literal["machine", "node"],
        Meta(description="What it cuts off; default machine, with all that ran there, but node where all share one."),
    ]


CINDER: Final = "cinder-posix"


class BackupStore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place for backups: a folder, a bucket of S3, a container of Swift; or those that Cinder made, which are only read."""

    type: Annotated[
        Literal["folder", "s3", "swift", "cinder-posix"],
        Meta(
            description="What keeps the objects; a folder may be on NFS. "
            "cinder-posix: imported from there are what Cinder's drivers posix, nfs and glusterfs made."
        ),
    ] = "folder"
    path: Annotated[
        Path | None,
        Meta(
            description="folder: where; default data_dir/backups, and data_dir/backups-NAME for those not called default. "
            "cinder-posix: Cinder's backup_posix_path, or where the share is mounted."
        ),
    ] = None
    endpoint: Annotated[
        str,
        Meta(
            max_length=1024,
            description="s3: its URL; empty is Amazon. swift: the URL for authentication, Keystone's when it ends in /v3.",
        ),
    ] = ""
    bucket: Annotated[
        str, Meta(max_length=255, description="The bucket, or Swift's container; made when it is not there.")
    ] = ""
    prefix: Annotated[str, Meta(max_length=255, description="s3, swift: what all keys begin with, before a slash.")] = (
        ""
    )
    region: Annotated[str, Meta(max_length=64, description="s3, swift: the region, where there are several.")] = ""
    path_style: Annotated[bool, Meta(description="s3: the bucket is in the path of URLs, not in the host's name.")] = (
        False
    )
    interface: Annotated[
        Literal["public", "internal", "admin"], Meta(description="swift: which endpoint of Keystone's catalog.")
    ] = "public"
    ca_file: Annotated[
        Path | None, Meta(description="s3, swift: who vouches for the server, in PEM; default the system's.")
    ] = None
    credentials_file: Annotated[
        Path | None,
        Meta(description="s3, swift: a TOML file with the keys; without, s3 looks where Amazon's tools look."),
    ] = None
    timeout_s: Annotated[
        Seconds, Meta(description="s3, swift: how long an answer may take before it is asked again.")
    ] = 60.0
    availability_zone: Annotated[
        str, Meta(max_length=255, description="The zone of its backups; default service.availability_zone.")
    ]
    encryption_key_file: Annotated[
        Path | None, Meta(description="A file with the key that seals what is stored; without, it is not encrypted.")
    ] = None
    encryption_key_id: Annotated[
        str, Meta(max_length=255, description="Instead: the key's id in a key manager, which castellan_file names.")
    ] = ""
    castellan_file: Annotated[
        Path | None, Meta(description="Castellan's configuration file: which key manager, where, and as whom.")
    ] = None
    compression: Annotated[Literal["zstd", "none"], Meta(description="How blocks are made smaller.")] = "zstd"
    compression_level: Annotated[int, Meta(ge=1, le=19, description="zstd: 1 is fast, 19 is small.")] = 1
    rate_limit: Annotated[
        int, Meta(ge=0, description='Bytes per second of each node\'s backups, or "100 MiB"; 0 is no limit.')
    ] = 0
    restore_rate_limit: Annotated[int, Meta(ge=0, description="The same of its restores.")] = 0
    slots: Annotated[int, Meta(ge=1, le=1024, description="Backups and restores of a node at the same time.")] = 4

    @property
    def is_cinders(self) -> bool:
        """Whether it keeps what Cinder made, and takes nothing."""
        return self.type == CINDER


class EventReceiver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told of every change: the log, a URL, those who listen to oslo notifications, or Nova."""

    type: Annotated[
        Literal["log", "webhook", "oslo", "nova"],
        Meta(description="What takes them; oslo is notifications on RabbitMQ, nova its server events."),
    ] = "log"
    urls: Annotated[
        list[Secret],
        Meta(
            max_length=16,
            description="webhook: where to POST. oslo: the brokers, tried in turn. nova: its endpoint, if not of the catalog.",
        ),
    ] = []
    timeout_s: Annotated[
        Seconds, Meta(description="After so long without a confirmation they are sent again, later.")
    ] = 10.0
    keep_s: Annotated[
        float,
        Meta(
            ge=0,
            le=315_360_000,
            description="What it has not taken for so long is set aside, and what was aside for so long is given up; 0: never.",
        ),
    ] = 604_800.0
    secret_file: Annotated[
        Path | None, Meta(description="webhook: a file with the secret that signs them; without, they are not signed.")
    ] = None
    ca_file: Annotated[
        Path | None, Meta(description="webhook, nova: who vouches for the server, in PEM; default the system's.")
    ] = None
    exchange: Annotated[Text, Meta(description="oslo: as control_exchange in Cinder's configuration.")] = "cinder"
    topic: Annotated[Text, Meta(description="oslo: messages are routed by TOPIC.info and TOPIC.error.")] = (
        "notifications"
    )
    durable: Annotated[
        bool, Meta(description="oslo: how exchange and queues are made, as amqp_durable_queues of who listens.")
    ] = False
    quorum: Annotated[bool, Meta(description="oslo: make quorum queues, as rabbit_quorum_queue of who listens.")] = (
        False
    )
    credentials_file: Annotated[
        Path | None, Meta(description="nova: a TOML file with auth_type and what that plugin of keystoneauth1 needs.")
    ] = None
    region: Annotated[str, Meta(max_length=64, description="nova: the region, where there are several.")] = ""
    interface: Annotated[
        Literal["public", "internal", "admin"], Meta(description="nova: which endpoint of Keystone's catalog.")
    ] = "internal"


class Audit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asked for what: a line for each request that changes something, or tries to."""

    to: Annotated[
        Literal["none", "log", "file"], Meta(description="Nowhere, the service's log, or a file of its own.")
    ] = "none"
    file: Annotated[Path | None, Meta(description="The file that lines are appended to; it may be moved away.")] = None


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may do what. What a file does not say is as Cinder has it by default."""

    file: Annotated[Path | None, Meta(description="Rules and checks in YAML, as oslo.policy has them.")] = None


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    service: Service
    api: Api
    database: Database
    nodes: Nodes
    doorbell: Doorbell
    quota: Quota
    log: Log
    backends: dict[Name, Backend]
    fences: dict[Name, FenceAgent] = {}
    backup_stores: dict[Name, BackupStore] = {}
    events: dict[Name, EventReceiver] = {}
    audit: Audit = Audit()
    policy: Policy = Policy()
    limits: Limits = Limits()
    auth: Auth = Auth()

    @property
    def own_nodes(self) -> list[str]:
        """The names of the nodes that run here."""
        return [f"{self.nodes.name}-{number + 1}" for number in range(self.nodes.count)]

    @property
    def one_machine(self) -> bool:
        """Whether all nodes of the cluster are certainly on one machine."""
        return is_one_machine(self.database.url, self.nodes)

    @property
    def doorbell_kind(self) -> str:
        """The doorbell in use: never auto."""
        if self.doorbell.kind != "auto":
            return self.doorbell.kind
        return "postgresql" if kind_of(self.database.url) == POSTGRESQL else "datagram"

    @property
    def doorbell_urls(self) -> list[str]:
        """The servers of the doorbell in use; none where it has no servers."""
        if self.doorbell_kind == "postgresql" and not self.doorbell.urls:
            return list(self.database.urls)
        return self.doorbell.urls


class DriverFacts(Struct, frozen=True):
    """What must be known of a driver before it is loaded. A test compares it with what the driver says."""

    storage_fence: bool
    settle_s: float


DRIVERS: Final = {"file": DriverFacts(storage_fence=False, settle_s=60.0)}
# Offered to nobody: chaos runs try on it, with real processes, what a storage fence does.
HARNESS_DRIVERS: Final = {"fenced_file": DriverFacts(storage_fence=True, settle_s=60.0)}


def facts_of(driver: str) -> DriverFacts | None:
    """What is known of a driver; None when there is none of that name."""
    return DRIVERS.get(driver) or HARNESS_DRIVERS.get(driver)


# In the order in which they are written, in `config show` and in the documentation.
SECTIONS: Final[dict[str, type[Struct]]] = {
    "service": Service,
    "api": Api,
    "auth": Auth,
    "database": Database,
    "nodes": Nodes,
    "doorbell": Doorbell,
    "quota": Quota,
    "log": Log,
    "audit": Audit,
    "policy": Policy,
    "limits": Limits,
}
# Sections of which there may be many, each with a name: `[backends.fast]`.
NAMED: Final[dict[str, type[Struct]]] = {
    "backends": Backend,
    "fences": FenceAgent,
    "backup_stores": BackupStore,
    "events": EventReceiver,
}


def is_one_machine(database_url: str, nodes: Nodes) -> bool:
    """An SQLite database is used by the processes of one machine only; any other may have nodes anywhere, unless told so."""
    return database_url.startswith("sqlite") or nodes.one_machine
