"""A real uvicorn on the test's own loop, set up as the product sets it up."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.types import ASGIApp
from uvicorn import Config

from app.web.server import DrainingServer, Protocol
from tests.waiting import until


@asynccontextmanager
async def serving(
    app: ASGIApp,
    drain: Callable[[], None] = lambda: None,
    *,
    http: type[asyncio.Protocol] = Protocol,
    send_buffer: int = 0,
) -> AsyncIterator[int]:
    """The port it listens on. `send_buffer` shrinks what the kernel holds for each connection."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if send_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    listener.bind(("127.0.0.1", 0))
    server = DrainingServer(Config(app, http=http, log_config=None, lifespan="off", backlog=2048), drain)
    running = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
    try:
        await until(lambda: server.started)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await running
