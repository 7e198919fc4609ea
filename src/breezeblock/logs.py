"""Log lines: one JSON object each, with the context of the request or operation, and without secrets.

Everything goes through here, also what libraries write with the standard `logging`. An event is a stable name, its
facts are fields: `log.info("operation.resumed", operation_id=…, epoch=…)`.
"""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from breezeblock.settings import HIDDEN, mask_url_secrets, names_a_secret

__all__ = ["LEVELS", "configure", "hide_secrets", "levels", "obey"]

# Deeper than any fact we log: a value that contains itself must not stop a log line.
MAX_DEPTH = 6

# Libraries that tell, at info, each thing they do; what they do for us has events of its own.
CHATTY = ("sqlalchemy", "alembic", "asyncio", "httpx", "httpcore", "urllib3", "boto3", "botocore")

OURS: Final = "breezeblock"
# What may be said about a logger while the service runs.
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


class _Chosen:
    """The levels of this process, as `logging` itself has them: one state for all of it."""

    def __init__(self) -> None:
        self.threshold = logging.INFO
        # (prefix of names, level), in the order in which they were said: of those that fit a name the last counts.
        self.said: tuple[tuple[str, int], ...] = ()
        # What loggers of libraries had before something was said about them, and have again when it is not said any more.
        self.before: dict[str, int] = {}

    def speaks_of(self, name: str) -> bool:
        return any(name.startswith(prefix) for prefix, _ in self.said)

    def level_of(self, name: str) -> int:
        """What a logger writes, and nothing below."""
        for prefix, level in reversed(self.said):
            if name.startswith(prefix):
                return level
        return self.threshold


_chosen: Final = _Chosen()


def configure(level: str = "info", fmt: str = "json", stream: TextIO | None = None) -> None:
    """Send structlog and the standard `logging` to `stream` (stderr). May be called again: the last call counts."""
    stream = stream or sys.stderr
    threshold = _chosen.threshold = logging.getLevelNamesMapping()[level.upper()]
    _chosen.said = ()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,  # before hiding: a traceback may quote a database URL
        hide_secrets,
    ]
    render = _renderer(fmt, stream)
    structlog.configure(
        processors=[_drop_quiet, *shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda name="", *_: _Named(stream, name),
        cache_logger_on_first_use=False,  # a logger that was used before this call must not keep the former settings
    )

    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    for former in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(former)
    root.addHandler(handler)
    _apply()
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def obey(said: Sequence[tuple[str, str]]) -> None:
    """Let loggers whose names begin so write from that level on, from now on: all that was said, in order; the last counts.

    About what nothing was said, it is as `configure` has it. Levels are those of LEVELS; another one, which a later release may
    know, is passed over: nobody's work is to end for it.
    """
    known = logging.getLevelNamesMapping()
    _chosen.said = tuple((prefix, known[level]) for prefix, level in said if level in LEVELS)
    _apply()


def levels(prefix: str = "") -> dict[str, str]:
    """The loggers that there are, by name, each with its level. Ours are named after modules, and are called `log` there."""
    ours = {name for name, module in list(sys.modules.items()) if name.startswith(OURS) and hasattr(module, "log")}
    others = {name: one for name, one in _others().items() if name not in ours}
    found = {name: _chosen.level_of(name) for name in ours}
    found |= {name: one.getEffectiveLevel() for name, one in others.items()}
    return {name: logging.getLevelName(found[name]) for name in sorted(found) if name.startswith(prefix)}


def _apply() -> None:
    lowest = min([_chosen.threshold, *(level for _, level in _chosen.said)])
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(lowest))
    logging.getLogger().setLevel(_chosen.level_of(""))
    for name, one in _others().items():
        if _chosen.speaks_of(name):
            _chosen.before.setdefault(name, one.level)
            one.setLevel(_chosen.level_of(name))
        elif name in _chosen.before:
            one.setLevel(_chosen.before.pop(name))


def _others() -> dict[str, logging.Logger]:
    """Those of the standard library that somebody has asked for; what stands between them is none."""
    known = logging.getLogger().manager.loggerDict
    return {name: one for name, one in list(known.items()) if isinstance(one, logging.Logger)}


class _Named(structlog.WriteLogger):
    """Writes lines to a stream, and knows whose they are."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream)
        self.name = name


def _drop_quiet(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Drop what its logger is not to write. It is not even made unless some logger is to write it."""
    if _chosen.said and _LEVEL_OF[method] < _chosen.level_of(logger.name):
        raise structlog.DropEvent
    return event


_LEVEL_OF: Final = {name.lower(): level for name, level in logging.getLevelNamesMapping().items()} | {
    "exception": logging.ERROR,
    "warn": logging.WARNING,
    "msg": logging.INFO,
}


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide the values of secret names, at any depth, and the passwords in URLs."""
    return {key: _hidden(key, value, MAX_DEPTH) for key, value in event.items()}


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that a second `configure` finds it."""


def _hidden(name: str, value: Any, depth: int) -> Any:
    if names_a_secret(name):
        return HIDDEN
    if isinstance(value, str):
        return mask_url_secrets(value)
    if isinstance(value, dict):
        return {key: _hidden(str(key), item, depth - 1) for key, item in value.items()} if depth else "…"
    if isinstance(value, list | tuple):
        return [_hidden("", item, depth - 1) for item in value] if depth else "…"
    if isinstance(value, BaseException):
        return mask_url_secrets(repr(value))
    return value


def _renderer(fmt: str, stream: TextIO) -> Callable[[WrappedLogger, str, EventDict], str]:
    if fmt == "json":
        return _render_json
    # A plain traceback: the pretty one prints local variables, and with them what no processor can hide.
    return structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)


def _in_words(value: object) -> str:
    return mask_url_secrets(str(value) if isinstance(value, str | PurePath) else repr(value))


_encoder = msgspec.json.Encoder(enc_hook=_in_words)


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    line = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    line.update(event)
    try:
        return _encoder.encode(line).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        # Whatever cannot be said in JSON (a key that is a tuple, half a surrogate pair) is said in words: the work that
        # wanted to log must not fail for it.
        return json.dumps({str(key): _in_words(value) for key, value in line.items()})
