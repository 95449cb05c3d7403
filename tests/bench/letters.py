"""What the load sends: a job as people send it, and completions as fal signs them."""

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from nacl.signing import SigningKey

USER = "user_sandbox"
PICTURE = "https://v3.fal.media/files/b/x.png"
PROMPT = "a lighthouse at dusk, oil on canvas, thick brush strokes, calm sea, warm light from the west, a single gull. "
JOB: Mapping[str, Any] = {
    "model": "fal-ai/flux/schnell",
    "input": {"prompt": PROMPT * 4, "image_size": {"width": 64, "height": 64}, "num_images": 1},
    "priority": "normal",
    "max_attempts": 3,
    "metadata": {"order": "2024-117", "customer": "harbour office", "shelf": "b12"},
}


def request(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    every = {"Host": "localhost", "Content-Length": str(len(body)), "Content-Type": "application/json", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in every.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def job(path: str, key: str = "", **changes: Any) -> bytes:
    body = json.dumps({**JOB, **changes}).encode()
    return request("POST", path, body, {"Authorization": f"Bearer {key}"} if key else {})


def completion(path: str, request_id: str, key: SigningKey, picture: str = PICTURE) -> bytes:
    """4 KB, signed now."""
    payload = {
        "images": [{"url": picture, "width": 1024, "height": 1024}],
        "seed": 42,
        "prompt": PROMPT * 30,
    }
    body = json.dumps(
        {"request_id": request_id, "gateway_request_id": request_id, "status": "OK", "error": None, "payload": payload}
    ).encode()
    timestamp = str(int(time.time()))
    message = "\n".join([request_id, USER, timestamp, hashlib.sha256(body).hexdigest()]).encode()
    return request(
        "POST",
        path,
        body,
        {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": USER,
            "X-Fal-Webhook-Timestamp": timestamp,
            "X-Fal-Webhook-Signature": key.sign(message).signature.hex(),
        },
    )
