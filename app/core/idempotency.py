"""An Idempotency-Key as a value: the caller's word for "this is one intent", and a fingerprint of what was asked with
it. The record is written by the store, in the transaction that does what was asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class IdempotencyKey:
    """`fingerprint` covers method, path and body, so that a key used for something else is noticed."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, key: str, method: str, path: str, body: bytes) -> IdempotencyKey:
        digest = hashlib.sha256(f"{method} {path}\n".encode() + body).hexdigest()
        return cls(key, digest)
