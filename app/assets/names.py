"""What strangers call their files and where those come from, made fit to be kept and shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_LONGEST = 100
_NOT_IN_NAMES = re.compile(r'[<>:"|?*%;]')
_ADDRESS = re.compile(r"^(https?|data|blob|file):", re.IGNORECASE)


def safe_filename(claimed: str | None, extension: str) -> str:
    """The last part of `claimed` without anything that steers a path, a header, a terminal or a reader's eye, and with
    the extension that fits the content."""
    visible = _visible(claimed)
    return f"{_short(visible.rpartition('.')[0] or visible)}.{extension}"


def shown_filename(claimed: str | None) -> str:
    """The same with the extension that it claims, for telling someone which file is meant."""
    return _short(_visible(claimed))


def _visible(claimed: str | None) -> str:
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", claimed or ""))[-1]
    return _NOT_IN_NAMES.sub("", "".join(c for c in last if unicodedata.category(c)[0] not in "CZ" or c == " "))


def _short(name: str) -> str:
    return name.strip(" .")[:_LONGEST].strip(" .") or "picture"


def redacted(url: str) -> str:
    """An address without what may be secret in it: user, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def without_addresses(arguments: Any) -> Any:
    """The arguments of a job without addresses: those are signed, short-lived, or whole pictures written as text."""
    if isinstance(arguments, str):
        return None if _ADDRESS.match(arguments) else arguments
    if isinstance(arguments, Mapping):
        return {name: without_addresses(value) for name, value in arguments.items() if not _is_address(value)}
    if isinstance(arguments, Sequence):
        return [without_addresses(value) for value in arguments if not _is_address(value)]
    return arguments


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and _ADDRESS.match(value) is not None
