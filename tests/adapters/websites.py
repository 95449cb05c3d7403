"""The outside world of the fetcher's tests, all of it on loopback: websites with certificates behind public addresses,
and a log of every connection that is tried."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from app.adapters import fetch

PUBLIC = "93.184.216.34"
ALSO_PUBLIC = "2606:4700::1111"
NAMES = ["public.example", "other.example", "v3.fal.media", "v3b.fal.media", "evil.fal.media.example"]

Write = Callable[[bytes], Awaitable[None]]
Script = Callable[[Write], Awaitable[None]]


@dataclass
class Visit:
    name: str | None  # as asked for in the TLS handshake
    path: str
    headers: dict[str, str]


@dataclass
class Website:
    """Answers each path with the bytes given for it, or lets a script write them."""

    certificate: Path
    port: int = 0
    answers: dict[str, bytes | Script] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    _names: list[str | None] = field(default_factory=list)

    def says(self, path: str, body: bytes = b"picture", status: str = "200 OK", **headers: str) -> str:
        """Answer `path` with this; the URL of it."""
        lines = {"Content-Type": "image/png", "Content-Length": str(len(body))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        self.answers[path] = f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body
        return f"https://public.example{path}"

    def redirects(self, path: str, location: str, code: int = 302) -> str:
        return self.says(path, b"", f"{code} Moved", Location=location)

    def plays(self, path: str, script: Script) -> str:
        self.answers[path] = script
        return f"https://public.example{path}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Website"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        context.sni_callback = lambda _socket, name, _context: self._names.append(name)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = self._names[-1] if self._names else None

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()
            await pause(0)  # when the other side has closed TLS, drain neither waits nor raises: let the loop notice

        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                first, *lines = head.strip().split("\r\n")
                path = first.split(" ")[1]
                self.visits.append(Visit(name, path, dict(line.lower().split(": ", 1) for line in lines)))
                answer = self.answers.get(
                    path.partition("?")[0], b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
                )
                if not isinstance(answer, bytes):
                    await answer(write)
                    break
                await write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def pause(seconds: float) -> None:
    """The pace of a slow website; nobody waits for anything with it."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(seconds, over.set_result, None)
    await over


def client_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certificate)
    return context


def write_certificate(path: Path) -> Path:
    """One that signs itself, and its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAMES[0])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in NAMES]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


class Detour(socket):
    """Believes that it is connected to a public address, and is to a port of ours."""

    port: int

    def connect(self, address: Any) -> None:
        super().connect(("127.0.0.1", self.port))


def detour(monkeypatch: pytest.MonkeyPatch, port: Callable[[], int]) -> list[str]:
    """Lead every connection that passes the last gate to our port; the addresses it was meant for."""
    taken: list[str] = []
    real = fetch._judged_socket

    def factory(info: tuple[Any, ...]) -> socket:
        real(info).close()
        taken.append(info[4][0])
        made = Detour()
        made.port = port()
        return made

    monkeypatch.setattr(fetch, "_judged_socket", factory)
    return taken


_watched: list[list[object]] = []


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        for log in _watched:
            log.append(args[1])


sys.addaudithook(_watch)


@contextmanager
def connections() -> Iterator[list[object]]:
    """Where this process tries to connect to meanwhile, whichever library does it."""
    log: list[object] = []
    _watched.append(log)
    try:
        yield log
    finally:
        _watched.remove(log)
