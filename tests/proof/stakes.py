"""What the races are about: jobs, their attempts, and what fal says of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

from nacl.signing import SigningKey
from sqlmodel import select

from app.core.signatures import webhook_message
from app.jobs import attempts
from app.jobs.accept import JobRequest, accept, topic_of
from app.jobs.events import JobSubmitting
from app.jobs.lifecycle import JOB, JobStatus
from app.jobs.model import AttemptRow, AttemptStatus, JobRow
from app.services import Services
from app.store.advance import advance
from app.store.write import Tx
from app.web.operation import Knock

WORKSPACE = "ws_races"
USER = "user_races"
WISH = JobRequest(model="fal-ai/flux/schnell", input={"prompt": "a race", "image_size": "square"})
_KEY = SigningKey(hashlib.sha256(b"races").digest())


async def accepted(services: Services, rounds: int) -> list[JobRow]:
    views = await asyncio.gather(*(accept(services, WORKSPACE, WISH, None) for _ in range(rounds)))
    async with services.db.read() as session:
        rows = {row.id: row for row in (await session.exec(select(JobRow))).all()}
    return [rows[view.id] for view, _ in views]


async def sent_to_fal(services: Services, job: JobRow) -> AttemptRow:
    attempt = AttemptRow(
        id=services.ids.new("att"),
        workspace=WORKSPACE,
        job=job.id,
        number=1,
        endpoint=job.model,
        arguments=job.input,
        status=AttemptStatus.SENDING,
        created_at=services.clock.now(),
    )

    def sent(tx: Tx) -> None:
        event, values = JobSubmitting(attempt=1), {"attempt": 1}
        advance(tx, JOB, JobRow, job.id, JobStatus.SUBMITTING, event, topic_of(job), values=values)
        attempts.write_down(tx, attempt)

    await services.db.write(sent)
    return attempt


def letter(services: Services, attempt: AttemptRow) -> Knock:
    """The webhook that tells of it: the same from everybody, to the second."""
    services.standing.keys, services.standing.keys_at = [bytes(_KEY.verify_key)], services.clock.now()
    request_id = request_of(attempt)
    told = {"request_id": request_id, "status": "OK", "payload": result_of(attempt), "payload_error": None}
    body, stamp = json.dumps(told).encode(), str(int(attempt.created_at.timestamp()))
    signature = _KEY.sign(webhook_message(request_id, USER, stamp, body)).signature.hex()
    values = {"request-id": request_id, "user-id": USER, "timestamp": stamp, "signature": signature}

    async def read(_most: int) -> bytes:
        return body

    path = {"attempt": attempt.id, "tag": services.tags.sign(attempt.id)}
    return Knock(path, [(b"x-fal-webhook-" + name.encode(), value.encode()) for name, value in values.items()], read)


def request_of(attempt: AttemptRow) -> str:
    return f"req-{attempt.id}"


def result_of(attempt: AttemptRow) -> dict[str, Any]:
    return {"images": [{"url": f"https://v3.fal.media/files/{attempt.id}.jpg"}], "seed": 7}


async def count(services: Services, query: Any) -> int:
    async with services.db.read() as session:
        return int((await (await session.connection()).execute(query)).scalar_one())
