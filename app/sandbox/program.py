"""The sandbox as a program: bind, print one line of JSON, serve, and stop quickly when asked to."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import uvicorn

from app.sandbox.alone import alone
from app.sandbox.box import Box, Options
from app.sandbox.origin import origin
from app.sandbox.wire import DEFAULT_KEY, DEFAULT_USER, CuttableProtocol


def run(options: Options) -> int:
    """Serve until SIGTERM or SIGINT. Port 0 picks a free one; the line on stdout says which."""
    return asyncio.run(_serve(options))


async def _serve(options: Options) -> int:
    with alone(options.data):
        return await _serve_alone(options)


async def _serve_alone(options: Options) -> int:
    listener = _listen(options.host, options.port)
    box = Box(options)
    server = _Server(box, listener)
    box.start()
    try:
        await server.serve(sockets=[listener])
    finally:
        await box.close()
    return 0


class _Server(uvicorn.Server):
    def __init__(self, box: Box, listener: socket.socket) -> None:
        self._box, self._address = box, listener.getsockname()[:2]
        self._told, self._parent = False, os.getppid()
        self._comeback: asyncio.Task[None] | None = None
        config = uvicorn.Config(
            origin(box, self.refuse),
            http=CuttableProtocol,
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self._told:
            self._told = True
            print(json.dumps(self._introduction()), flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._comeback:
            self._comeback.cancel()
        self._box.queue.closing = True  # streams end by themselves
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if self._box.options.with_parent and os.getppid() != self._parent:
            return True
        return await super().on_tick(counter)

    async def refuse(self, seconds: float) -> None:
        """Nobody listens for these (real) seconds: a connection is refused, as when a machine is down."""
        for listening in self.servers:
            listening.close()
        self._comeback = asyncio.create_task(self._listen_again(seconds))

    async def _listen_again(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._box.outage.end()
        await self.startup([_listen(*self._address)])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was obeyed is not raised once more: exit code 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    def _introduction(self) -> dict[str, object]:
        host, port = self._address
        name = f"[{host}]" if ":" in host else {"0.0.0.0": "127.0.0.1"}.get(host, host)  # noqa: S104 - only named, bound if asked for
        return {
            "url": f"http://{name}:{port}",
            "port": port,
            "pid": os.getpid(),
            "key": DEFAULT_KEY,
            "user_id": DEFAULT_USER,
            "speed": self._box.options.speed,
            "data": str(self._box.folder),
        }


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as problem:
        sys.exit(f"cannot listen on {host}:{port}: {problem.strerror}")
    return listener
