"""Every option, read once into one frozen value.

A value comes from, in rising order: its default, the TOML file, the environment (`BREEZEBLOCK_API__PORT`), the command
line. All that is wrong is reported together, each with its key, its value, where it came from and what was expected:
an operator should not find five mistakes in five restarts.

Names without a double underscore (`BREEZEBLOCK_SEED`) are not options and are left alone, unless they begin like one.
"""

import ipaddress
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, structs

__all__ = [
    "Api",
    "Backend",
    "Database",
    "Loaded",
    "Log",
    "Nodes",
    "Problem",
    "Quota",
    "Service",
    "Settings",
    "SettingsError",
    "from_json",
    "load",
    "mask_url_secrets",
    "names_a_secret",
    "render_effective",
    "to_json",
]

PREFIX = "BREEZEBLOCK_"
HIDDEN = "***"
UNLIMITED = -1

# A queue is called cluster@backend, and keys are split at dots: neither sign may be in a name.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
Text = Annotated[str, Meta(min_length=1, max_length=255)]
Limit = Annotated[int, Meta(ge=UNLIMITED)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]  # a day is longer than anybody means


class Service(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    data_dir: Annotated[Path, Meta(description="Where everything without a place of its own is kept.")]
    cluster: Annotated[Name, Meta(description="Nodes with the same cluster and backend share their work.")] = (
        "breezeblock"
    )
    availability_zone: Annotated[Text, Meta(description="The zone of volumes that ask for none.")] = "nova"
    default_project: Annotated[Text, Meta(description="The project of requests that name none.")] = "admin"


class Api(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: Annotated[Text, Meta(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="The port; 0 takes a free one.")] = 8776
    workers: Annotated[int, Meta(ge=1, le=256, description="API processes.")] = 2
    auth: Annotated[Literal["none"], Meta(description="Who is believed: none believes every caller.")] = "none"
    max_limit: Annotated[int, Meta(ge=1, description="The longest page of a list.")] = 1000
    drain_s: Annotated[float, Meta(ge=0, le=3600, description="How long a stop waits for requests in flight.")] = 10.0


class Database(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(description="SQLAlchemy URL; empty means SQLite in data_dir.")]


class Nodes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=1, le=64, description="Nodes that `up` starts here.")] = 3
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


class Quota(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a project may have when nothing was set for it; -1 is without limit."""

    volumes: Limit = 10
    snapshots: Limit = 10
    gigabytes: Limit = 1000
    backups: Limit = 10
    backup_gigabytes: Limit = 1000
    per_volume_gigabytes: Limit = UNLIMITED
    groups: Limit = 10


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Annotated[Literal["json", "console"], Meta(description="Lines for machines, or for people.")] = "json"


class Backend(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: Annotated[Path, Meta(description="Where a driver that uses files keeps them; default data_dir/volumes/NAME.")]
    driver: Annotated[Name, Meta(description="The driver's name.")] = "file"
    copy_rate_limit: Annotated[int, Meta(ge=0, description='Bytes per second, or "100 MiB"; 0 is no limit.')] = 0
    max_over_subscription_ratio: Annotated[
        float, Meta(ge=1, le=1000, description="Promised to real capacity, if thin.")
    ] = 20.0
    reserved_percentage: Annotated[int, Meta(ge=0, le=100, description="Capacity that is never given out.")] = 0
    thin: Annotated[bool, Meta(description="Whether space is taken only when it is written.")] = True
    capabilities: Annotated[
        dict[str, str], Meta(description="What volume types may ask for, besides the driver's.")
    ] = {}


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    service: Service
    api: Api
    database: Database
    nodes: Nodes
    quota: Quota
    log: Log
    backends: dict[Name, Backend]


class Loaded(Struct, frozen=True, kw_only=True):
    """The settings, and for each dotted key where its value came from."""

    settings: Settings
    sources: dict[str, str]


class Problem(NamedTuple):
    key: str
    value: object
    source: str
    expected: str

    def __str__(self) -> str:
        return f"{self.key} = {_shown(self.key.rsplit('.')[-1], self.value)} ({self.source}): {self.expected}"


class SettingsError(ValueError):
    """The settings cannot be used. `problems` has everything that is wrong with them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


# The order of the sections in the file, in `config show` and in the documentation.
_SECTIONS: dict[str, type[Struct]] = {
    "service": Service,
    "api": Api,
    "database": Database,
    "nodes": Nodes,
    "quota": Quota,
    "log": Log,
}
_BACKENDS = "backends"

# The values of api.auth that check nothing.
_BELIEVES_EVERYBODY = frozenset({"none"})


class _Given(NamedTuple):
    """One value somebody wrote.

    `folder` is what its relative paths start from. `strict` means that it had a type where it was written, as in a
    file; a word is all that the environment and a command line have.
    """

    key: tuple[str, ...]
    value: object
    source: str
    folder: Path
    strict: bool


def load(file: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Loaded:
    """Read everything once. `overrides` are dotted keys from the command line; None there means not given.

    Raises SettingsError with all problems.
    """
    problems: list[Problem] = []
    given = list(_from_file(file, problems)) if file else []
    given += _from_environment(environ, {one.key[1] for one in given if one.key[0] == _BACKENDS}, problems)
    here = Path.cwd()
    given += [
        _Given(tuple(key.split(".")), value, "command line", here, strict=False)
        for key, value in (overrides or {}).items()
        if value is not None
    ]

    values: dict[tuple[str, ...], object] = {}
    sources: dict[tuple[str, ...], str] = {}
    for one in given:
        # What a later source replaces is checked as well: it would fail on the day the later one is removed.
        try:
            values[one.key] = _convert(one)
            sources[one.key] = one.source
        except ValueError as error:
            problems.append(Problem(".".join(one.key), one.value, one.source, str(error)))
    if problems:
        raise SettingsError(problems)

    settings = _build(values)
    loaded = Loaded(settings=settings, sources={key: sources.get(path, "default") for key, path, _ in _rows(settings)})
    problems = list(_contradictions(loaded))
    if problems:
        raise SettingsError(problems)
    return loaded


def to_json(settings: Settings) -> str:
    """The settings for a child process."""
    return msgspec.json.encode(settings, enc_hook=str).decode()


def from_json(text: str) -> Settings:
    return msgspec.json.decode(text, type=Settings, dec_hook=_decode_path)


def render_effective(loaded: Loaded) -> str:
    """Each value and its source as TOML that could be read again, but for secrets, which are hidden."""
    lines = [
        f"{key} = {_shown(path[-1], value)}  # {loaded.sources[key]}" for key, path, value in _rows(loaded.settings)
    ]
    return "\n".join(lines) + "\n"


# --- where values come from -------------------------------------------------------------------------------------------


def _from_file(file: Path, problems: list[Problem]) -> Iterator[_Given]:
    source = f"file {file}"
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(Problem("settings", str(file), source, f"expected a readable TOML file: {error}"))
        return
    folder = file.absolute().parent
    for section, content in document.items():
        if not isinstance(content, dict) or (not content and section not in _SECTIONS and section != _BACKENDS):
            yield _Given((section,), content, source, folder, strict=True)
        elif section != _BACKENDS:
            for key, value in content.items():
                yield _Given((section, key), value, source, folder, strict=True)
        else:
            for name, backend in content.items():
                # A table without keys is a backend with every default: its driver, written out, keeps it in sight.
                given = backend or {"driver": "file"}
                if not isinstance(given, dict):
                    yield _Given((section, name), given, source, folder, strict=True)
                    continue
                for key, value in given.items():
                    yield _Given((section, name, key), value, source, folder, strict=True)


def _from_environment(environ: Mapping[str, str], backends: set[str], problems: list[Problem]) -> Iterator[_Given]:
    """`BREEZEBLOCK_API__PORT`. `BREEZEBLOCK_BACKENDS__FAST_DISK__PATH` means the file's `[backends.Fast-disk]`."""
    written = {_fold(name): name for name in sorted(backends)}
    here = Path.cwd()
    for variable, value in sorted(environ.items()):
        if not variable.startswith(PREFIX):
            continue
        rest = variable.removeprefix(PREFIX).lower()
        key = tuple(rest.split("__"))
        if len(key) == 1:
            meant = _meant(rest)
            if meant:
                problems.append(Problem(variable, value, "environment", f"not an option; did you mean {meant}?"))
            continue
        if key[0] == _BACKENDS:
            key = (key[0], written.get(key[1], key[1]), *key[2:])
        yield _Given(key, value, f"environment {variable}", here, strict=False)


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")


def _meant(rest: str) -> str | None:
    """The option whose separator was written with one underscore instead of two."""
    for section, kind in _SECTIONS.items():
        for field in structs.fields(kind):
            if rest == f"{section}_{field.name}":
                return f"{PREFIX}{section}__{field.name}".upper()
    return None


# --- from what was written to what is meant ---------------------------------------------------------------------------


def _convert(given: _Given) -> object:
    """The value as the option's type. Raises ValueError that says what was expected."""
    kind = _type_of(given.key)
    value = given.value
    if given.key[-1] == "copy_rate_limit" and isinstance(value, str):
        value = _parse_bytes(value)
    origin = get_origin(_bare(kind))
    if origin is dict and isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError('expected a JSON object such as {"tier": "gold"}') from error
    if _bare(kind) is Path:
        if not isinstance(value, str | Path) or not str(value):
            raise ValueError("expected a path")
        return given.folder / value
    try:
        return msgspec.convert(value, kind, strict=given.strict)
    except msgspec.ValidationError as error:
        if origin is Literal:
            raise ValueError(f"expected one of {', '.join(get_args(_bare(kind)))}") from error
        raise ValueError(str(error).replace("`", "").replace("Expected", "expected").split(", got")[0]) from error


def _type_of(key: tuple[str, ...]) -> Any:
    """The option's type. Raises ValueError that says which options there are."""
    if key[0] == _BACKENDS:
        if len(key) != 3:
            raise ValueError(f"expected {_BACKENDS}.NAME.KEY")
        try:
            msgspec.convert(key[1], Name)
        except msgspec.ValidationError as error:
            raise ValueError("a backend's name is letters, digits, - and _, at most 63") from error
        kind: type[Struct] = Backend
    elif key[0] not in _SECTIONS:
        raise ValueError(f"unknown section; expected one of {_section_names()}")
    elif len(key) != 2:
        raise ValueError("expected SECTION.KEY")
    else:
        kind = _SECTIONS[key[0]]
    types = {field.name: field.type for field in structs.fields(kind)}
    if key[-1] not in types:
        raise ValueError(f"unknown key; expected one of {', '.join(types)}")
    return types[key[-1]]


def _section_names() -> str:
    return ", ".join([*_SECTIONS, _BACKENDS])


def _bare(kind: Any) -> Any:
    """The type without its annotations."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


_BYTE_UNITS = {"": 1, "b": 1, **{f"{sign}ib": 1024**power for power, sign in enumerate("kmgt", start=1)}}
_BYTE_UNITS |= {f"{sign}b": 1000**power for power, sign in enumerate("kmgt", start=1)}


def _parse_bytes(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)(?:/s)?\s*", text.lower())
    if not match or match[2] not in _BYTE_UNITS:
        raise ValueError('expected bytes per second such as 1048576, "100 MiB" or "1.5 GB"')
    return int(float(match[1]) * _BYTE_UNITS[match[2]])


def _build(values: Mapping[tuple[str, ...], object]) -> Settings:
    """Fill in the defaults that depend on other values."""

    def section(*prefix: str) -> dict[str, Any]:
        return {key[-1]: value for key, value in values.items() if key[:-1] == prefix}

    service = Service(**({"data_dir": Path("/var/lib/breezeblock")} | section("service")))
    database = section("database")
    database["url"] = database.get("url") or f"sqlite:///{service.data_dir / 'breezeblock.db'}"
    names = sorted({key[1] for key in values if key[0] == _BACKENDS}) or ["file"]
    return Settings(
        service=service,
        api=Api(**section("api")),
        database=Database(**database),
        nodes=Nodes(**section("nodes")),
        quota=Quota(**section("quota")),
        log=Log(**section("log")),
        backends={
            name: Backend(**({"path": service.data_dir / "volumes" / name} | section(_BACKENDS, name)))
            for name in names
        },
    )


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)  # msgspec's own sign for a type that it cannot make


# --- values that cannot be together -----------------------------------------------------------------------------------


def _contradictions(loaded: Loaded) -> Iterator[Problem]:
    settings = loaded.settings
    api, nodes, url = settings.api, settings.nodes, settings.database.url

    def problem(key: str, value: object, expected: str) -> Problem:
        return Problem(key, value, loaded.sources[key], expected)

    if api.auth in _BELIEVES_EVERYBODY and not _is_loopback(api.host):
        reason = f"api.auth is {api.auth}, which believes every caller, so only this machine may call"
        way_out = "use 127.0.0.1 and let a proxy that checks its callers forward to it"
        yield problem("api.host", api.host, f"{reason}; {way_out}")
    if not re.match(r"[a-z][a-z0-9+_]*://", url):
        yield problem("database.url", url, "expected a URL such as postgresql://host/name")
    elif re.fullmatch(r"sqlite(\+\w+)?://(/?|/:memory:.*|.*[?&]mode=memory.*)", url):
        yield problem("database.url", url, "expected a database in a file; each process would have a memory of its own")
    elif not url.startswith("sqlite:///"):
        yield problem("database.url", url, "expected sqlite:///PATH: this release keeps its state in SQLite only")
    if nodes.poll_s >= nodes.park_after_s:
        yield problem("nodes.poll_s", nodes.poll_s, "expected less than nodes.park_after_s")
    if nodes.park_after_s <= nodes.ttl_s * (1 + nodes.drift):
        # A node that crashed would have its operations given up before anybody may take them over.
        silence = "the silence after which a node counts as lost, nodes.ttl_s * (1 + nodes.drift)"
        yield problem("nodes.park_after_s", nodes.park_after_s, f"expected more than {silence}")

    # Two backends in one folder would count its space twice, and each would report the other's files as orphans.
    first: dict[Path, str] = {}
    for name, backend in settings.backends.items():
        if backend.driver != "file":
            yield problem(f"{_BACKENDS}.{name}.driver", backend.driver, "expected file, the one driver of this release")
        other = first.setdefault(backend.path, name)
        if other != name:
            yield problem(f"{_BACKENDS}.{name}.path", str(backend.path), f"backend {other} has this path already")


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # a name can mean any address tomorrow


# --- showing, without secrets -----------------------------------------------------------------------------------------

_SECRET_NAME = re.compile(r"passw(or)?d|passphrase|secret|token|authorization|credential", re.IGNORECASE)
# Greedy up to the last @: hiding too much costs a moment, showing a part of a password costs the password.
_URL_PASSWORD = re.compile(r"(://[^\s/:@\"'<>]*):[^\s\"'<>]*@")
_URL_QUERY_SECRET = re.compile(r"([?&][\w.-]*(?:passw(?:or)?d|secret|token)[\w.-]*=)[^\s&\"'<>]+", re.IGNORECASE)


@lru_cache(maxsize=1024)  # the names in log lines are few and come again for every line
def names_a_secret(name: str) -> bool:
    """Whether a value under this name is hidden wherever we show it."""
    return _SECRET_NAME.search(name) is not None


def mask_url_secrets(text: str) -> str:
    """The text with the passwords in its URLs hidden."""
    if "://" not in text:
        return text
    return _URL_QUERY_SECRET.sub(rf"\1{HIDDEN}", _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text))


def _rows(settings: Settings) -> Iterator[tuple[str, tuple[str, ...], object]]:
    """Each option: dotted key, the same key in parts, value."""
    groups: list[tuple[tuple[str, ...], Struct]] = [((name,), getattr(settings, name)) for name in _SECTIONS]
    groups += [((_BACKENDS, name), backend) for name, backend in settings.backends.items()]
    for prefix, group in groups:
        for name, value in structs.asdict(group).items():
            path = (*prefix, name)
            yield ".".join(path), path, value


def _shown(name: str, value: object) -> str:
    """A value as TOML, hidden if its name says that it is a secret."""
    if names_a_secret(name):
        return json.dumps(HIDDEN)
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(str(key))} = {_shown(str(key), item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(mask_url_secrets(str(value)), ensure_ascii=False)
