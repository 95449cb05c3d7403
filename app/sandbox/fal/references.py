"""Fetches the pictures a request names: data URIs, our own files, and http(s) URLs on loopback. Nothing else: this
program runs on people's machines and is told URLs by anybody who can reach it."""

import base64
import binascii
import ipaddress
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

import httpx

from app.sandbox.fal.files import Files

LARGEST, PATIENCE = 40_000_000, 20.0


class Unreadable(Exception):
    """With fal's error type, for a 422."""

    def __init__(self, kind: str, message: str, url: str) -> None:
        super().__init__(message)
        self.kind, self.url = kind, url


@dataclass(frozen=True)
class References:
    files: Files
    web: httpx.AsyncClient

    async def fetch(self, url: str, origin: str) -> bytes:
        if url.startswith("data:"):
            return _inline(url)
        parts = urlsplit(url)
        if url.startswith(f"{origin}/files/"):
            data = self.files.read(parts.path.removeprefix("/files/"))
        elif parts.scheme in ("http", "https") and _on_loopback(parts.hostname or ""):
            data = await self._download(url)
        else:
            data = None
        if data is None:
            raise Unreadable("file_download_error", "Failed to download the file, which must need no login.", url)
        if len(data) > LARGEST:
            raise Unreadable("file_too_large", f"The file is larger than {LARGEST} bytes.", url)
        return data

    async def _download(self, url: str) -> bytes | None:
        try:
            answer = await self.web.get(url, timeout=PATIENCE)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
        return answer.content if answer.status_code == 200 else None


def _inline(url: str) -> bytes:
    head, comma, body = url.partition(",")
    try:
        if not comma:
            raise ValueError("no comma")
        return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
    except (binascii.Error, ValueError) as problem:
        raise Unreadable("image_load_error", "Failed to load the image.", url[:80]) from problem


def _on_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
