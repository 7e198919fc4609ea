"""Log lines: one JSON object each, with the context of the request or operation, and without secrets.

Everything goes through here, also what libraries write with the standard `logging`. An event is a stable name, its
facts are fields: `log.info("operation.resumed", operation_id=…, epoch=…)`.
"""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from breezeblock.settings import HIDDEN, mask_url_secrets, names_a_secret

__all__ = ["configure", "hide_secrets"]

# Deeper than any fact we log: a value that contains itself must not stop a log line.
MAX_DEPTH = 6

# Libraries that tell, at info, each thing they do; what they do for us has events of its own.
CHATTY = ("sqlalchemy", "alembic", "asyncio", "httpx", "httpcore", "urllib3", "boto3", "botocore")


def configure(level: str = "info", fmt: str = "json", stream: TextIO | None = None) -> None:
    """Send structlog and the standard `logging` to `stream` (stderr). May be called again: the last call counts."""
    stream = stream or sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
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
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
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
    root.setLevel(threshold)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


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
