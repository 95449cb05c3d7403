"""Signing keys of the webhooks: two Ed25519 keys in a JWKS that all accounts share, as at fal. The newest one signs."""

import base64
import hashlib
import json

from nacl.signing import SigningKey

from app.sandbox.log import Log


class Keys:
    def __init__(self, log: Log) -> None:
        self._log = log
        stored = log.fact("keys")
        self._keys = [SigningKey(bytes.fromhex(seed)) for seed in (json.loads(stored) if stored else [])]
        while len(self._keys) < 2:
            self.rotate()

    def rotate(self) -> None:
        """A new key joins and signs from now on; the older of the two leaves."""
        self._keys = [*self._keys, SigningKey.generate()][-2:]
        self._log.keep_fact("keys", json.dumps([bytes(key).hex() for key in self._keys]))

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        return {"keys": [_jwk(key) for key in self._keys]}

    def headers(self, request_id: str, user: str, timestamp: int, body: bytes) -> dict[str, str]:
        message = "\n".join([request_id, user, str(timestamp), hashlib.sha256(body).hexdigest()])
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": user,
            "X-Fal-Webhook-Timestamp": str(timestamp),
            "X-Fal-Webhook-Signature": self._keys[-1].sign(message.encode()).signature.hex(),
        }


def _jwk(key: SigningKey) -> dict[str, str]:
    x = base64.urlsafe_b64encode(bytes(key.verify_key)).rstrip(b"=").decode()  # unpadded, as the standard has it
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
        "alg": "EdDSA",
        "kid": hashlib.sha256(x.encode()).hexdigest()[:16],
        "x": x,
    }
