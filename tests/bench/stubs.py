"""Servers that do next to nothing, so that what is measured is who asks them. `python -m tests.bench.stubs KIND PORT`

`fal [FILE [KEY]]` takes every submission, gives everybody one picture and publishes one key; `bucket` swallows what it
is given, as S3 would. `GET /said` tells what arrived and forgets it, for the twins.
"""

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import httptools
import httpx
import uvloop

from tests.bench.machine import LAST, pin
from tests.running import ROOT, free_port
from tests.waiting import until_blocking

SAID = "/said"


@dataclass
class Asked:
    """A whole request. Header names are in lower case."""

    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    def digest(self) -> str:
        whole = self.method, self.target, sorted(self.headers.items()), hashlib.sha256(self.body).hexdigest()
        return hashlib.sha256(repr(whole).encode()).hexdigest()


class Stub(Protocol):
    def answer(self, asked: Asked) -> bytes: ...

    def said(self) -> dict[str, Any]: ...


class Fal:
    """Accepts every submission; remembers each one's digest. `key` is in hex."""

    def __init__(self, picture: str = "", key: str = "") -> None:
        self._heard: list[str] = []
        self._picture = Path(picture).read_bytes() if picture else b""
        x = base64.urlsafe_b64encode(bytes.fromhex(key)).rstrip(b"=").decode()
        self._keys = json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "1", "x": x}]}).encode()

    def answer(self, asked: Asked) -> bytes:
        if asked.method == "GET":
            return self._keys if asked.target.endswith("jwks.json") else self._picture
        self._heard.append(asked.digest())
        base = f"http://{asked.headers['host']}/fal-ai/flux/requests/{len(self._heard)}"
        urls = {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}
        return json.dumps({"status": "IN_QUEUE", "request_id": str(len(self._heard)), **urls}).encode()

    def said(self) -> dict[str, Any]:
        heard, self._heard = sorted(self._heard), []
        return {
            "posts": len(heard),
            "different": len(set(heard)),
            "digest": hashlib.sha256(repr(heard).encode()).hexdigest(),
        }


class Bucket:
    """Keeps the digest of each object and throws the object away."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}
        self._parts: dict[str, Any] = {}

    def answer(self, asked: Asked) -> bytes:
        key, _, query = asked.target.partition("?")
        if asked.method == "PUT" and "partNumber" in query:
            self._parts.setdefault(key, hashlib.sha256()).update(asked.body)
        elif asked.method == "PUT":
            self._kept[key] = hashlib.sha256(asked.body).hexdigest()
        elif query.startswith("uploads"):
            return b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
        else:
            self._kept[key] = self._parts.pop(key).hexdigest()
            return b'<CompleteMultipartUploadResult><ETag>"0"</ETag></CompleteMultipartUploadResult>'
        return b""

    def said(self) -> dict[str, Any]:
        kept, self._kept = self._kept, {}
        return {"objects": len(kept), "digests": sorted(set(kept.values()))}


class _Connection(asyncio.Protocol):
    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._asked = Asked()

    def on_url(self, url: bytes) -> None:
        self._asked.target += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._asked.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        if "expect" in self._asked.headers:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._asked.body += data

    def on_message_complete(self) -> None:
        self._asked.method = self._parser.get_method().decode()
        told = self._asked.target == SAID
        body = json.dumps(self._stub.said()).encode() if told else self._stub.answer(self._asked)
        self._transport.write(b'HTTP/1.1 200 OK\r\nETag: "0"\r\nContent-Length: %d\r\n\r\n' % len(body))
        self._transport.write(body)


@contextmanager
def stub(kind: str, *given: str) -> Iterator[int]:
    """The port of one, in a process of its own on the last core."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.stubs", kind, str(port), *given], cwd=ROOT)
    try:
        until_blocking(lambda: _answers(port), within=20)
        yield port
    finally:
        process.kill()
        process.wait()


def said(port: int) -> dict[str, Any]:
    """What arrived at a stub since it was asked last."""
    found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{port}{SAID}", trust_env=False).json()
    return found


def _answers(port: int) -> bool:
    try:
        return said(port) is not None
    except httpx.TransportError:
        return False


KINDS = {"fal": Fal, "bucket": Bucket}


async def _serve(made: Stub, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(made), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    pin(LAST)
    wanted, at, *others = sys.argv[1:]
    uvloop.run(_serve(KINDS[wanted](*others), int(at)))
