#!/usr/bin/env python3
"""Write the pages of docs/reference that restate tables of the code.

A page that is written by hand beside a table is wrong after the next change of the table. These are made from the tables
themselves, and a test compares what is committed with what this makes:

    .venv/bin/python scripts/generate_reference.py            write the pages
    .venv/bin/python scripts/generate_reference.py --check    only tell which are out of date
"""

import ast
import importlib
import inspect
import pkgutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import typer.main
import yaml
from msgspec import Meta, Struct, structs

from breezeblock import cli, resources, settings
from breezeblock.api import counts, metrics, microversions, routes
from breezeblock.api import errors as http
from breezeblock.api.microversions import OLDEST
from breezeblock.model import errors, states
from breezeblock.protocol.steps import Operation
from breezeblock.resources import accepted, targets
from breezeblock.store import tables
from breezeblock.store.transitions import Transition
from breezeblock.testing import calls
from breezeblock.testing.invariants import BORN
from breezeblock.work.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Made by scripts/generate_reference.py from {source}: change that, and run the script. -->"


def page(title: str, source: str, *parts: str) -> str:
    return "\n\n".join((NOTE.format(source=source), f"# {title}", *(part.strip("\n") for part in parts))) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def code(text: object) -> str:
    return f"`{text}`"


def first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


# --- configuration ----------------------------------------------------------------------------------------------------

CONFIGURATION = """
A value comes from, in rising order: its default, the TOML file, the environment, the command line. Everything that is wrong
is reported together. Relative paths in the file start from the file's folder.

In the environment a key is written in capitals with two underscores between its parts: `api.port` is
`BREEZEBLOCK_API__PORT`, and `path` of `[backends.fast-disk]` is `BREEZEBLOCK_BACKENDS__FAST_DISK__PATH`.
"""


NAMED_SECTIONS = {
    "backends": "One section for each backend. Without any there is one, called `file`, with every default.",
    "fences": "One section for each fence agent; [fencing](../howto/fencing.md) says how they are called. None by default.",
    "backup_stores": "One section for each store of backups; [the how-to](../howto/back-up-to-s3.md) has examples. Without any "
    "there is one, called `default`, a folder.",
    "events": "One section for each receiver; [the how-to](../howto/receive-events.md) has examples. None by default.",
}


def configuration() -> str:
    """Every option of every section."""
    # Sections that are there only when somebody writes them are shown as the shortest that can be written.
    needed = {"BREEZEBLOCK_FENCES__NAME__COMMAND": "/usr/sbin/fence_ipmilan", "BREEZEBLOCK_EVENTS__NAME__TYPE": "log"}
    chosen = settings.load(None, needed).settings
    parts = []
    for field in structs.fields(settings.Settings):
        one = NAMED_SECTIONS.get(field.name)
        parts.append(f"## `[{field.name}{'.NAME' * (one is not None)}]`")
        if one is not None:
            parts.append(one)
        values = getattr(chosen, field.name)
        values = next(iter(values.values())) if one is not None else values
        parts.append(_section(type(values), values))
    return page("Configuration", "the structs of options.py", CONFIGURATION, *parts)


def _section(kind: type[Struct], values: Struct) -> str:
    rows = []
    for field in structs.fields(kind):
        bare, metas = _unwrapped(field.type)
        said = " ".join(meta.description for meta in metas if meta.description)
        rows.append((code(field.name), _kind(bare, metas), code(_default(getattr(values, field.name))), said))
    heads = ("Key", "Value", "Default", "Meaning")
    doc = first_line(kind) if kind.__doc__ and not kind.__doc__.startswith(kind.__name__ + "(") else ""
    return f"{doc}\n\n{table(heads, rows)}" if doc else table(heads, rows)


def _unwrapped(kind: Any) -> tuple[Any, list[Meta]]:
    metas: list[Meta] = []
    while get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        metas += more
    return kind, metas


def _kind(bare: Any, metas: Sequence[Meta]) -> str:
    if get_origin(bare) is Literal:
        return " or ".join(code(word) for word in get_args(bare))
    names = {
        int: "whole number",
        float: "number",
        bool: "true or false",
        str: "text",
        Path: "path",
        Path | None: "path",
    }
    name = names.get(bare) or _collection(bare)
    bounds = [
        f"{sign} {value}"
        for meta in metas
        for sign, value in (("≥", meta.ge), (">", meta.gt), ("≤", meta.le), ("<", meta.lt))
        if value is not None
    ]
    return ", ".join([name, *bounds])


def _collection(bare: Any) -> str:
    item = _unwrapped(get_args(bare)[-1])[0]
    if get_origin(bare) is list:
        return f"list of {_kind(item, ())}" if get_origin(item) is Literal else "list of texts"
    return {str: "table of texts", Path: "table of paths"}.get(item, "table")


def _default(value: object) -> str:
    return msgspec.json.encode("" if value is None else value, enc_hook=str).decode()


# --- states -----------------------------------------------------------------------------------------------------------

STATES = """
A status changes only by a declared transition (`Transition` in `store/transitions.py`): the conditions are evaluated on the
locked row, and the first one that does not hold is the answer. "Any" in the first column is an operator's word, or a forced
call, which asks for no status.

The diagrams leave out what starts from any status, and resets. What a request leaves behind while it runs is a transitional
status, and an operation that holds the resource will end it, unless an operator has set the status by hand.
"""
RESETS = ("volume.reset_status", "snapshot.reset_status")


def state_tables() -> str:
    """Moves and conditions of each resource, and a diagram."""
    found = list(_transitions())
    parts = []
    for resource, transitional in TRANSITIONAL.items():
        ours = [transition for transition in found if transition.table is resource]
        words = ", ".join(code(word) for word in sorted(transitional))
        parts += [
            f"## {resource.name.capitalize().replace('_', ' ')}",
            f"Transitional: {words}.",
            _diagram(ours),
            table(("Transition", "Status changes", "Conditions, in order"), [_transition_row(one) for one in ours]),
        ]
    return page("Status changes", "the Transition declarations in resources/", STATES, *parts)


TRANSITIONAL = {
    tables.volumes: states.VOLUME_TRANSITIONAL,
    tables.snapshots: states.SNAPSHOT_TRANSITIONAL,
    tables.backups: states.BACKUP_TRANSITIONAL,
    tables.volume_groups: states.GROUP_TRANSITIONAL,
    tables.group_snapshots: states.GROUP_TRANSITIONAL,
}


def _transitions() -> Iterator[Transition]:
    """Those that modules declare, and those that a function of theirs declares for a table."""
    seen: set[int] = set()
    for info in pkgutil.iter_modules(resources.__path__):
        module = importlib.import_module(f"{resources.__name__}.{info.name}")
        for value in vars(module).values():
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, Transition):
                yield value
            elif callable(value) and getattr(value, "__module__", "") == module.__name__:
                yield from _made(value)


def _made(function: Callable[..., Any]) -> Iterator[Transition]:
    signature = inspect.signature(function)
    if signature.return_annotation is not Transition:
        return
    for resource, transitional in TRANSITIONAL.items():
        if function.__module__ == targets.__name__ and resource.name not in targets.TABLES:
            continue  # a failover moves what is on the backend's storage only
        if function is accepted._nothing_there and resource.name not in accepted.CONTENT:
            continue  # what has nothing on storage is not told apart by it
        known: dict[str, Any] = {"table": resource, "transitional": tuple(sorted(transitional))}
        assert set(signature.parameters) <= set(known), f"{function} makes transitions out of something unknown"
        yield function(**{name: known[name] for name in signature.parameters})


def _transition_row(transition: Transition) -> tuple[str, str, str]:
    moves: dict[str, list[str]] = {}
    for before, after in transition.moves:
        moves.setdefault(code(before) if before else "any", []).append(code(after))
    sets = {tuple(afters) for afters in moves.values()}
    if len(sets) == 1:
        changes = f"{', '.join(moves)} → {', '.join(next(iter(sets)))}"
    else:
        changes = "<br>".join(f"{before} → {', '.join(afters)}" for before, afters in moves.items())
    musts = [f"{_status(must.error)}: {must.otherwise}" for must in transition.musts]
    return code(transition.name), changes or "none; it only asks", "<br>".join(musts) or "none"


def _status(error: type[Exception]) -> int:
    return next(http.FAULTS[kind].status for kind in error.__mro__ if kind in http.FAULTS)


def _diagram(transitions: Sequence[Transition]) -> str:
    edges: dict[tuple[str, str], list[str]] = {}
    for transition in transitions:
        for before, after in transition.moves:
            if before and transition.name not in RESETS:
                edges.setdefault((before, after), []).append(transition.name.partition(".")[2])
    names = sorted({name for edge in edges for name in edge})
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{name}" as {_word(name)}' for name in names if name != _word(name)]
    # A volume for which no pool was found begins in error; nothing of the kind can happen to a snapshot.
    born = BORN if transitions[0].table is tables.volumes else BORN[:1]
    lines += [f"    [*] --> {_word(name)}" for name in born]
    lines += [
        f"    {_word(before)} --> {_word(after)}: {', '.join(by)}"
        for (before, after), by in sorted(edges.items())
        if before != after
    ]
    lines.append(f"    {states.DELETING} --> [*]")
    return "```mermaid\n" + "\n".join(lines) + "\n```"


def _word(name: str) -> str:
    return name.replace("-", "_")


# --- operations -------------------------------------------------------------------------------------------------------

OPERATIONS = """
What runs after a request was accepted. Each kind is a sequence of steps; every step is safe to repeat, and a survivor goes on
at the one that was saved last. When the work fails, the undo steps run and `fail` ends the operation; otherwise `finish` does.
The payload is what the request stored with the operation; its form has the version.
"""


def operations() -> str:
    """Every kind in the catalogue."""
    parts = [part for operation in CATALOGUE.values() for part in _operation(operation)]
    return page("Operations", "work/catalogue.py", OPERATIONS, *parts)


def _operation(operation: Operation) -> Iterator[str]:
    yield f"## `{operation.kind}`, version {operation.version}"
    fields = ", ".join(code(field.name) for field in structs.fields(operation.payload))
    yield f"Payload: {fields}."
    rows = [("step", code(step.__name__), first_line(step)) for step in operation.steps]
    rows += [("finish", code(_name(operation.finish)), first_line(operation.finish))]
    rows += [("undo", code(step.__name__), first_line(step)) for step in operation.undo]
    rows += [("fail", code(_name(operation.fail)), first_line(operation.fail))]
    yield table(("Part", "Name", "What it does"), rows)


def _name(function: object) -> str:
    return str(getattr(function, "__name__", function))


# --- api --------------------------------------------------------------------------------------------------------------

API = """
Every call of the Block Storage API v3 up to 3.71, and every one that only this service has. What stands under `/v3` is also
served under `/v3/{project_id}`: the project may be left out. *Since* is the microversion in which a call appeared; before it,
its URL or action answers 404. *Answers* is the status of success; those of refusals are in [Errors](errors.md). *Rule* is the
policy rule that the handler asks (`api/policy/rules.py`); with two, the second is for a variant of the call.

The microversion is the header `OpenStack-API-Version: volume 3.60`; without it a request speaks the oldest. `GET /openapi.json`
has all of this for machines, with bodies and parameters.
"""
MICROVERSIONS = """
What each version brought to the API. A version says how a request is read and answered: what it is about may still be missing
here, and then the table above says so.
"""
FACTS = REFERENCE.parent.parent / "tests" / "conformance"


def api() -> str:
    """Every call, rule and microversion."""
    handlers = dict(_handlers())
    named = {calls.plain(route.template): route.template for route in routes.ROUTES}
    rows = [
        (code(route.method), code(route.template), "", str(route.status or 200), _asked(route.handler), "")
        for route in routes.TOP.values()
    ]
    rows += [
        (
            code(one.call.method),
            code(f"/v3/{named.get(one.call.url, one.call.url)}")
            + (f", key {code(one.call.action)}" if one.call.action else ""),
            "" if one.since == OLDEST else str(one.since),
            ", ".join(map(str, one.statuses)),
            _asked(handlers.get(one.call)),
            one.note,
        )
        for one in calls.rows(FACTS)
    ]
    return page(
        "API",
        "the route tables in api/ and tests/conformance/calls.json",
        API,
        table(("Method", "URL", "Since", "Answers", "Rule", "Note"), rows),
        "Who may do what by which rule is on [a page of its own](policy.md).",
        "## Microversions",
        MICROVERSIONS,
        table(("Version", "Change"), [(f"3.{minor}", said) for minor, said in microversions.CHANGES.items()]),
    )


def _handlers() -> Iterator[tuple[calls.Call, Callable[..., Any]]]:
    for route in routes.ROUTES:
        url = calls.plain(route.template)
        if route.handler is not None:
            yield calls.Call(route.method, url), route.handler
        for key, action in (route.actions or {}).items():
            yield calls.Call(route.method, url, key), action.handler


def _asked(handler: Callable[..., Any] | None) -> str:
    return "" if handler is None else ", ".join(code(rule) for rule in _rules(handler))


def _rules(handler: Callable[..., Any], *, depth: int = 2) -> list[str]:
    """The rules that a handler asks, or that the functions of its module ask for it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(handler)))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "permit"
        and isinstance(call.args[0], ast.Constant)
    ]
    near = [handler.__globals__.get(call.func.id) for call in calls if isinstance(call.func, ast.Name)]
    if not found and depth:
        for one in near:
            if inspect.isfunction(one) and one.__module__ == handler.__module__:
                found += _rules(one, depth=depth - 1)
    return [str(rule) for rule in dict.fromkeys(found)]


# --- errors -----------------------------------------------------------------------------------------------------------

ERRORS = """
A refusal is answered as `{"NAME": {"code": STATUS, "message": "…"}}`, where the name follows from the status alone. The
message is a sentence for the caller and names the value at fault. Every answer carries its request id in
`x-openstack-request-id`, and so does every log line about the request.

What goes wrong after a request was accepted (202) cannot be an answer any more: the resource ends in an error status, and a
user message says why (`GET /v3/messages`, from 3.3 on).
"""


def error_table() -> str:
    """Exceptions to HTTP, and the names of faults."""
    rows = [
        (
            code(kind.__name__),
            str(fault.status),
            code(http.FAULT_NAMES.get(fault.status, http.OTHER_FAULT)),
            "" if fault.retry_after_s is None else f"{fault.retry_after_s} s",
            first_line(kind),
        )
        for kind, fault in http.FAULTS.items()
    ]
    tree = inspect.getdoc(errors) or ""
    tree = tree.split("\n\n")[1]
    own = (
        "The layer of HTTP refuses some requests before any of these is asked: 404 (no such URL, or not in this version), 405, \
406 (a version that is not served), 413 (a body that is too long), 415; and 500 is a mistake of the service."
    )
    return page(
        "Errors",
        "model/errors.py and api/errors.py",
        ERRORS,
        table(("Error", "Status", "Name in the body", "Retry-After", "Meaning"), rows),
        own,
        "## The tree",
        "```text\n" + textwrap.dedent(tree) + "\n```",
        "`Fenced`, `Cancelled` and `BackendFailed` never reach a caller: they are between an operation and what runs it.",
    )


# --- commands ---------------------------------------------------------------------------------------------------------


def commands() -> str:
    """Every command of the command line."""
    root = typer.main.get_command(cli.app)
    parts = [part for part in _commands(root, "breezeblock") if part]
    return page("Command line", "the commands of cli.py", *parts)


def _commands(command: Any, name: str) -> Iterator[str]:
    below = getattr(command, "commands", None)
    if name != "breezeblock":
        yield f"{'##' if name.count(' ') == 1 else '###'} `{name}`"
    yield _unwrap(command.help or "")
    if below is None or name == "breezeblock":
        rows = [_parameter(one) for one in command.params if one.name != "help" and not getattr(one, "hidden", False)]
        if rows:
            yield table(("Argument", "Default", "Meaning"), rows)
    for sub in (below or {}).values():
        if not sub.hidden:
            yield from _commands(sub, f"{name} {sub.name}")


def _unwrap(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).replace("\b", "").split("\n\n"))


def _parameter(one: Any) -> tuple[str, str, str]:
    is_option = one.param_type_name == "option"
    names = ", ".join(code(name) for name in (*one.opts, *one.secondary_opts)) if is_option else code(one.name.upper())
    default = "" if one.default is None or one.default is False or callable(one.default) else code(one.default)
    if one.required:
        default = "required"
    return names, default, getattr(one, "help", None) or ""


# --- metrics ----------------------------------------------------------------------------------------------------------

METRICS = """
`GET /metrics` on the API's address answers in the text format of Prometheus. It needs no project and no credentials, as
`/healthcheck`, and has nothing of any project in it.

    scrape_configs:
      - job_name: breezeblock
        static_configs:
          - targets: ["127.0.0.1:8776"]

It does not matter which of the API processes answers. What processes count themselves (requests, rings) lies in memory that
all of them on a machine share: a process that is killed takes nothing with it, and the counters begin anew when `up` does.
Everything else is read from the database then, so every API of a cluster says the same: scrape one, or take the
`max` and not the `sum`. Each process keeps the text for a second, since anybody may ask for it. "Recently" is within the last
five minutes, by the database's rows; divide by 300 for a rate.
"""

WATCH = """\
Rules for all of them are in `packaging/prometheus/alerts.yaml`, each with a page for whoever is woken by it; a dashboard for
Grafana is `packaging/grafana/breezeblock.json`.
"""


def alert_table() -> str:
    """Every alert, with its page."""
    groups = yaml.safe_load((ROOT / "packaging" / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    rows = []
    for rule in (rule for group in groups for rule in group["rules"]):
        page_at = rule["annotations"]["runbook_url"].replace("docs/", "../", 1)
        expression = " ".join(rule["expr"].split())
        rows.append(
            (f"[{rule['alert']}]({page_at})", rule["labels"]["severity"], code(expression), rule.get("for", "-"))
        )
    return table(("Alert", "Severity", "Expression", "For"), rows)


METRIC_TYPES = {
    metrics.REQUESTS: "histogram",
    metrics.RINGS: "counter",
    metrics.BACKUP_BYTES: "counter",
    metrics.EVENTS_SENT: "counter",
}


def metric_table() -> str:
    """Every metric."""
    rows = [
        (
            code(one.name),
            METRIC_TYPES.get(one, "gauge"),
            ", ".join(map(code, one.labels)) or "-",
            one.help,
        )
        for one in metrics.DECLARED
    ]
    return page(
        "Metrics",
        "the table in api/metrics.py",
        METRICS,
        table(("Metric", "Type", "Labels", "What it says"), rows),
        f"The histogram's `_count` is the number of requests; what is for no route has {' '.join(map(code, counts.UNKNOWN))}.",
        "## Alerts",
        WATCH,
        alert_table(),
    )


# --- all --------------------------------------------------------------------------------------------------------------

PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "states.md": state_tables,
    "operations.md": operations,
    "api.md": api,
    "errors.md": error_table,
    "cli.md": commands,
    "metrics.md": metric_table,
}


def out_of_date() -> list[str]:
    """The pages that are not what the code says now."""
    return [
        name
        for name, make in PAGES.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text(encoding="utf-8") != make()
    ]


def main() -> int:
    """Write what is out of date; with --check only say so."""
    stale = out_of_date()
    if "--check" in sys.argv[1:]:
        print("\n".join(f"docs/reference/{name} is out of date" for name in stale))
        return 1 if stale else 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (REFERENCE / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
