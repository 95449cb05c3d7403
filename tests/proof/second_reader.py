"""A second reader of fal's letters, written from `fal.md` 2.3 and the design alone, with another library for the
signature and none of the door's code: whatever the door takes in, this one must find genuine, and the other way round.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.little_fal import USER, Letter
from tests.running import SECRET

LONGEST = 1_000_000
DEEPEST = 64
FRESH = 300

Delivery = tuple[str, str, str, str]
"""As it is to be kept: the attempt, the request, the moment, and the body's hash."""

_PATH = re.compile(r"/api/webhooks/fal/(att_[0-9a-z]+)/([0-9a-f]+)\.([0-9a-f]{32})")


@dataclass(frozen=True)
class SecondReader:
    """`expected`: the attempts that wait for a letter, each with its request id. `key` is fal's public one."""

    expected: dict[str, str]
    key: Ed25519PublicKey

    @classmethod
    def of(cls, public: bytes, expected: dict[str, str]) -> SecondReader:
        return cls(expected, Ed25519PublicKey.from_public_bytes(public))

    def read(self, letter: Letter, now: float) -> tuple[str, Delivery | None]:
        """`genuine` and what is to be kept, `stale`, or `neither`."""
        attempt = _addressed(letter.path, self.expected)
        said = _said(letter)
        if attempt is None or said is None or not _length_is_right(letter):
            return "neither", None
        request_id, user, moment, signature = said
        digest = hashlib.sha256(letter.body).hexdigest()
        if user != USER.encode() or not self._signed(
            signature, b"\n".join([request_id, user, moment, digest.encode()])
        ):
            return "neither", None
        if abs(now - int(moment)) > FRESH:
            return "stale", None
        about = _about(letter.body, request_id.decode())
        if about is None or any(about == theirs for other, theirs in self.expected.items() if other != attempt):
            return "neither", None
        return "genuine", (attempt, about, moment.decode(), digest)

    def _signed(self, signature: bytes, message: bytes) -> bool:
        try:
            self.key.verify(bytes.fromhex(signature.decode()), message)
        except InvalidSignature:
            return False
        return True


def _addressed(path: str, expected: Collection[str]) -> str | None:
    """The attempt in the address, if the address is one we gave out."""
    found = _PATH.fullmatch(path)
    if found is None or found[1] not in expected:
        return None
    secret = hmac.digest(SECRET.encode(), b"darkroom:webhooks", "sha256")
    ours = hashlib.sha256(secret).hexdigest()[:8], hmac.digest(secret, found[1].encode(), "sha256").hex()[:32]
    return found[1] if (found[2], found[3]) == ours else None


def _said(letter: Letter) -> tuple[bytes, bytes, bytes, bytes] | None:
    """The four headers, each there once and in its strict form."""
    shapes = {
        "request-id": rb"[A-Za-z0-9_-]{1,100}",
        "user-id": rb"[!-~]{1,200}",
        "timestamp": rb"[0-9]{1,12}",
        "signature": rb"[0-9a-fA-F]{128}",
    }
    said = []
    for name, shape in shapes.items():
        values = [value for header, value in letter.pairs if header == b"x-fal-webhook-" + name.encode()]
        if len(values) != 1 or not re.fullmatch(shape, values[0]):
            return None
        said.append(values[0])
    return said[0], said[1], said[2], said[3]


def _length_is_right(letter: Letter) -> bool:
    declared = [value for header, value in letter.pairs if header == b"content-length"]
    if len(declared) > 1 or any(not re.fullmatch(rb"[0-9]{1,12}", value) for value in declared):
        return False
    return max([len(letter.body), *map(int, declared)]) <= LONGEST


def _about(body: bytes, named: str) -> str | None:
    """The request that the body is about, if it says so once, plainly, and agrees with the header."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    def no_number(word: str) -> Any:
        raise ValueError(word)

    try:
        text = body.decode()
        if _deeper_than(DEEPEST, text):
            return None
        said = json.loads(text, object_pairs_hook=members, parse_constant=no_number)
    except ValueError:
        return None
    request_id = said.get("request_id") if isinstance(said, dict) else None
    if not isinstance(request_id, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", request_id, re.ASCII):
        return None
    return request_id if named in (request_id, said.get("gateway_request_id")) else None


def _deeper_than(most: int, text: str) -> bool:
    level = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', text, re.DOTALL):
        if found[0] in "[{":
            level += 1
        elif found[0] in "]}":
            level -= 1
        if level > most:
            return True
    return False
