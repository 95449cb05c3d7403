"""A Redis of our own, which may be stopped, started and frozen; and the one that the environment names."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.waiting import until_blocking

PASSWORD = "a password that no line may hold"


@dataclass
class RedisServer:
    """`options` go to the program. Its port stays the same over a restart."""

    folder: Path
    port: int
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--requirepass", PASSWORD, "--daemonize", "no", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        until_blocking(self._listens, within=10)

    def kill(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """It holds its connections and says nothing more, as a machine that is cut off."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        ports = [self.port] if self.port else []
        ports += [int(port) for name, port in zip(self.options, self.options[1:], strict=False) if name == "--tls-port"]
        with suppress(OSError):
            for port in ports:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        return False


@contextmanager
def redis_server(*options: str, port: int | None = None) -> Iterator[RedisServer]:
    """Skips where the program is not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed here, so it cannot be stopped and started")
    folder = Path(mkdtemp(prefix="darkroom-redis-"))
    server = RedisServer(folder, _free_port() if port is None else port, options)
    server.start()
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)


def redis_at_hand() -> str:
    """The address of the one that the environment names; skips where there is none."""
    url = os.environ.get("DARKROOM_TEST_REDIS_URL")
    if not url:
        pytest.skip("DARKROOM_TEST_REDIS_URL names no Redis")
    return url


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
