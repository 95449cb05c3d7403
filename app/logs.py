"""Lines about what happens: JSON for machines, plain text for people, from our own code and from every library, through
one chain. The last link takes secrets out of the finished line, wherever in it they stand.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any, TextIO, TypeAlias

import structlog
from structlog.types import EventDict, Processor

_IS = r"""\\*["']?(?:, b?["']| *[:=] *b?\\*["']?)"""
"""Between a name and its value: as in JSON, also inside JSON, in an address, in a header, in a pair of bytes."""

_SECRETS = (
    ("dk_", r"\b(dk_(?:live|test)_[0-9a-z]{26})_[0-9A-Za-z_]+", r"\1_***"),  # our keys: which one it was may be told
    ("sk-ant-", r"sk-ant-[0-9A-Za-z_-]+", "***"),
    ("-", r"(-[0-9a-f]{12}:)[0-9a-f]{16,}", r"\1***"),  # a fal key: the end of its id, and the secret
    ("bearer |key |basic ", r"(?i)\b(bearer|key|basic)( +)(?=[^ \"',]*[0-9])[0-9A-Za-z._~+/=:-]{16,}", r"\1\2***"),
    ("/webhooks/fal/", r"(/webhooks/fal/[^/\s\"'\\]+/)[^\s\"'\\?#{]+", r"\1***"),
    ("/files/", r"(/files/)[^/\s\"'\\?#]{16,}", r"\1***"),
    ("://", r"(https?://[^\s\"'\\?]+\?)[^\s\"'\\]+", r"\1***"),
    ("?|&", r"(?i)([?&](?:ticket|token|signature|sig|x-amz-[a-z-]+)=)[^\s\"'\\&]+", r"\1***"),
    ("darkroom_session=", r"((?:__Host-)?darkroom_session=)[^\s;\"']+", r"\1***"),
    ("cookie", rf"(?i)(\b(?:set-)?cookie{_IS})[^\"'\n]+", r"\1***"),
    (
        "authorization|x-api-key|api_key|password|secret",
        rf"(?i)(\b(?:authorization|x-api-key|api_key|password|secret){_IS})(?!\*\*\*)[^\s\"',\\]+( +[^\s\"',\\]+)?",
        r"\1***",
    ),
    ("://", r"(\b[a-z][a-z0-9+.-]*://[^:/@\s\"']*:)[^@/\s\"']+@", r"\1***@"),  # a password in an address
)
"""Each with the words of which one must be there for it to match at all: looking for those is a hundred times cheaper,
and in nearly all lines there are none."""
Chain: TypeAlias = list[Processor]

_PATTERNS = tuple((words.split("|"), re.compile(pattern), put) for words, pattern, put in _SECRETS)


def redacted(text: str) -> str:
    """The text without keys, tokens, tags, cookies, passwords and the queries of addresses (I20)."""
    folded = text.casefold()
    for words, pattern, put in _PATTERNS:
        for word in words:
            if word in folded:
                text = pattern.sub(put, text)
                break
    return text


def set_up(level: str = "info", form: str | None = None, to: TextIO | None = None) -> None:
    """Make all lines go to `to` (stderr). `form` is json or text; none: text for a terminal."""
    out = to or sys.stderr
    readable = form == "text" or (form is None and out.isatty())
    known: Chain = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if not readable else "%H:%M:%S", utc=not readable),
        structlog.processors.StackInfoRenderer(),
    ]
    encode = json.JSONEncoder(default=str).encode  # json.dumps would make one anew for each line
    json_writer = structlog.processors.JSONRenderer(lambda line, **_: encode(line))
    writer = _text(colours=out.isatty()) if readable else json_writer
    final: Chain = [structlog.processors.format_exc_info, writer, _without_secrets]
    structlog.configure(
        processors=[*known, *final],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _take_in_the_libraries(level, known, final, out)


def _text(*, colours: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)


def _without_secrets(_logger: Any, _method: str, line: Any) -> str:
    return redacted(str(line))


def _take_in_the_libraries(level: str, known: Chain, final: Chain, out: TextIO) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*known, _named],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # They say each request or each step at INFO.
    for noisy in (
        "alembic",
        "httpx",
        "httpcore",
        "httpx2",
        "aiosqlite",
        "aiobotocore",
        "botocore",
        "uvicorn.error",
        "PIL",
    ):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))


def _named(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if isinstance(record := event.get("_record"), logging.LogRecord):
        event["logger"] = record.name
    return event
