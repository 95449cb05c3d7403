"""The straightforward peer: what a competent developer writes in an afternoon with Starlette, a SQLModel session per
request and sse-starlette. Nothing in it is slow on purpose. `python -m tests.bench.peers SHAPE PORT DATABASE KEY`

`plain` keeps a job and an event. `rows` writes the very rows that we do, but without our keys, checks and quotas;
`whole` does in its webhook what our door and our ingest do.
`hello` is uvicorn alone.
"""

import asyncio
import hashlib
import json
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any

import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel
from pydantic import Field as Limited
from sqlalchemy import event, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import Field, SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.credits.model import Account, BalanceRow, EntryRow, Kind, Ledger, TransferRow
from app.jobs.lifecycle import JobStatus
from app.jobs.model import AttemptRow, AttemptStatus, JobRow, Priority
from app.store.columns import table
from app.store.inbox import DeliveryRow, Source
from app.store.log import CounterRow, EventRow
from app.store.tasks import TaskRow, TaskState
from tests.bench.machine import FIRST, pin

WORKSPACE = "ws_of_the_peer"

_B, _C, _D = table(BalanceRow), table(CounterRow), table(DeliveryRow)
_PAY = (
    update(_B)
    .where(_B.c.workspace == WORKSPACE, _B.c.available >= 1)
    .values(available=_B.c.available - 1, held=_B.c.held + 1)
)
_ONE_MORE = update(_C).where(_C.c.workspace == WORKSPACE).values(seq=_C.c.seq + 1).returning(_C.c.seq)
_COUNT = update(_C).where(_C.c.workspace == WORKSPACE).values(seq=_C.c.seq + 2).returning(_C.c.seq)

Handler = Callable[[Request], Awaitable[Response]]


class Asked(BaseModel):
    model: str
    input: dict[str, Any]
    priority: Priority = Priority.NORMAL
    max_attempts: int = Limited(3, ge=1, le=10)
    metadata: dict[str, str] = {}


class Completion(BaseModel):
    request_id: str
    status: str
    error: str | None = None
    payload: dict[str, Any] | None = None


class PlainJob(SQLModel, table=True):
    __tablename__ = "plain_jobs"

    id: str = Field(primary_key=True)
    request_id: str = Field(unique=True)
    owner: str
    status: str
    result: str | None = None
    updated: float = 0


class PlainEvent(SQLModel, table=True):
    __tablename__ = "plain_events"

    id: int | None = Field(default=None, primary_key=True)
    job: str = Field(index=True)
    type: str
    data: str
    created: float


class Channels:
    """Who listens to whom: a queue each."""

    def __init__(self) -> None:
        self._queues: dict[str, set[asyncio.Queue[tuple[int, str]]]] = defaultdict(set)

    def publish(self, channel: str, number: int, data: str) -> None:
        for queue in self._queues[channel]:
            if not queue.full():
                queue.put_nowait((number, data))

    async def stream(self, request: Request) -> Response:
        sse: Any = import_module("sse_starlette")
        channel = request.path_params["channel"]
        queue: asyncio.Queue[tuple[int, str]] = asyncio.Queue(1000)

        async def frames() -> AsyncIterator[Any]:
            self._queues[channel].add(queue)
            try:
                while True:
                    number, data = await queue.get()
                    yield sse.ServerSentEvent(data=data, event="job", id=str(number))
            finally:
                self._queues[channel].discard(queue)

        answer: Response = sse.EventSourceResponse(frames())
        return answer


def plain(engine: AsyncEngine, key: bytes) -> ASGIApp:
    channels = Channels()

    async def submit(request: Request) -> Response:
        asked = Asked.model_validate_json(await request.body())
        job = PlainJob(
            id=uuid.uuid4().hex,
            request_id=uuid.uuid4().hex,
            owner="me",
            status="queued",
            result=asked.model_dump_json(),
            updated=time.time(),
        )
        async with AsyncSession(engine, expire_on_commit=False) as session:
            session.add(job)
            session.add(
                PlainEvent(job=job.id, type="job.queued", data=json.dumps({"job": job.id}), created=time.time())
            )
            await session.commit()
        return JSONResponse({"id": job.id, "status": job.status}, 202)

    async def webhook(request: Request) -> Response:
        body = await request.body()
        if not _genuine(request, body, key):
            return JSONResponse({"error": "bad signature"}, 401)
        told = Completion.model_validate_json(body)
        async with AsyncSession(engine, expire_on_commit=False) as session:
            job = (await session.exec(select(PlainJob).where(PlainJob.request_id == told.request_id))).one()
            if job.status == "completed":
                return JSONResponse({"ok": True, "duplicate": True})
            job.status, job.result, job.updated = "completed", body.decode(), time.time()
            said = PlainEvent(job=job.id, type="job.completed", data=json.dumps({"job": job.id}), created=job.updated)
            session.add_all([job, said])
            await session.commit()
        channels.publish(job.owner, said.id or 0, job.id)
        return JSONResponse({"ok": True})

    return _house(engine, submit, webhook, channels, [PlainJob, PlainEvent])


def rows(engine: AsyncEngine, key: bytes, *, ingests: bool = False) -> ASGIApp:
    """`ingests`: the webhook also does to the job what it means, and tells of it."""
    channels = Channels()

    async def submit(request: Request) -> Response:
        asked = Asked.model_validate_json(await request.body())
        id_, hold, now = f"job_{uuid.uuid4().hex}", f"hold_{uuid.uuid4().hex}", datetime.now(UTC)
        # The first statement writes, so that sessions wait for the lock in line and none fails halfway.
        async with AsyncSession(engine, expire_on_commit=False) as session:
            await session.exec(_PAY)
            session.add(TransferRow(id=hold, workspace=WORKSPACE, kind=Kind.HOLD, hold=hold, owner=id_, created_at=now))
            session.add_all(
                EntryRow(transfer=hold, account=account, ledger=Ledger.CREDITS, workspace=WORKSPACE, amount=amount)
                for account, amount in ((Account.AVAILABLE, -1), (Account.HELD, 1))
            )
            session.add(_job(id_, hold, asked, now))
            session.add(_task("jobs.dispatch", f"jobs.dispatch:{id_}", {"job": id_}, now))
            await session.flush()
            seq = (await session.exec(_COUNT)).scalar_one()
            session.add(_event(seq - 1, "credits.held", id_, {"hold": hold, "amount": 1, "owner": id_}, now))
            session.add(_event(seq, "job.queued", id_, {"model": asked.model, "retry_of": None}, now))
            await session.commit()
        channels.publish(WORKSPACE, seq, id_)
        return JSONResponse({"id": id_, "status": "queued"}, 202)

    async def webhook(request: Request) -> Response:
        body = await request.body()
        if not _genuine(request, body, key):
            return JSONResponse({"error": "bad signature"}, 401)
        told, now = Completion.model_validate_json(body), datetime.now(UTC)
        digest = hashlib.sha256(body).hexdigest()
        async with AsyncSession(engine, expire_on_commit=False) as session:
            attempt = await session.get_one(AttemptRow, request.path_params["attempt"])
            delivery = f"dlv_{uuid.uuid4().hex}"
            session.add(
                DeliveryRow(
                    id=delivery,
                    workspace=attempt.workspace,
                    job=attempt.job,
                    attempt=attempt.id,
                    source=Source.WEBHOOK,
                    request_id=told.request_id,
                    timestamp=request.headers["x-fal-webhook-timestamp"],
                    body_sha256=digest,
                    body=body,
                    status=0,
                    verdicts={"signature": "fal"},
                    received_at=now,
                )
            )
            if ingests:
                seq = await _ingest(session, attempt, delivery, told, now)
            else:
                task = {"job": attempt.job, "delivery": delivery}
                session.add(_task("jobs.ingest", f"jobs.ingest:{delivery}", task, now))
            await session.commit()
        if ingests:
            channels.publish(WORKSPACE, seq, attempt.job)
        return JSONResponse({"ok": True})

    return _house(engine, submit, webhook, channels, [])


async def _ingest(session: AsyncSession, attempt: AttemptRow, delivery: str, told: Completion, now: datetime) -> int:
    """The rows of our stage of that name: the cost, the attempt's end, the job's move, its event and its next task."""
    job, cost = await session.get_one(JobRow, attempt.job), f"xfer_{uuid.uuid4().hex}"
    session.add(TransferRow(id=cost, workspace=WORKSPACE, kind=Kind.COST, owner=job.id, created_at=now))
    session.add_all(
        EntryRow(transfer=cost, account=account, ledger=Ledger.MICRO_USD, workspace=WORKSPACE, amount=amount)
        for account, amount in ((Account.PAYABLE, -3000), (Account.COSTS, 3000))
    )
    attempt.status, attempt.outcome, attempt.ended_at = AttemptStatus.ENDED, "completed", now
    job.status, job.updated_at = JobStatus.STORING, now
    job.outputs = (told.payload or {}).get("images", [])
    mirror = {"job": job.id, "attempt": attempt.id}
    session.add(_task("jobs.mirror", f"jobs.mirror:{job.id}", mirror, now))
    await session.flush()
    await session.exec(update(_D).where(_D.c.id == delivery).values(effect="ingested"))
    seq: int = (await session.exec(_ONE_MORE)).scalar_one()
    session.add(_event(seq, "job.generated", job.id, {"attempt": 1, "files": len(job.outputs)}, now))
    return seq


async def hello(scope: Scope, _receive: Receive, send: Send) -> None:
    """All that uvicorn needs."""
    assert scope["type"] == "http"
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def engine_of(url: str) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_size=16, max_overflow=0)
    engine = create_async_engine(url, connect_args={"timeout": 60})

    def prepare(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    event.listen(engine.sync_engine, "connect", prepare)
    return engine


def main() -> None:
    shape, port, url, key = sys.argv[1:]
    pin(FIRST)
    if shape == "hello":
        uvicorn.run(hello, port=int(port), lifespan="off", access_log=False, log_level="error", backlog=4096)
        return
    shapes: dict[str, Callable[[AsyncEngine, bytes], ASGIApp]] = {
        "plain": plain,
        "rows": rows,
        "whole": partial(rows, ingests=True),
    }
    app = shapes[shape](engine_of(url), bytes.fromhex(key))
    uvicorn.run(app, port=int(port), access_log=False, log_level="error", backlog=4096)


def _house(
    engine: AsyncEngine, submit: Handler, webhook: Handler, channels: Channels, tables: list[type[SQLModel]]
) -> ASGIApp:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            for each in tables:
                await connection.run_sync(each.__table__.create, checkfirst=True)  # type: ignore[attr-defined]
        yield
        await engine.dispose()

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/jobs", submit, methods=["POST"]),
            Route("/webhooks/{attempt}", webhook, methods=["POST"]),
            Route("/events/{channel}", channels.stream),
        ],
    )


def _genuine(request: Request, body: bytes, key: bytes) -> bool:
    said = request.headers
    try:
        stamp = said["x-fal-webhook-timestamp"]
        ids = [said["x-fal-webhook-request-id"], said["x-fal-webhook-user-id"], stamp]
        message = "\n".join([*ids, hashlib.sha256(body).hexdigest()]).encode()
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(said["x-fal-webhook-signature"]), message)
    except (KeyError, ValueError, InvalidSignature):
        return False
    return abs(time.time() - int(stamp)) <= 300


def _job(id_: str, hold: str, asked: Asked, now: datetime) -> JobRow:
    return JobRow(
        id=id_,
        workspace=WORKSPACE,
        status=JobStatus.QUEUED,
        model=asked.model,
        input=asked.input,
        reference_images=[],
        meta=asked.metadata,
        priority=asked.priority,
        max_attempts=asked.max_attempts,
        deadline_at=now + timedelta(hours=6),
        price={"credits": 1, "micro_usd": 3000, "outputs": 1},
        hold=hold,
        credits_held=1,
        created_at=now,
        updated_at=now,
    )


def _task(kind: str, key: str, payload: dict[str, Any], now: datetime) -> TaskRow:
    return TaskRow(
        id=f"task_{uuid.uuid4().hex}",
        kind=kind,
        key=key,
        workspace=WORKSPACE,
        payload=payload,
        state=TaskState.READY,
        lane=2,
        due_at=now,
        created_at=now,
    )


def _event(seq: int, type_: str, job: str, data: dict[str, Any], now: datetime) -> EventRow:
    return EventRow(workspace=WORKSPACE, seq=seq, type=type_, time=now, job=job, data=json.dumps(data))


if __name__ == "__main__":
    main()
