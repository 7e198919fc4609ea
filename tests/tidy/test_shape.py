"""The code's own shape: what may stand where, and sizes that only shrink.

Each list of exceptions gives a reason for every entry. A size or a count that is not needed any more fails its test.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "breezeblock"

# Time, chance and ids come from the injected environment: only then does a simulation replay exactly.
BANNED = (
    "asyncio.sleep",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "os.getrandom",
    "os.urandom",
    "random",
    "secrets",
    "time.clock_gettime",
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.perf_counter_ns",
    "time.sleep",
    "time.time",
    "time.time_ns",
    "uuid.uuid1",
    "uuid.uuid4",
)
MAY_TOUCH_THE_WORLD = {
    "env/real.py": "is the environment of production",
    "env/fence_list.py": "stands for storage, which has a time of its own",
    "cli.py": "runs before there is an environment",
    "supervisor.py": "starts and watches the processes that have one",
    "supervisor/": "starts and watches the processes that have one",
    "chaos/": "drives and watches real processes, from outside, in real time",
    "settings.py": "is read before there is an environment",
    "logs.py": "stamps lines with the real time, in simulation too",
}
# A generator made from a seed is not chance; making one is the virtual environment's work.
SEEDED = "random.Random"
MAY_SEED = ("testing/", "env/")

MODULE_LINES = 500
FUNCTION_LINES = 50
# Path, or path:function, to how long it may be and why. A number here never rises.
LONG_MODULES: dict[str, tuple[int, str]] = {}
LONG_FUNCTIONS: dict[str, tuple[int, str]] = {}

# Where an exception of any kind ends, how often, and why. A handler that raises it again is none of these.
CATCHES_EVERYTHING: dict[str, tuple[int, str]] = {
    "node/sender.py": (1, "a mistake in a receiver of events must not stop the node's operations"),
    "node/worker.py": (1, "the outermost loop: a mistake in one operation must not stop the others"),
    "node/fencing.py": (1, "a driver's fence: whatever it raises, the next fence and the next fencer get their turn"),
    "node/locks_tooz.py": (1, "other people's drivers: whatever one raises, it says nothing about who has the lock"),
    "api/app.py": (1, "the last middleware: a mistake in one request answers 500"),
    "store/lanes.py": (3, "the database's thread: what a job raised is carried to the one who awaits it"),
    "store/pooled.py": (
        1,
        "the same on a server: what a transaction raised is named, and its connection taken back or given up",
    ),
}

PUBLIC = ("", "drivers", "testing")


def modules() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def name(module: Path) -> str:
    return module.relative_to(SRC).as_posix()


def parsed(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"), filename=str(module))


every_module = pytest.mark.parametrize("module", modules(), ids=name)


def full_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Each name and attribute that came from an import, by its full name: `dt.now` after `import datetime as d` too."""
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            full = dotted(node, imported)
            if full:
                yield node.lineno, full


def dotted(node: ast.expr, imported: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return imported.get(node.id)
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, imported)
        return f"{before}.{node.attr}" if before else None
    return None


def banned_names(tree: ast.Module, *, may_seed: bool) -> list[str]:
    return [
        f"line {line}: {full}"
        for line, full in full_names(tree)
        if any(full == ban or full.startswith(f"{ban}.") for ban in BANNED)
        and full not in ("random", "secrets")  # the module's name alone, as part of a longer one that is judged itself
        and not (may_seed and (full == SEEDED or full.startswith(f"{SEEDED}.")))
    ]


@every_module
def test_the_world_is_reached_through_the_environment(module: Path) -> None:
    """No clock, no chance and no sleep outside the real environment and what runs before it."""
    where = name(module)
    allowed = any(where == path or (path.endswith("/") and where.startswith(path)) for path in MAY_TOUCH_THE_WORLD)

    found = banned_names(parsed(module), may_seed=where.startswith(MAY_SEED))

    assert allowed or not found, f"{where}: take it from env: {found}"


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.monotonic()",
        "from time import monotonic as now\nnow()",
        "import time as t\ndef f(clock=t.time): ...",
        "import datetime as d\nd.datetime.now()",
        "from datetime import datetime\ndatetime.now(None)",
        "import random\nrandom.random()",
        "from random import choice\nchoice([1])",
        "import random\nrandom.Random(1)",
        "import uuid\nuuid.uuid4()",
        "from os import urandom\nurandom(1)",
        "import asyncio\nasync def f(): await asyncio.sleep(1)",
        "import secrets\nsecrets.token_hex()",
    ],
)
def test_each_way_to_write_a_banned_name_is_found(code: str) -> None:
    """A ban that an alias can pass would be a habit, not a rule."""
    assert banned_names(ast.parse(code), may_seed=False)


def lines_of(module: Path) -> int:
    return len(module.read_text(encoding="utf-8").splitlines())


def functions(module: Path) -> dict[str, int]:
    return {
        f"{name(module)}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@every_module
def test_a_module_is_read_in_one_go(module: Path) -> None:
    """At five hundred lines, split it or give the reason."""
    limit, _ = LONG_MODULES.get(name(module), (MODULE_LINES, ""))

    assert lines_of(module) <= limit


@every_module
def test_a_function_fits_on_a_screen(module: Path) -> None:
    """At fifty lines, split it or give the reason."""
    long = {
        which: lines
        for which, lines in functions(module).items()
        if lines > LONG_FUNCTIONS.get(which, (FUNCTION_LINES, ""))[0]
    }

    assert not long


def test_the_lists_of_long_code_only_shrink() -> None:
    """What became short leaves the list, so that it cannot grow again unseen."""
    sizes = {name(module): lines_of(module) for module in modules()}
    function_sizes = {which: lines for module in modules() for which, lines in functions(module).items()}

    needless = [which for which in LONG_MODULES if sizes.get(which, 0) <= MODULE_LINES]
    needless += [which for which in LONG_FUNCTIONS if function_sizes.get(which, 0) <= FUNCTION_LINES]

    assert not needless


def catches_everything(tree: ast.Module) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and is_broad(node.type) and not raises_again(node)
    ]


def is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(is_broad(one) for one in caught.elts)
    return caught is None or (isinstance(caught, ast.Name) and caught.id in ("Exception", "BaseException"))


def raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


@every_module
def test_an_error_nobody_thought_of_is_not_swallowed(module: Path) -> None:
    """Only the outermost loop and the last middleware catch everything."""
    limit, _ = CATCHES_EVERYTHING.get(name(module), (0, ""))

    assert len(catches_everything(parsed(module))) <= limit, f"{name(module)}: {catches_everything(parsed(module))}"


def test_the_list_of_those_who_catch_everything_only_shrinks() -> None:
    """A handler that is gone takes its permission along."""
    counts = {name(module): len(catches_everything(parsed(module))) for module in modules()}

    assert not [which for which, (limit, _) in CATCHES_EVERYTHING.items() if counts.get(which, limit) < limit]


@pytest.mark.parametrize("caught", ["", " Exception", " BaseException", " (ValueError, Exception)", " Exception as e"])
def test_each_way_to_catch_everything_is_found(caught: str) -> None:
    """Bare, by name, and hidden in a tuple."""
    assert catches_everything(ast.parse(f"try:\n    f()\nexcept{caught}:\n    pass"))


@pytest.mark.parametrize("package", [SRC / public for public in PUBLIC if (SRC / public / "__init__.py").exists()])
def test_a_public_package_says_what_is_public(package: Path) -> None:
    """What is not in `__all__` may change without a word."""
    tree = parsed(package / "__init__.py")
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }

    assert "__all__" in assigned


def test_the_constraints_are_names_and_versions() -> None:
    """Where packages come from is the business of the machine that installs them."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()

    assert lines
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+", line)] == []
