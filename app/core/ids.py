"""Public names of things: `job_01k…`, a prefix that says the kind and a UUIDv7 that sorts by time (TypeID,
https://github.com/jetify-com/typeid). The only place where an id is made."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from typeid import TypeID

_SHAPE = re.compile(r"[a-z]{2,16}_[0-7][0-9a-hjkmnp-tv-z]{25}")


class Ids:
    """Makes ids from a clock and a source of randomness, so that a simulation can repeat them."""

    def __init__(self, now: Callable[[], datetime], entropy: Callable[[int], bytes]) -> None:
        self._now = now
        self._entropy = entropy

    def new(self, prefix: str) -> str:
        millis = int(self._now().timestamp() * 1000)
        return _named(prefix, millis.to_bytes(6, "big") + self._entropy(10))

    def secret(self, nbytes: int = 32) -> bytes:
        return self._entropy(nbytes)


def derived(prefix: str, *parts: str | int) -> str:
    """The one id that follows from `parts`: making it twice gives the same id, so doing the work twice is harmless."""
    return _named(prefix, hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:16])


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` has the shape of an id of this kind; says nothing about whether the thing exists."""
    return text.startswith(f"{prefix}_") and _SHAPE.fullmatch(text) is not None


def _named(prefix: str, sixteen: bytes) -> str:
    versioned = bytearray(sixteen)
    versioned[6] = (versioned[6] & 0x0F) | 0x70
    versioned[8] = (versioned[8] & 0x3F) | 0x80
    unique: Any = UUID(bytes=bytes(versioned))  # typeid declares another library's class and takes either
    return str(TypeID.from_uuid(unique, prefix))
