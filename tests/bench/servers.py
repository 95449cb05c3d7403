"""The servers that are measured, each a process of its own on the first core: our service, and the peers."""

import base64
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey
from sqlalchemy import Engine, create_engine, insert, text

from app.store.columns import table
from app.store.log import CounterRow
from app.store.schema import upgrade
from tests.bench.load import Said, packed
from tests.bench.machine import Others, cpu, memory
from tests.bench.peers import WORKSPACE
from tests.running import ROOT, Sandbox, Service, free_port, running
from tests.waiting import until_blocking

CREDITS = 10_000_000


@dataclass
class Server:
    """`database` is where SQLAlchemy finds what it wrote."""

    pid: int
    port: int
    database: str
    key: str = ""
    service: Service | None = None

    def memory(self) -> float:
        return memory(self.pid)

    def engine(self) -> Engine:
        return create_engine(self.database)

    def count(self, query: str) -> int:
        """A number the database knows."""
        engine = self.engine()
        with engine.connect() as connection:
            found = connection.execute(text(query)).scalar_one()
        engine.dispose()
        return int(found or 0)


@dataclass
class Round:
    """One turn of load: answers a second, CPU of the server for each, and how busy the machine was with others."""

    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    others: float
    statuses: dict[int, int]

    @property
    def answers(self) -> int:
        return sum(self.statuses.values())


@contextmanager
def ours(folder: Path, jwks: int, *, database: str | None = None, **extra: str) -> Iterator[Server]:
    """Our service without its runner, unless `extra` says otherwise: what it answers is measured, not what it does
    afterwards. `jwks` is the port of a `key_set`."""
    fal = Sandbox([], {}, folder / "fal.log", port=jwks)
    folder.mkdir(parents=True, exist_ok=True)
    extra.setdefault("DARKROOM_RUNNER", "none")
    with running(folder, sandbox=fal, start=False, database=database, **extra) as service:  # type: ignore[arg-type]
        assert service.settings
        endow(service.settings.database)
        service.arguments = ["tests.bench.ours"]
        service.start()
        assert service.process
        yield Server(service.process.pid, service.port, service.settings.database, service.key, service)
        assert service.stop() == 0


@contextmanager
def peer(shape: str, folder: Path, signer: SigningKey, *, database: str | None = None) -> Iterator[Server]:
    folder.mkdir(parents=True, exist_ok=True)
    place = f"sqlite:///{folder / 'peer.db'}" if database is None else database
    if shape in ("rows", "whole"):
        upgrade(place)
        _open_account(place)
    port = free_port()
    url = place.replace("sqlite:", "sqlite+aiosqlite:")
    command = [sys.executable, "-m", "tests.bench.peers", shape, str(port), url, bytes(signer.verify_key).hex()]
    with (folder / "peer.log").open("wb") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
    try:
        until_blocking(lambda: _listens(port, process), within=20)
        yield Server(process.pid, port, place)
    finally:
        process.kill()
        process.wait()


@contextmanager
def key_set(signer: SigningKey) -> Iterator[int]:
    """The port of a fal that has nothing but its public key."""
    x = base64.urlsafe_b64encode(bytes(signer.verify_key)).rstrip(b"=").decode()
    document = json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "1", "x": x}]}).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def turn(server: Server, requests: Sequence[bytes], folder: Path, seconds: float, *, again: bool = False) -> Round:
    """Load from a process of its own on the last core."""
    file = folder / "requests"
    file.write_bytes(packed(requests))
    command = [sys.executable, "-m", "tests.bench.load", str(server.port), str(file), "--seconds", str(seconds)]
    client = subprocess.Popen(
        [*command, "--again"] if again else command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    before = cpu(server.pid)
    with Others([server.pid, client.pid]) as others:
        out, err = client.communicate(timeout=seconds + 120)
    assert client.returncode == 0, err
    told = json.loads(out)
    said = Said(told["seconds"], told["statuses"], sorted(told["latencies"]))
    answers = len(said.latencies)
    return Round(
        rate=answers / said.seconds,
        cpu_us=1e6 * (cpu(server.pid) - before) / answers,
        p50_ms=1e3 * said.latencies[answers // 2],
        p99_ms=1e3 * said.latencies[answers * 99 // 100],
        others=others.cores,
        statuses={int(status): n for status, n in told["statuses"].items()},
    )


def endow(database: str) -> None:
    """Credits enough for any measurement: the balance and the ledger agree."""
    engine = create_engine(database)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE balances SET available = available + {CREDITS}"))
    engine.dispose()


def _open_account(database: str) -> None:
    engine = create_engine(database)
    with engine.begin() as connection:
        balance = {"w": WORKSPACE, "n": CREDITS}
        connection.execute(text("INSERT INTO balances VALUES (:w, :n, 0, 0)"), balance)
        connection.execute(insert(table(CounterRow)), {"workspace": WORKSPACE, "seq": 0, "trimmed": 0})
    engine.dispose()


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the peer ended at once"
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
