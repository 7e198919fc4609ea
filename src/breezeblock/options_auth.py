"""The options of `[auth]`: how callers are identified. `options.py` has all others."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Word = Annotated[str, Meta(min_length=1, max_length=255)]


class Auth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is believed to be whom. A caller that `none` believes is an administrator."""

    strategy: Annotated[
        Literal["none", "http_basic", "keystone"],
        Meta(
            description="none believes every caller; http_basic knows users by files; keystone takes Keystone's tokens."
        ),
    ] = "none"
    hosts: Annotated[
        list[Word],
        Meta(
            max_length=64, description="none: names that the API may be asked for by, besides localhost and 127.0.0.1."
        ),
    ] = field(default_factory=list)
    htpasswd_file: Annotated[
        Path | None, Meta(description="http_basic: who has which password, as `htpasswd -B` writes it.")
    ] = None
    users_file: Annotated[
        Path | None, Meta(description="http_basic: a TOML file with each user's project, roles and limits.")
    ] = None
    auth_url: Annotated[
        str, Meta(max_length=1024, description="keystone: its URL, such as https://identity.example.org/v3.")
    ] = ""
    username: Annotated[str, Meta(max_length=255, description="keystone: the service user that validates tokens.")] = (
        "breezeblock"
    )
    password: Annotated[
        str, Meta(max_length=1024, extra={"secret": True}, description="keystone: its password; better in a file.")
    ] = ""
    password_file: Annotated[
        Path | None, Meta(description="keystone: a file with its password, read anew for each login.")
    ] = None
    user_domain_name: Annotated[Word, Meta(description="keystone: the domain of the service user.")] = "Default"
    project_name: Annotated[Word, Meta(description="keystone: the project in which it has its role.")] = "service"
    project_domain_name: Annotated[Word, Meta(description="keystone: the domain of that project.")] = "Default"
    ca_file: Annotated[Path | None, Meta(description="keystone: who vouches for it, in PEM; default the system's.")] = (
        None
    )
    insecure: Annotated[bool, Meta(description="keystone: do not check its certificate. For trials only.")] = False
    timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="keystone: how long to wait for a connection, and for an answer.")
    ] = 10.0
    cache_s: Annotated[
        float,
        Meta(ge=0, le=86_400, description="How long a token or a password that was found good is not looked at again."),
    ] = 300.0
    outage_s: Annotated[
        float,
        Meta(ge=0, le=86_400, description="keystone: how much longer, while it does not answer; 0: not longer."),
    ] = 3600.0
    service_roles: Annotated[
        list[Word], Meta(min_length=1, max_length=16, description="keystone: one of which a service token has.")
    ] = field(default_factory=lambda: ["service"])
    www_authenticate_uri: Annotated[
        str, Meta(max_length=1024, description="keystone: where users are sent for a token; default auth_url.")
    ] = ""
    protect_nova_attachments: Annotated[
        bool,
        Meta(description="keystone: only who has a service token may take a volume away under a connected instance."),
    ] = True
