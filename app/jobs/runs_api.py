"""The operations on runs."""

from __future__ import annotations

from pydantic import BaseModel

from app.catalog import UnknownModel
from app.core.errors import IllegalMove, KeyReused, NotEnoughCredits, NotFound
from app.core.idempotency import IdempotencyKey
from app.core.paging import Page
from app.core.principal import Principal, Scope
from app.jobs import retry, runs
from app.jobs.accept_run import RunRequest, accept_run
from app.jobs.archive import ZIP, archive
from app.jobs.read import RunsQuery, run_snapshot, runs_page
from app.jobs.view import RunView
from app.jobs.watching import watch
from app.services import Services
from app.web.operation import Download, Operation, Reply


class Retried(BaseModel):
    """How many slots have a new job."""

    retried: int
    run: RunView


async def create_run(
    services: Services, principal: Principal, body: RunRequest, idempotency: IdempotencyKey | None
) -> Reply[RunView]:
    """Ask for many images with one purpose and one budget

    All jobs are accepted or none. `ceiling` bounds what they may hold together.
    """
    run, replayed = await accept_run(services, principal.workspace, body, idempotency)
    return Reply(run, headers={"Location": run.urls.self} | ({"Idempotent-Replayed": "true"} if replayed else {}))


async def list_runs(services: Services, principal: Principal, query: RunsQuery) -> Page[RunView]:
    """List runs, newest first"""
    return await runs_page(services, principal.workspace, query)


async def get_run(services: Services, principal: Principal, run: str) -> RunView:
    """A run as it is now"""
    view = await run_snapshot(services, principal.workspace, run)
    watch(services, run)
    return view


async def get_archive(services: Services, principal: Principal, run: str) -> Download:
    """A run's pictures as one ZIP

    Those there are by now, in the order of the slots, and a `manifest.json` with every job's state, prompt and seed,
    and the hash of every picture.
    """
    return await archive(services, await runs.find(services, principal.workspace, run))


async def cancel_run(services: Services, principal: Principal, run: str) -> RunView:
    """Cancel a run and every job of it that has not ended

    The run is over at once and sends nothing more. Of many jobs the last take a moment longer to end: `counts` and
    `credits` say how far it is.
    """
    await runs.cancel(services, await runs.find(services, principal.workspace, run))
    return await run_snapshot(services, principal.workspace, run)


async def pause_run(services: Services, principal: Principal, run: str) -> RunView:
    """Send no more of a run's jobs to fal

    What is at fal already goes on, and is kept.
    """
    await runs.pause(services, await runs.find(services, principal.workspace, run))
    return await run_snapshot(services, principal.workspace, run)


async def resume_run(services: Services, principal: Principal, run: str) -> RunView:
    """Go on with a paused run"""
    await runs.resume(services, await runs.find(services, principal.workspace, run))
    return await run_snapshot(services, principal.workspace, run)


async def retry_failed(
    services: Services, principal: Principal, run: str, idempotency: IdempotencyKey | None
) -> Reply[Retried]:
    """Make a run's failed and cancelled jobs again, as new jobs in their slots

    With an `Idempotency-Key`, asking again makes nothing: it tells how many were made then, and the run as it is now.
    """
    row = await runs.find(services, principal.workspace, run)
    count, replayed = await retry.retry_failed(services, row, idempotency)
    told = Retried(retried=count, run=await run_snapshot(services, principal.workspace, run))
    return Reply(told, headers={"Idempotent-Replayed": "true"} if replayed else {})


_MOVES = (NotFound, IllegalMove)
_WRITE = Scope.JOBS_WRITE

OPERATIONS = (
    Operation(
        "POST",
        "/runs",
        create_run,
        202,
        scope=_WRITE,
        idempotent=True,
        raises=(UnknownModel, NotEnoughCredits, KeyReused),
    ),
    Operation("GET", "/runs", list_runs, scope=Scope.JOBS_READ),
    Operation("GET", "/runs/{run}", get_run, scope=Scope.JOBS_READ, resource="run", raises=(NotFound,)),
    Operation(
        "GET",
        "/runs/{run}/archive",
        get_archive,
        scope=Scope.ASSETS_READ,
        resource="run",
        media=(ZIP,),
        raises=(NotFound,),
    ),
    Operation("POST", "/runs/{run}/cancel", cancel_run, scope=_WRITE, resource="run", raises=_MOVES),
    Operation("POST", "/runs/{run}/pause", pause_run, scope=_WRITE, resource="run", raises=_MOVES),
    Operation("POST", "/runs/{run}/resume", resume_run, scope=_WRITE, resource="run", raises=_MOVES),
    Operation(
        "POST",
        "/runs/{run}/retry-failed",
        retry_failed,
        202,
        scope=_WRITE,
        resource="run",
        idempotent=True,
        raises=(*_MOVES, NotEnoughCredits, KeyReused),
    ),
)
