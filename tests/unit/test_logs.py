"""What a log line looks like, and what is never in one."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from breezeblock import logs
from breezeblock.doorbells import served
from breezeblock.node import upkeep


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    structlog.contextvars.clear_contextvars()
    logs.obey([])
    structlog.reset_defaults()
    root.setLevel(level)
    root.handlers[:] = handlers


class Lines:
    """A stream, and what was written to it."""

    def __init__(self, *, level: str = "info", fmt: str = "json") -> None:
        self._stream = io.StringIO()
        logs.configure(level, fmt, self._stream)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def only(self) -> dict[str, Any]:
        (line,) = self.text.splitlines()
        fields = json.loads(line)
        assert isinstance(fields, dict)
        return fields


def test_a_line_is_one_json_object_with_the_context() -> None:
    """The request's id is bound once and is in every line of it; time is UTC."""
    lines = Lines()
    structlog.contextvars.bind_contextvars(request_id="req-1")

    structlog.get_logger().info("operation.resumed", epoch=3, path=Path("/srv"))

    line = lines.only()
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "operation.resumed",
        "request_id": "req-1",
        "epoch": 3,
        "path": "/srv",
    }


def test_lines_below_the_level_are_left_out() -> None:
    """By either way of logging."""
    lines = Lines(level="warning")

    structlog.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")

    assert lines.text == ""


def test_what_a_library_logs_has_the_same_shape() -> None:
    """The standard logging gains level, context and redaction too."""
    lines = Lines()
    structlog.contextvars.bind_contextvars(operation_id="op-1")

    logging.getLogger("library").warning("cannot reach %s", "amqp://guest:hush@host")

    line = lines.only()
    assert line["event"] == "cannot reach amqp://guest:***@host"
    assert (line["level"], line["logger"], line["operation_id"]) == ("warning", "library", "op-1")


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_no_secret_reaches_the_stream(fmt: str) -> None:
    """Whether by its name, in a URL, deep in a fact or quoted by a traceback."""
    lines = Lines(fmt=fmt)
    secret = "hush"
    facts = {"headers": {"X-Auth-Token": secret}, "several": [{"admin_password": secret}]}

    try:
        raise ConnectionError(f"no answer from postgresql://me:{secret}@db/x")
    except ConnectionError as error:
        structlog.get_logger().exception("a", authorization=secret, url=f"db://u:{secret}@h", facts=facts, error=error)

    assert lines.text != ""
    assert "ConnectionError" in lines.text
    assert "me:***@db" in lines.text
    assert secret not in lines.text.replace("{secret}", "")


def test_a_fact_that_is_no_json_is_told_in_words() -> None:
    """Logging never fails the work it tells about."""
    lines = Lines()
    endless: dict[str, Any] = {}
    endless["self"] = endless

    structlog.get_logger().info("odd", tuple_key={(1, 2): 3}, half="\ud800", endless=endless, obj=object)

    assert lines.only()["event"] == "odd"


def test_the_last_configuration_counts() -> None:
    """A child process configures again what it inherited; no line comes twice."""
    first, second = Lines(), Lines()

    logging.getLogger("library").error("once")
    structlog.get_logger().error("once")

    assert first.text == ""
    assert len(second.text.splitlines()) == 2


# --- levels that are set while a service runs ---------------------------------------------------------------------------


def events(lines: Lines) -> list[str]:
    return [json.loads(line)["event"] for line in lines.text.splitlines()]


def test_one_logger_tells_more_and_another_less() -> None:
    """By the beginning of their names; others are as they were, and those of libraries are loggers as well."""
    lines = Lines()
    ours, quiet, other = (structlog.get_logger(f"breezeblock.{name}") for name in ("api.app", "node.worker", "work"))
    library = logging.getLogger("some_library")

    logs.obey([("breezeblock.api", "DEBUG"), ("breezeblock.node", "ERROR"), ("some_lib", "WARNING")])
    for one in (ours, quiet, other):
        one.debug("d")
        one.info("i")
        one.error("e")
    library.info("library i")
    library.warning("library w")

    assert events(lines) == ["d", "i", "e", "e", "i", "e", "library w"]


def test_of_what_was_said_the_last_counts() -> None:
    lines = Lines()
    log = structlog.get_logger("breezeblock.api.app")

    logs.obey([("breezeblock.api", "DEBUG"), ("", "ERROR")])
    log.info("not this")
    logs.obey([("", "ERROR"), ("breezeblock.api", "DEBUG")])
    log.debug("this")

    assert events(lines) == ["this"]


def test_what_is_not_said_any_more_does_not_hold() -> None:
    """A library's own level comes back, also one that was not ours to begin with."""
    lines = Lines()
    library, log = logging.getLogger("silent_library"), structlog.get_logger("breezeblock.api.app")
    library.setLevel(logging.CRITICAL)

    logs.obey([("", "DEBUG")])
    library.debug("one")
    log.debug("two")
    logs.obey([])
    library.error("three")
    log.debug("four")

    assert events(lines) == ["one", "two"]
    assert library.level == logging.CRITICAL


def test_bound_loggers_obey_as_well() -> None:
    """Also those that were made with fields of their own before."""
    lines = Lines()
    log = structlog.get_logger("breezeblock.doorbells.served", doorbell="x")

    logs.obey([("breezeblock", "DEBUG")])
    log.debug("told")
    log.bind(more=1).debug("told, too")

    assert events(lines) == ["told", "told, too"]


def test_loggers_are_told_with_their_levels() -> None:
    """Ours by the modules that have them, those of libraries by their names; as they are now."""
    Lines()
    logging.getLogger("some_library.part").setLevel(logging.ERROR)
    logs.obey([("breezeblock.doorbells", "DEBUG")])

    found = logs.levels()

    assert found[served.__name__] == "DEBUG"
    assert found["some_library.part"] == "ERROR"
    assert found["sqlalchemy"] == "WARNING"
    assert found[upkeep.__name__] == "INFO"
    assert logs.levels("breezeblock.doorbells").keys() == {
        name for name in found if name.startswith("breezeblock.doorb")
    }
    assert logs.levels("nobody") == {}


def test_an_exception_is_an_error() -> None:
    lines = Lines()
    log = structlog.get_logger("breezeblock.work")
    logs.obey([("", "ERROR")])

    log.warning("not this")
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("this")

    assert events(lines) == ["this"]


def test_a_level_that_nobody_knows_is_passed_over() -> None:
    lines = Lines()

    logs.obey([("", "LOUD"), ("breezeblock.work", "DEBUG")])
    structlog.get_logger("breezeblock.work").debug("told")

    assert events(lines) == ["told"]
