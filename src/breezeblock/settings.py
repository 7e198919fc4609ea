"""Every option, read once into one frozen value.

A value comes from, in rising order: its default, the TOML file, a credential of systemd (`settings_secrets.py`), the
environment (`BREEZEBLOCK_API__PORT`), the command line. All that is wrong is reported together, each with its key, its value,
where it came from and what was expected: an operator should not find five mistakes in five restarts.

Names without a double underscore (`BREEZEBLOCK_SEED`) are not options and are left alone, unless they begin like one.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Struct, structs

from breezeblock import settings_secrets
from breezeblock.options import (
    DRIVERS,
    NAMED,
    SECTIONS,
    Api,
    Audit,
    Backend,
    BackupStore,
    Database,
    Doorbell,
    EventReceiver,
    FenceAgent,
    Log,
    Name,
    Nodes,
    Policy,
    Quota,
    Service,
    Settings,
    facts_of,
    is_one_machine,
)
from breezeblock.options_auth import Auth
from breezeblock.options_limits import Limits
from breezeblock.settings_masks import HIDDEN, mask_url_secrets, names_a_secret
from breezeblock.settings_rules import contradictions

__all__ = [
    "HIDDEN",
    "Api",
    "Audit",
    "Auth",
    "Backend",
    "BackupStore",
    "Database",
    "Doorbell",
    "EventReceiver",
    "FenceAgent",
    "Limits",
    "Loaded",
    "Log",
    "Nodes",
    "Policy",
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
_BACKENDS, _FENCES, _STORES, _EVENTS = "backends", "fences", "backup_stores", "events"
# What stands for a table without keys, which asks for every default: its kind, written out, keeps it in sight.
_EMPTY: Mapping[str, Mapping[str, object]] = {
    _BACKENDS: {"driver": "file"},
    _STORES: {"type": "folder"},
    _EVENTS: {"type": "log"},
}
_RATES = ("copy_rate_limit", "rate_limit", "restore_rate_limit")
_DEFAULT_STORE = "default"


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
    given += _from_credentials(environ.get(settings_secrets.VARIABLE, ""), problems)
    given += _from_environment(environ, {one.key[:2] for one in given if one.key[0] in NAMED}, problems)
    here = Path.cwd()
    given += [
        _Given(tuple(key.split(".")), value, "command line", here, strict=False)
        for key, value in (overrides or {}).items()
        if value is not None
    ]

    values: dict[tuple[str, ...], object] = {}
    sources: dict[tuple[str, ...], str] = {}
    for one in _with_secrets_read(given, problems):
        # What a later source replaces is checked as well: it would fail on the day the later one is removed.
        try:
            values[one.key] = _convert(one)
            sources[one.key] = one.source
        except ValueError as error:
            problems.append(Problem(".".join(one.key), one.value, one.source, str(error)))
    if problems:
        raise SettingsError(problems)

    if missing := list(_missing(values)):
        raise SettingsError(missing)
    settings = _build(values)
    loaded = Loaded(settings=settings, sources={key: sources.get(path, "default") for key, path, _ in _rows(settings)})
    problems = [
        Problem(key, value, loaded.sources.get(key, "default"), expected)
        for key, value, expected in contradictions(settings)
    ]
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
        if not isinstance(content, dict) or (not content and section not in (*SECTIONS, *NAMED)):
            yield _Given((section,), content, source, folder, strict=True)
        elif section not in NAMED:
            for key, value in content.items():
                yield _Given((section, key), value, source, folder, strict=True)
        else:
            for name, table in content.items():
                given = table or _EMPTY.get(section, table)
                if not isinstance(given, dict):
                    yield _Given((section, name), given, source, folder, strict=True)
                    continue
                for key, value in given.items():
                    yield _Given((section, name, key), value, source, folder, strict=True)


def _from_environment(
    environ: Mapping[str, str], named: set[tuple[str, ...]], problems: list[Problem]
) -> Iterator[_Given]:
    """`BREEZEBLOCK_API__PORT`. `BREEZEBLOCK_BACKENDS__FAST_DISK__PATH` means the file's `[backends.Fast-disk]`."""
    written = {(section, _fold(name)): name for section, name in sorted(named)}
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
        if key[0] in NAMED:
            key = (key[0], written.get((key[0], key[1]), key[1]), *key[2:])
        yield _Given(key, value, f"environment {variable}", here, strict=False)


def _from_credentials(folder: str, problems: list[Problem]) -> Iterator[_Given]:
    if not folder:
        return

    def refuse(key: str, path: Path, expected: str) -> None:
        problems.append(Problem(key, str(path), "credentials", expected))

    for key, path in settings_secrets.credentials(folder, refuse):
        twin = key if settings_secrets.is_path(key) else (*key[:-1], f"{key[-1]}_file")
        yield _Given(twin, str(path), f"credential {path.name}", path.parent, strict=False)


def _with_secrets_read(given: Iterable[_Given], problems: list[Problem]) -> Iterator[_Given]:
    """The same, with what is in a file of its own (`url_file`) as if it had been written where that was named."""
    given = list(given)
    written = {(one.key, one.source.partition(" ")[0]) for one in given}
    for one in given:
        option = settings_secrets.twin_of(one.key)
        if option is None:
            yield one
            continue
        key = ".".join(one.key)
        if (option, one.source.partition(" ")[0]) in written:
            problems.append(Problem(key, one.value, one.source, f"expected either this or {option[-1]}"))
        try:
            if not isinstance(one.value, str) or not one.value:
                raise ValueError("expected the path of a file with the secret")
            text = settings_secrets.read_secret(one.folder / one.value)
        except ValueError as error:
            problems.append(Problem(key, one.value, one.source, str(error)))
            continue
        is_list = get_origin(_bare(_type_of(option))) is list
        value = text.splitlines() if is_list and "\n" in text else text
        yield one._replace(key=option, value=value, source=f"{one.source}, {key}", strict=False)


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")


def _meant(rest: str) -> str | None:
    """The option whose separator was written with one underscore instead of two."""
    for section, kind in SECTIONS.items():
        for field in structs.fields(kind):
            if rest == f"{section}_{field.name}":
                return f"{PREFIX}{section}__{field.name}".upper()
    return None


# --- from what was written to what is meant ---------------------------------------------------------------------------


def _convert(given: _Given) -> object:
    """The value as the option's type. Raises ValueError that says what was expected."""
    kind = _type_of(given.key)
    value = given.value
    if given.key[-1] in _RATES and isinstance(value, str):
        value = _parse_bytes(value)
    origin = get_origin(_bare(kind))
    if origin is dict and isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError('expected a JSON object such as {"tier": "gold"}') from error
    if origin is list and isinstance(value, str):
        value = _words(value)
    if origin is dict and get_args(_bare(kind))[1] is Path:
        return _paths(value, given.folder)
    if _bare(kind) == Path | None and value == "":
        return None
    if _bare(kind) in (Path, Path | None):
        if not isinstance(value, str | Path) or not str(value):
            raise ValueError("expected a path")
        return given.folder / value
    try:
        return msgspec.convert(value, kind, strict=given.strict)
    except msgspec.ValidationError as error:
        if origin is Literal:
            raise ValueError(f"expected one of {', '.join(get_args(_bare(kind)))}") from error
        raise ValueError(str(error).replace("`", "").replace("Expected", "expected").split(", got")[0]) from error


def _words(text: str) -> list[str]:
    """A list as it may be written in one word: as JSON, or as its only item; nothing is no item."""
    if not text.lstrip().startswith("["):
        return [text] if text else []
    try:
        found: list[str] = json.loads(text)
    except ValueError as error:
        raise ValueError('expected a JSON list such as ["one", "two"]') from error
    return found


def _paths(value: object, folder: Path) -> dict[str, Path]:
    if not isinstance(value, dict) or not all(isinstance(path, str) and path for path in value.values()):
        raise ValueError('expected a table of paths such as { password = "ipmi.password" }')
    return {str(key): folder / path for key, path in value.items()}


def _type_of(key: tuple[str, ...]) -> Any:
    """The option's type. Raises ValueError that says which options there are."""
    if key[0] in NAMED:
        if len(key) != 3:
            raise ValueError(f"expected {key[0]}.NAME.KEY")
        try:
            msgspec.convert(key[1], Name)
        except msgspec.ValidationError as error:
            raise ValueError(f"the name of a section in {key[0]} is letters, digits, - and _, at most 63") from error
        kind = NAMED[key[0]]
    elif key[0] not in SECTIONS:
        raise ValueError(f"unknown section; expected one of {_section_names()}")
    elif len(key) != 2:
        raise ValueError("expected SECTION.KEY")
    else:
        kind = SECTIONS[key[0]]
    types = {field.name: field.type for field in structs.fields(kind)}
    if key[-1] not in types:
        raise ValueError(f"unknown key; expected one of {', '.join(types)}")
    return types[key[-1]]


def _section_names() -> str:
    return ", ".join([*SECTIONS, *NAMED])


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


def _missing(values: Mapping[tuple[str, ...], object]) -> Iterator[Problem]:
    """What has no default and was not written."""
    for name in sorted({key[1] for key in values if key[0] == _FENCES}):
        if (_FENCES, name, "command") not in values:
            yield Problem(f"{_FENCES}.{name}.command", "", "default", "expected the fence agent's program")


def _build(values: Mapping[tuple[str, ...], object]) -> Settings:
    """Fill in the defaults that depend on other values."""

    def section(*prefix: str) -> dict[str, Any]:
        return {key[-1]: value for key, value in values.items() if key[:-1] == prefix}

    def names(section: str) -> list[str]:
        return sorted({key[1] for key in values if key[0] == section})

    service = Service(**({"data_dir": Path("/var/lib/breezeblock")} | section("service")))
    nodes = Nodes(**section("nodes"))
    database = section("database")
    database["url"] = database.get("url") or f"sqlite:///{service.data_dir / 'breezeblock.db'}"
    one_machine = is_one_machine(database["url"], nodes)
    scope = "node" if one_machine else "machine"
    return Settings(
        service=service,
        api=Api(**section("api")),
        auth=Auth(**section("auth")),
        database=Database(**database),
        nodes=nodes,
        doorbell=_doorbell(section("doorbell"), nodes),
        quota=Quota(**section("quota")),
        log=Log(**section("log")),
        audit=Audit(**section("audit")),
        policy=Policy(**section("policy")),
        limits=Limits(**section("limits")),
        backends={
            name: _backend(name, section(_BACKENDS, name), service, nodes, one_machine=one_machine)
            for name in names(_BACKENDS) or ["file"]
        },
        fences={name: FenceAgent(**({"scope": scope} | section(_FENCES, name))) for name in names(_FENCES)},
        backup_stores={
            name: _store(name, section(_STORES, name), service) for name in names(_STORES) or [_DEFAULT_STORE]
        },
        events={name: EventReceiver(**section(_EVENTS, name)) for name in names(_EVENTS)},
    )


def _doorbell(given: Mapping[str, Any], nodes: Nodes) -> Doorbell:
    default: dict[str, Any] = {"quorum": len(given.get("urls", ())) > 1, "idle_poll_s": nodes.poll_s}
    return Doorbell(**(default | dict(given)))


def _backend(name: str, given: Mapping[str, Any], service: Service, nodes: Nodes, *, one_machine: bool) -> Backend:
    driver = facts_of(given.get("driver", "file")) or DRIVERS["file"]
    agent = given.get("fence_agent") or nodes.fence_agent
    applies = {"same_machine": one_machine, "boot": True, "external": bool(agent), "storage": driver.storage_fence}
    default: dict[str, Any] = {
        "path": service.data_dir / "volumes" / name,
        "availability_zone": service.availability_zone,
        "fence": [method for method, does in applies.items() if does],
        "settle_s": driver.settle_s,
        "locks": "local" if one_machine else "database",
        "locks_scope": name,
    }
    return Backend(**(default | dict(given) | {"fence_agent": agent}))


def _store(name: str, given: Mapping[str, Any], service: Service) -> BackupStore:
    default: dict[str, Any] = {"availability_zone": service.availability_zone}
    if given.get("type", "folder") == "folder":
        default["path"] = service.data_dir / ("backups" if name == _DEFAULT_STORE else f"backups-{name}")
    # What is empty, as a path may be written to mean none, is the default.
    return BackupStore(**(default | {key: value for key, value in given.items() if value not in (None, "")}))


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)  # msgspec's own sign for a type that it cannot make


# --- showing, without secrets -----------------------------------------------------------------------------------------


def _rows(settings: Settings) -> Iterator[tuple[str, tuple[str, ...], object]]:
    """Each option: dotted key, the same key in parts, value."""
    groups: list[tuple[tuple[str, ...], Struct]] = [((name,), getattr(settings, name)) for name in SECTIONS]
    groups += [((section, name), one) for section in NAMED for name, one in getattr(settings, section).items()]
    for prefix, group in groups:
        for name, value in structs.asdict(group).items():
            path = (*prefix, name)
            yield ".".join(path), path, value


def _shown(name: str, value: object) -> str:
    """A value as TOML, hidden if its name says that it is a secret."""
    if names_a_secret(name) and value not in ("", None):  # that there is none is no secret
        return json.dumps(HIDDEN)
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(str(key))} = {_shown(str(key), item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_shown("", item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if value is None:
        return json.dumps("")
    return json.dumps(mask_url_secrets(str(value), is_url=True), ensure_ascii=False)
