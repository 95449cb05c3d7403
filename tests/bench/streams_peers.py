"""The servers that `streams.py` sets side by side. `python -m tests.bench.streams_peers VARIANT PORT FOLDER`

Each answers GET /events with the stream and makes one event of about 230 bytes for each POST /publish.
"""

import asyncio
import itertools
import logging
import random
import sys
import uuid
from collections.abc import Collection
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import uvicorn
from sqlalchemy import create_engine
from starlette.types import ASGIApp, Receive, Scope, Send

from app.accounts.authentication import Authenticator
from app.accounts.model import KeyRow
from app.adapters.clock import SystemClock
from app.core.events import Event, Topic
from app.rules import Rules
from app.store.columns import metadata, table
from app.store.database import Database, Hooks
from app.store.follow import Hub
from app.store.log import CounterRow, EventRow
from app.store.sqlite import SqliteEngine
from app.store.write import Tx
from app.web.server import Protocol
from app.web.streams import Streams

PAYLOAD = "x" * 80
JOB = "job_01jd0000000000000000000000"


class Happened(Event):
    type: ClassVar[str] = "job.progress"
    text: str


async def _accepted(send: Send) -> None:
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def darkroom(folder: str) -> ASGIApp:
    """All of ours: an event is committed to disk, read back, encoded and fanned out."""
    path = Path(folder) / "bench.db"
    engine = create_engine(f"sqlite:///{path}")
    metadata.create_all(engine, [table(row) for row in (EventRow, CounterRow, KeyRow)])
    engine.dispose()
    hubs: list[Hub] = []

    def nudge(topics: Collection[str]) -> None:
        for topic in topics:
            hubs[0].hear(topic)

    hooks = Hooks(lambda: datetime.now(UTC), lambda prefix: f"{prefix}_{uuid.uuid4().hex}", nudge)
    db = Database(SqliteEngine(path, hooks), hooks)
    hub = Hub(db.read, SystemClock(), Rules())
    hubs.append(hub)
    house: Any = SimpleNamespace(db=db, clock=SystemClock())
    doorkeeper = Authenticator()

    async def ended(readers: Collection[str]) -> Collection[str]:
        """Asked as the product asks, which lets nobody in here: all may stay."""
        return await doorkeeper.ended(house, readers) - {*readers}

    streams = Streams(Rules(streams_per_workspace=10_000), random.Random(1), ended=ended)
    readers = itertools.count()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await db.open()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["path"] == "/publish":
            await db.write(_record)
            await _accepted(send)
        else:
            last = dict(scope["headers"]).get(b"last-event-id")
            feed = await hub.follow("ws", after=last.decode() if last else None)
            await streams.stream(feed, reader=f"key_{next(readers) % 100}").serve(scope, receive, send)

    return app


def _record(tx: Tx) -> None:
    tx.record(Happened(text=PAYLOAD), Topic("ws", JOB))


def sse_starlette(_folder: str) -> ASGIApp:
    """The ordinary way: a queue and a generator for each reader, nothing kept anywhere."""
    peer = import_module("sse_starlette")
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    queues: set[asyncio.Queue[tuple[int, str]]] = set()
    newest = 0

    async def events(request: Request) -> Any:
        queue: asyncio.Queue[tuple[int, str]] = asyncio.Queue(1000)
        queues.add(queue)

        async def produce() -> Any:
            try:
                while True:
                    number, data = await queue.get()
                    yield peer.ServerSentEvent(data=data, event="job.progress", id=str(number))
            finally:
                queues.discard(queue)

        return peer.EventSourceResponse(produce())

    async def publish(_request: Request) -> Response:
        nonlocal newest
        newest += 1
        time = datetime.now(UTC).isoformat()
        data = f'{{"seq":{newest},"type":"job.progress","time":"{time}","job":"{JOB}","run":null,"data":"{PAYLOAD}"}}'
        for queue in queues:
            queue.put_nowait((newest, data))
        return Response(status_code=202)

    return Starlette(routes=[Route("/events", events), Route("/publish", publish, methods=["POST"])])


VARIANTS = {"darkroom": darkroom, "sse-starlette": sse_starlette}

if __name__ == "__main__":
    variant, port, folder = sys.argv[1:]
    logging.disable(logging.INFO)
    as_ours: dict[str, Any] = {
        "http": Protocol,
        "proxy_headers": False,
        "server_header": False,
        "access_log": False,
        "ws": "none",
    }
    uvicorn.run(VARIANTS[variant](folder), port=int(port), log_level="error", backlog=4096, **as_ours)
