"""What machines ask of us: is it alive, is it ready, how is it doing, what is it."""

from __future__ import annotations

import asyncio
import hmac
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Literal, TypeVar

import structlog
from pydantic import BaseModel

from app import __version__
from app.core.errors import Problem, Unavailable
from app.jobs.housekeeping import fill_gauges
from app.jobs.outages import check_provider, is_fresh
from app.services import Services
from app.store.schema import check_schema, newest
from app.web.operation import Answer, Door, Knock, Operation, Reply
from app.wiring import Wired

READY_FOR, STORED_FOR, PROVIDED_FOR, MEASURED_FOR = 1.0, 10.0, 15.0, 5.0
"""Seconds an answer is repeated, so that whoever asks often costs little. A probe in a bucket costs money."""
PATIENCE = 3.0
NOT_NEEDED = {"bus"}
"""Without it all goes on, only later."""

T = TypeVar("T")

log = structlog.get_logger("health")


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Check(BaseModel):
    """`needed` is false for what costs only time while it is away."""

    ok: bool
    needed: bool = True
    detail: str = ""


class Ready(BaseModel):
    """`ready` is false while a check of something needed fails; each failing one says what to do."""

    ready: bool
    checks: dict[str, Check]


class Version(BaseModel):
    version: str
    schema_revision: str
    world: Literal["sandbox", "real"]


class Health:
    """`draining` says whether this process is about to end."""

    def __init__(self, wired: Wired, draining: Callable[[], bool]) -> None:
        self._wired = wired
        self._draining = draining
        self._ready = _Repeated(self._look, READY_FOR)
        self._stored = _Repeated(self._store, STORED_FOR)
        self._provided = _Repeated(self._provide, PROVIDED_FOR)
        self._rendered = _Repeated(self._measure, MEASURED_FOR)

    @property
    def operations(self) -> tuple[Operation, ...]:
        async def healthz() -> Alive:
            """This process runs and answers. Says nothing about anything else."""
            return Alive()

        async def readyz() -> Reply[Ready]:
            """Whether all that is needed is there."""
            ready = await self._ready()
            if self._draining():
                stopping = {"process": Check(ok=False, detail="This process is shutting down.")}
                ready = Ready(ready=False, checks=stopping | ready.checks)
            return Reply(ready, None if ready.ready else 503, {} if ready.ready else {"Retry-After": "5"})

        async def version() -> Version:
            return Version(version=__version__, schema_revision=newest(), world=self._wired.settings.world)

        return (
            Operation("GET", "/healthz", healthz, summary="Is it alive?", tag="health", absolute=True),
            Operation("GET", "/readyz", readyz, also=(503,), summary="Is it ready?", tag="health", absolute=True),
            Operation("GET", "/version", version, summary="What is it?", tag="health", absolute=True),
        )

    @property
    def doors(self) -> tuple[Door, ...]:
        return (Door("GET", "/metrics", self._metrics),)

    async def _metrics(self, _services: Services, knock: Knock) -> Answer:
        token = self._wired.settings.metrics_token
        if token is not None:
            given = dict(knock.headers).get(b"authorization", b"")
            if not hmac.compare_digest(given, f"Bearer {token.get_secret_value()}".encode()):
                return Answer(401, b"Send DARKROOM_METRICS_TOKEN as a bearer token.\n")
        return Answer(200, await self._rendered(), "text/plain; version=0.0.4; charset=utf-8")

    async def _look(self) -> Ready:
        names, looks = zip(*self._checks().items(), strict=True)
        troubles = await asyncio.gather(*map(_trouble, names, looks))
        checks = {
            name: Check(ok=not trouble, needed=name not in NOT_NEEDED, detail=trouble)
            for name, trouble in zip(names, troubles, strict=True)
        }
        return Ready(ready=all(check.ok or not check.needed for check in checks.values()), checks=checks)

    def _checks(self) -> Mapping[str, Callable[[], Awaitable[object]]]:
        services = self._wired.services

        async def provider() -> None:
            standing = services.standing
            if standing.paused_for(services.clock.monotonic()):
                raise Unavailable(
                    f"fal turns our key away, so jobs wait. It answers {standing.rejected_with}: {standing.rejection}"
                )
            try:
                if services.standing.unreachable(services.clock.now(), services.rules.unreachable_after):
                    await check_provider(services)
                await self._provided()
            except Unavailable as away:
                raise Unavailable(f"Jobs wait for fal and go on by themselves. {away.detail}") from away

        return {
            "database": lambda: _check_database(services),
            "migrations": lambda: check_schema(services.db),
            "storage": self._stored,
            "bus": services.bus.check,
            "provider": provider,
            "room": lambda: _check_room(services),
        }

    async def _store(self) -> bool:
        await self._wired.services.blobs.check()
        return True

    async def _provide(self) -> bool:
        await self._wired.services.provider.check()
        return True

    async def _measure(self) -> bytes:
        services = self._wired.services
        try:
            async with asyncio.timeout(PATIENCE):
                await fill_gauges(services)
        except Exception as error:  # noqa: BLE001  # what is known is told all the same
            log.warning("the gauges could not be filled", error=str(error))
        for name, check in (await self._ready()).checks.items():
            services.metrics.gauge("check_ok", int(check.ok), check=name)
            if name in NOT_NEEDED:
                services.metrics.gauge("away", int(not check.ok), what=name)
        return services.metrics.render()


async def _check_database(services: Services) -> None:
    """An empty write finds room on a full disk, so what became of others just now counts as well."""
    await services.db.check()
    trouble = services.standing.unwritable.get("database")
    if trouble and is_fresh(services, trouble, services.rules.heartbeat):
        raise Unavailable(trouble.detail)


async def _check_room(services: Services) -> None:
    if trouble := await asyncio.to_thread(little_room, services):
        raise Unavailable(trouble)


def little_room(services: Services) -> str:
    """What to say when the disk is nearly full, or nothing."""
    free, least = shutil.disk_usage(services.scratch).free, services.rules.least_room
    said = f"Only {free // 1_000_000} MB are free below {services.scratch}; make room until it is {least // 1_000_000}."
    return said if free < least else ""


async def _trouble(name: str, look: Callable[[], Awaitable[object]]) -> str:
    """What is wrong, or nothing."""
    try:
        async with asyncio.timeout(PATIENCE):
            await look()
    except TimeoutError:
        return f"No answer within {PATIENCE:g} s."
    except Problem as problem:
        return problem.detail
    except Exception as error:  # noqa: BLE001  # whoever asks is told that it fails, and the log why
        log.warning("a check failed", check=name, error=str(error))
        return "It does not work; the log says why."
    return ""


class _Repeated(Generic[T]):
    """Asks `find`, and gives the same answer for a while; those who ask meanwhile wait for it together. A failure is
    not remembered."""

    def __init__(self, find: Callable[[], Awaitable[T]], known_for: float) -> None:
        self._find = find
        self._known_for = known_for
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._answer: T | None = None

    async def __call__(self) -> T:
        async with self._lock:
            if self._answer is None or time.monotonic() >= self._until:
                self._answer = await self._find()
                self._until = time.monotonic() + self._known_for
            return self._answer
