"""The text of a key and of a session's cookie: `dk_live_{id}_{secret}_{checksum}` and `{id}_{secret}`.

The prefix and the checksum let scanners find keys that leaked, and let us refuse what cannot be one without a look at
the database. The id finds the row; only then is the whole text compared, in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID = "[0-7][0-9a-hjkmnp-tv-z]{25}"
_KEY = re.compile(rf"(dk_(?:live|test)_({_ID})_[0-9A-Za-z]{{43}})_([0-9A-Za-z]{{6}})")
_COOKIE = re.compile(rf"({_ID})_[0-9A-Za-z]{{43}}")


@dataclass(frozen=True)
class Secret:
    """A text that proves something, shown once, and what is kept of it."""

    text: str
    sha256: str


def new_key(key: str, entropy: bytes, *, live: bool) -> Secret:
    """The text of the key with this id. `entropy` is 32 bytes that nobody can guess."""
    body = f"{key_prefix(key, live=live)}_{_base62(int.from_bytes(entropy, 'big'), 43)}"
    return _kept(f"{body}_{_checksum(body)}")


def key_prefix(key: str, *, live: bool) -> str:
    """What people are shown of a key."""
    return f"dk_{'live' if live else 'test'}_{key.removeprefix('key_')}"


def key_id(text: str) -> str | None:
    """The id of the key that this text claims to be; None when it cannot be one."""
    match = _KEY.fullmatch(text)
    return f"key_{match[2]}" if match and hmac.compare_digest(_checksum(match[1]), match[3]) else None


def new_cookie(session: str, entropy: bytes) -> Secret:
    return _kept(f"{session.removeprefix('session_')}_{_base62(int.from_bytes(entropy, 'big'), 43)}")


def session_id(text: str) -> str | None:
    match = _COOKIE.fullmatch(text)
    return f"session_{match[1]}" if match else None


def new_ticket(entropy: bytes) -> Secret:
    return _kept(_base62(int.from_bytes(entropy, "big"), 43))


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _kept(text: str) -> Secret:
    return Secret(text, hashed(text))


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), 6)


def _base62(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits = _DIGITS[rest] + digits
    return digits
