"""Stage 6 of the line, seen from outside: following a job, a run or everything, as server-sent events or as pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.core.errors import FieldError, InvalidRequest
from app.core.events import Event
from app.core.feed import Feed
from app.core.principal import Principal, Scope
from app.jobs import cancel, runs
from app.jobs.lifecycle import ENDINGS, JOB, RUN_ENDINGS, RunStatus
from app.jobs.model import JobRow, RunRow
from app.jobs.watching import watch
from app.services import Services
from app.store.follow import beyond, number
from app.store.history import Filter, extent_of, read_page
from app.web.media import JSON, STREAM, preferred
from app.web.operation import Operation, Stream
from app.web.ticks import Ticks


class FollowQuery(BaseModel):
    """`after` is the number of the last event already seen. Without it the stream of a job or a run begins with its
    first event, that of the workspace with what happens next. A client that comes back says it with `Last-Event-ID`,
    which wins."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None


def _name_types(schema: dict[str, Any]) -> None:
    schema["items"] = {"type": "string", "enum": _known_types()}


def _known_types() -> list[str]:
    """Of all features, also those that come after this one."""
    return sorted({kind.type for kind in Event.__subclasses__() if kind.__module__.startswith("app.")})


class EventsQuery(FollowQuery):
    job: str | None = None
    run: str | None = None
    types: list[str] = Field(default=[], json_schema_extra=_name_types)
    limit: Annotated[int, Field(ge=1, le=200)] = Field(default=100, description="For pages, not for streams.")


class EventView(BaseModel):
    """One event, as its frame in the stream shows it. `seq` numbers the workspace's events 1, 2, 3, ... without a gap,
    in the order in which they came to stand; the stream goes on `after` it."""

    seq: int
    type: str
    time: datetime
    job: str | None
    run: str | None
    data: dict[str, Any]


class EventsPage(BaseModel):
    """Oldest first. Ask again with `after` = `next_after`; when `has_more` is false, after a while. Events are kept for
    30 days: where some that were asked for are gone, `trimmed_to` is the number of the last of them and `snapshot` the
    address at which to see how things stand now."""

    data: list[EventView]
    has_more: bool
    next_after: int
    trimmed_to: int | None = None
    snapshot: str | None = None


async def follow_job(
    services: Services, principal: Principal, job: str, query: FollowQuery, last_event_id: str | None
) -> Stream:
    """Follow one job, until it has ended"""
    row = await cancel.find(services, principal.workspace, job)
    watch(services, job)
    feed = await services.hub.follow(
        principal.workspace,
        after=_from_the_start(query, last_event_id),
        job=job,
        final=ENDINGS,
        ended=row.status in JOB.final,
        snapshot=f"{services.base_url}/api/v1/jobs/{job}",
    )
    return _streamed(services, principal, job, feed)


async def follow_run(
    services: Services, principal: Principal, run: str, query: FollowQuery, last_event_id: str | None
) -> Stream:
    """Follow one run and its jobs, until it has ended"""
    row = await runs.find(services, principal.workspace, run)
    watch(services, run)
    feed = await services.hub.follow(
        principal.workspace,
        after=_from_the_start(query, last_event_id),
        run=run,
        final=RUN_ENDINGS,
        reopened=frozenset({"run.resumed"}),
        ended=row.status not in (RunStatus.RUNNING, RunStatus.PAUSED),
        snapshot=f"{services.base_url}/api/v1/runs/{run}",
    )
    return _streamed(services, principal, run, feed)


async def follow_events(
    services: Services, principal: Principal, query: EventsQuery, last_event_id: str | None, accept: str
) -> EventsPage | Stream:
    """Everything that happens in the workspace

    As server-sent events to `Accept: text/event-stream`, otherwise as a page of JSON, so that a spreadsheet can follow
    too.
    """
    _require_known(query.types)
    if preferred(accept, named=STREAM, otherwise=JSON) == JSON:
        return await _page(services, principal.workspace, query, last_event_id)
    topic = await _topic(services, principal.workspace, query)
    watch(services, topic)
    feed = await services.hub.follow(
        principal.workspace,
        after=_after(query, last_event_id),
        job=query.job,
        run=query.run,
        types=frozenset(query.types),
        snapshot=f"{services.base_url}/api/v1/jobs",
    )
    return _streamed(services, principal, topic, feed)


async def test_stream(services: Services) -> Stream:
    """The time every two seconds, to see whether streams get through what stands between"""
    return services.streams.stream(Ticks(services.clock))


def _require_known(types: Sequence[str]) -> None:
    """A misspelt type would be waited for in vain. Raises `InvalidRequest`."""
    known = _known_types()
    if unknown := [kind for kind in types if kind not in known]:
        detail = f"There is no event {unknown[0][:40]!r}. There are: {', '.join(known)}."
        raise InvalidRequest(errors=[FieldError("/query/types", detail, "unknown")])


async def _topic(services: Services, workspace: str, query: EventsQuery) -> str:
    """What is watched: the job or the run, if the workspace has it. Watching another's would show in its events."""
    async with services.db.read() as session:
        job = await session.get(JobRow, query.job) if query.job else None
        run = await session.get(RunRow, query.run) if query.run else None
    return next((row.id for row in (job, run) if row is not None and row.workspace == workspace), workspace)


async def _page(services: Services, workspace: str, query: EventsQuery, last_event_id: str | None) -> EventsPage:
    """Raises `InvalidRequest` where a stream could not begin either."""
    after = number(_after(query, last_event_id)) or 0
    wanted = Filter(query.job, query.run, frozenset(query.types))
    async with services.db.read() as session:
        newest, trimmed = await extent_of(session, workspace)
        if after > newest:  # asked first: a header may hold a number that no database does
            raise beyond("/query/after" if last_event_id is None else "/header/last-event-id", newest)
        found = await read_page(session, workspace, after, query.limit + 1, wanted)
    shown = [
        EventView(seq=e.seq, type=e.type, time=e.time, job=e.job, run=e.run, data=e.data) for e in found[: query.limit]
    ]
    page = EventsPage(
        data=shown, has_more=len(found) > query.limit, next_after=shown[-1].seq if shown else max(after, trimmed)
    )
    if trimmed > after:
        page.trimmed_to, page.snapshot = trimmed, f"{services.base_url}/api/v1/jobs"
    return page


def _from_the_start(query: FollowQuery, last_event_id: str | None) -> int | str:
    """A job's or a run's own stream tells the whole story, unless its reader says how much is known."""
    after = _after(query, last_event_id)
    return 0 if after is None else after


def _after(query: FollowQuery, last_event_id: str | None) -> int | str | None:
    return last_event_id if last_event_id is not None else query.after


def _streamed(services: Services, principal: Principal, topic: str, feed: Feed) -> Stream:
    async def check() -> None:
        """May this reader still read? And somebody still watches."""
        await services.recheck(principal)
        watch(services, topic)

    return services.streams.stream(feed, check, owner=principal.workspace, reader=principal.actor)


# 204 is for a reader who has heard the end: it keeps an EventSource from coming back.
OPERATIONS = (
    Operation("GET", "/jobs/{job}/stream", follow_job, also=(204,), scope=Scope.EVENTS_READ, resource="job"),
    Operation("GET", "/runs/{run}/stream", follow_run, also=(204,), scope=Scope.EVENTS_READ, resource="run"),
    Operation("GET", "/events", follow_events, scope=Scope.EVENTS_READ),
    Operation("GET", "/stream-test", test_stream, tag="events"),
)
