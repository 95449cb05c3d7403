"""The operations on jobs."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pydantic import BaseModel

from app.catalog import UnknownModel
from app.catalog.view import ModelView, describe
from app.core.errors import IllegalMove, KeyReused, NotEnoughCredits, NotFound, Problem
from app.core.idempotency import IdempotencyKey
from app.core.paging import Page
from app.core.principal import Principal, Scope
from app.jobs import attempts, retry, runs
from app.jobs.accept import JobRequest, accept
from app.jobs.cancel import cancel_job, find
from app.jobs.lifecycle import ENDINGS, JOB, JobStatus
from app.jobs.read import JobsQuery, job_snapshot, jobs_page
from app.jobs.view import AttemptView, JobView, attempt_view
from app.jobs.watching import watch
from app.services import Services
from app.web.operation import Operation, Reply


class Attempts(BaseModel):
    data: list[AttemptView]


class Models(BaseModel):
    data: list[ModelView]


async def create_job(
    services: Services,
    principal: Principal,
    body: JobRequest,
    idempotency: IdempotencyKey | None,
    wait: float | None,
) -> Reply[JobView]:
    """Ask for images

    Answers at once with the accepted job; follow `urls.stream`, or look at `urls.self`. `Prefer: wait=N` holds the
    answer back for up to N seconds, until the job has ended. With an `Idempotency-Key`, asking again gives the same
    job.
    """
    job, replayed = await accept(services, principal.workspace, body, idempotency)
    headers = {"Location": job.urls.self} | ({"Idempotent-Replayed": "true"} if replayed else {})
    if not wait:
        return Reply(job, headers=headers)
    headers["Preference-Applied"] = f"wait={wait:g}"
    with suppress(Problem):  # whatever hinders us from waiting, the job is accepted
        job = await _wait_for(services, principal.workspace, job, wait)
    return Reply(job, status=200 if job.status in JOB.final else None, headers=headers)


async def list_jobs(services: Services, principal: Principal, query: JobsQuery) -> Page[JobView]:
    """List jobs, newest first"""
    return await jobs_page(services, principal.workspace, query)


async def get_job(services: Services, principal: Principal, job: str) -> JobView:
    """A job as it is now

    Its `seq` is the number of the newest event the snapshot contains: follow the stream with `after=` that number.
    """
    view = await job_snapshot(services, principal.workspace, job)
    if view.status not in JOB.final:
        watch(services, job)
    return view


async def cancel(services: Services, principal: Principal, job: str) -> JobView:
    """Cancel a job

    What is held for it is given back at once. fal may finish it all the same; that result is kept, and not charged.
    """
    await cancel_job(services, principal.workspace, job)
    return await job_snapshot(services, principal.workspace, job)


async def retry_job(
    services: Services, principal: Principal, job: str, idempotency: IdempotencyKey | None
) -> Reply[JobView]:
    """Make a failed or cancelled job again

    A new job with credits of its own; in a run it takes the old one's slot.
    """
    row = await find(services, principal.workspace, job)
    if row.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
        then = "has completed: send a new job" if row.status is JobStatus.COMPLETED else "goes on: cancel it first"
        raise IllegalMove(
            f"Only a job that failed or was cancelled can be retried. This one is {row.status} and {then}.",
            state=str(row.status),
            moves=[str(move) for move in JOB.moves(row.status)],
        )
    if row.run is None:
        request = retry.request_of(row)
        view, replayed = await accept(services, principal.workspace, request, idempotency, retry_of=row.id)
    else:
        run = await runs.find(services, principal.workspace, row.run)
        view, replayed = await retry.retry_job(services, run, row, idempotency)
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    return Reply(view, headers={"Location": view.urls.self, **headers})


async def list_attempts(services: Services, principal: Principal, job: str) -> Attempts:
    """What was sent to fal for a job, and what became of it"""
    await find(services, principal.workspace, job)
    async with services.db.read() as session:
        rows = await attempts.of_job(session, job)
    return Attempts(data=[attempt_view(row) for row in rows])


async def list_models(services: Services) -> Models:
    """What can be generated"""
    return Models(data=[describe(model) for model in services.catalog.models])


async def get_model(services: Services, model: str) -> ModelView:
    """One model: its input, limits and price"""
    return describe(services.catalog.get(model))


async def _wait_for(services: Services, workspace: str, job: JobView, seconds: float) -> JobView:
    """The job when it has ended, or as it is when the time is over."""
    watch(services, job.id)
    feed = await services.hub.follow(workspace, after=0, job=job.id, types=ENDINGS, final=ENDINGS)
    news = asyncio.Event()
    feed.ready(news.set)
    try:
        async with asyncio.timeout(seconds):
            while (said := await feed.take()) is not None:
                if not said:
                    await news.wait()
                    news.clear()
    except TimeoutError:
        pass
    finally:
        feed.close()
    return await job_snapshot(services, workspace, job.id)


OPERATIONS = (
    Operation(
        "POST",
        "/jobs",
        create_job,
        202,
        also=(200,),
        scope=Scope.JOBS_WRITE,
        idempotent=True,
        raises=(UnknownModel, NotEnoughCredits, KeyReused),
    ),
    Operation("GET", "/jobs", list_jobs, scope=Scope.JOBS_READ, raises=(UnknownModel,)),
    Operation("GET", "/jobs/{job}", get_job, scope=Scope.JOBS_READ, resource="job", raises=(NotFound,)),
    Operation(
        "POST", "/jobs/{job}/cancel", cancel, scope=Scope.JOBS_WRITE, resource="job", raises=(NotFound, IllegalMove)
    ),
    Operation(
        "POST",
        "/jobs/{job}/retry",
        retry_job,
        202,
        scope=Scope.JOBS_WRITE,
        resource="job",
        idempotent=True,
        raises=(NotFound, IllegalMove, NotEnoughCredits, KeyReused),
    ),
    Operation("GET", "/jobs/{job}/attempts", list_attempts, scope=Scope.JOBS_READ, resource="job", raises=(NotFound,)),
    Operation("GET", "/models", list_models),
    Operation("GET", "/models/{model:path}", get_model, resource="model", raises=(NotFound,)),
)
