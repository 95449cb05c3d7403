"""The two signatures on a webhook: fal's (Ed25519 over ids, time and body hash; it proves "fal sent this" to anybody)
and our tag in the path (a MAC over the attempt's id; it proves "we asked for this"). Neither alone is enough: all fal
customers share fal's keys, and fal does not sign the URL (`fal.md` 2.3)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from nacl.bindings import crypto_sign_BYTES, crypto_sign_open, crypto_sign_PUBLICKEYBYTES
from nacl.exceptions import BadSignatureError


@dataclass(frozen=True)
class Tags:
    """Makes and checks the 128-bit tag in a webhook's path. `keys` maps a key id to its secret; the first one signs,
    all of them verify, so that a secret can be changed while jobs are under way."""

    keys: dict[str, bytes]

    def sign(self, attempt: str) -> str:
        """`{kid}.{tag}`, the last segment of the webhook path."""
        kid = next(iter(self.keys))
        return f"{kid}.{_tag(self.keys[kid], attempt)}"

    def verify(self, attempt: str, segment: str) -> bool:
        kid, _, tag = segment.partition(".")
        secret = self.keys.get(kid)
        return secret is not None and hmac.compare_digest(_tag(secret, attempt).encode(), tag.encode(errors="replace"))


def webhook_message(request_id: str, user_id: str, timestamp: str, body: bytes) -> bytes:
    """The bytes fal signs (`fal.md` 2.3): three header values and the body's SHA-256, a newline between."""
    return "\n".join((request_id, user_id, timestamp, hashlib.sha256(body).hexdigest())).encode()


def signed_by(message: bytes, signature: bytes, keys: Iterable[bytes]) -> bytes | None:
    """The key of `keys` that made this 64-byte Ed25519 signature, or none. Each key tried costs about 50
    microseconds. libsodium looks at no length: what is too short it would read past the end of."""
    if len(signature) != crypto_sign_BYTES:
        return None
    for key in keys:
        if len(key) != crypto_sign_PUBLICKEYBYTES:
            continue
        try:
            crypto_sign_open(signature + message, key)
        except BadSignatureError:
            continue
        return key
    return None


def derive(secret: bytes, purpose: str) -> bytes:
    """An independent key for one purpose, so that no two uses share a secret."""
    return hmac.digest(secret, b"darkroom:" + purpose.encode(), hashlib.sha256)


def _tag(secret: bytes, attempt: str) -> str:
    return hmac.digest(secret, attempt.encode(), hashlib.sha256)[:16].hex()
