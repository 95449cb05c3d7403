"""Puts the service together: picks what stands behind each port, joins what the features declare, and hands both to the
toolkit. Nothing runs yet when this is done; `app.lifespan` brings it to life.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from app import accounts, assets, credits, jobs  # noqa: A004  # the house word for money
from app.accounts.authentication import Authenticator
from app.adapters.clock import SystemClock
from app.adapters.disk import DiskBlobs
from app.adapters.fetch import GuardedFetcher
from app.adapters.memory_bus import MemoryBus
from app.assets.darkroom import WorkerProcesses
from app.assets.pieces import NotAPicture
from app.assets.uploads import CannotFetch
from app.catalog import Catalog, UnknownModel
from app.core import errors
from app.core.events import Event
from app.core.ids import Ids
from app.core.paging import Cursors
from app.core.signatures import Tags, derive
from app.failpoints import Failpoints
from app.feature import Feature, TaskHandler
from app.jobs.cancel import holds_asset
from app.metrics import Metrics
from app.ports import Blobs, Bus, Provider, Vision
from app.rules import Rules
from app.services import Services
from app.settings import SANDBOX_KEY, Settings, SettingsError
from app.standing import Standing
from app.store.database import Database, Engine, Hooks
from app.store.follow import Hub
from app.store.schema import OldSchema
from app.store.tasks import Task
from app.store.write import Reactions
from app.web.problems import TooSlow
from app.web.streams import Streams

FEATURES: tuple[Feature, ...] = (accounts.FEATURE, credits.FEATURE, assets.feature((holds_asset,)), jobs.FEATURE)
PROBLEMS: tuple[type[errors.Problem], ...] = (
    *errors.PROBLEMS,
    TooSlow,
    OldSchema,
    UnknownModel,
    NotAPicture,
    CannotFetch,
)
"""All that a caller can be told has gone wrong."""


@dataclass(frozen=True)
class Wired:
    """The service, put together. `handlers` and `mourners` are the runner's."""

    settings: Settings
    features: tuple[Feature, ...]
    services: Services
    handlers: Mapping[str, Callable[[Task], Awaitable[None]]]
    mourners: Mapping[str, str]
    events: tuple[type[Event], ...]


def wire(settings: Settings, base_url: str, features: tuple[Feature, ...] = FEATURES) -> Wired:
    """`base_url` is where we are reached if no public address is set.

    Raises:
        SettingsError: something needed is missing.
    """
    services = services_of(settings, base_url, features)
    handlers = task_handlers(features)
    return Wired(
        settings,
        features,
        services,
        {kind: partial(_timed, services, kind, handler) for kind, handler in handlers.items()},
        mourners_of(features),
        tuple(event for feature in features for event in feature.events),
    )


def services_of(settings: Settings, base_url: str, features: tuple[Feature, ...] = FEATURES) -> Services:
    secret = installation_secret(settings)
    failpoints = Failpoints(settings.failpoint, settings.failpoint_log)
    clock = SystemClock(settings.time_factor)
    ids = Ids(clock.now, secrets.token_bytes)
    bus = failpoints.watch("Bus", _bus(settings, secret))
    hooks = Hooks(clock.now, ids.new, bus.nudge, reactions_of(features))
    if failpoints.active:
        hooks = Hooks(clock.now, ids.new, bus.nudge, hooks.reactions, failpoints.probe)
    db = Database(_engine(settings, hooks), hooks)
    rules = Rules()
    public = settings.public_url or base_url
    metrics = Metrics()
    dice = random.Random()  # noqa: S311  # spreads things apart, guards nothing
    authenticator = Authenticator()
    services = Services(
        db=db,
        hub=Hub(db.read, clock, rules),
        streams=Streams(
            rules, dice, partial(_count_stream, metrics), ended=lambda actors: authenticator.ended(services, actors)
        ),
        provider=failpoints.watch("Provider", _provider(settings, rules)),
        vision=failpoints.watch("Vision", _vision(settings)),
        blobs=failpoints.watch("Blobs", _blobs(settings, secret, clock, rules)),
        fetcher=failpoints.watch("Fetcher", GuardedFetcher(result_origin=settings.fal_url)),
        darkroom=WorkerProcesses(max_pixels=rules.upload_max_pixels, made_max_pixels=rules.result_max_pixels),
        bus=bus,
        clock=clock,
        ids=ids,
        random=dice,
        cursors=Cursors(derive(secret, "cursors")),
        tags=_tags(secret),
        catalog=Catalog(),
        rules=rules,
        metrics=metrics,
        standing=Standing(),
        base_url=public,
        webhook_base=public if _called_by_fal(settings) else None,
        provider_origin=_provider_origin(settings),
        fal_user=settings.fal_user_id,
        scratch=_folder(settings.home / "scratch"),
        secret=secret,
        recheck=lambda principal: authenticator.recheck(services, principal),
    )
    return services


def database_of(settings: Settings) -> Database:
    """The database alone, for commands that need nothing else of the service."""
    clock = SystemClock(settings.time_factor)
    hooks = Hooks(clock.now, Ids(clock.now, secrets.token_bytes).new, reactions=reactions_of(FEATURES))
    return Database(_engine(settings, hooks), hooks)


# ----------------------------------------------------------------------------------------------------------------------
# What the features declare, joined


def task_handlers(features: tuple[Feature, ...]) -> dict[str, TaskHandler]:
    """Every kind of task and what does it. Schedules are tasks too.

    Raises:
        ValueError: two features declare the same kind.
    """
    found: dict[str, TaskHandler] = {}
    for feature in features:
        declared = dict(feature.tasks) | ({f"{feature.name}.parked": feature.parked} if feature.parked else {})
        declared |= {reaction(feature, event): handler for event, handler in feature.reactions.items()}
        declared |= {f"schedule.{each.name}": each.handler for each in feature.schedules}
        if twice := found.keys() & declared.keys():
            raise ValueError(f"{feature.name} declares tasks that are declared already: {', '.join(sorted(twice))}")
        found |= declared
    return found


def mourners_of(features: tuple[Feature, ...]) -> dict[str, str]:
    """The first word of a task's kind is the name of its feature; to the kind that is stored when it is parked."""
    return {feature.name: f"{feature.name}.parked" for feature in features if feature.parked}


def reactions_of(features: tuple[Feature, ...]) -> Reactions:
    return {(f.name, event.type): reaction(f, event) for f in features for event in f.reactions}


def reaction(feature: Feature, event: type[Event]) -> str:
    """The kind of the tasks that a feature's reaction to an event becomes."""
    return f"{feature.name}.{event.type}"


def _count_stream(metrics: Metrics, what: str) -> None:
    if what != "stream_opened":
        metrics.count("streams_cut_total", reason=what.removeprefix("stream_"))


async def _timed(services: Services, kind: str, handler: TaskHandler, task: Task) -> None:
    with services.metrics.timed("stage_seconds", stage=kind):
        await handler(services, task)


# ----------------------------------------------------------------------------------------------------------------------
# What stands behind each port


def _engine(settings: Settings, hooks: Hooks) -> Engine:
    if settings.database_url is None:
        from app.store.sqlite import SqliteEngine

        return SqliteEngine(settings.home / "darkroom.db", hooks)
    from sqlalchemy import make_url

    from app.store.postgres import PostgresEngine

    return PostgresEngine(make_url(settings.database), hooks)


def _provider(settings: Settings, rules: Rules) -> Provider:
    from app.adapters.fal import FalProvider

    key = settings.fal_key.get_secret_value() if settings.fal_key else SANDBOX_KEY if settings.fal_url else None
    if key is None:
        raise SettingsError(
            "FAL_KEY is not set, so nobody can make pictures. Set it to a key of fal.ai, or use the sandbox: "
            "`darkroom dev` starts one, DARKROOM_FAL_URL names one."
        )
    return FalProvider(key, origin=settings.fal_url, files_kept=timedelta(seconds=rules.files_kept))


def _provider_origin(settings: Settings) -> str:
    """The same for the same account at the same place: what is learned of one is not believed of another."""
    key = settings.fal_key.get_secret_value() if settings.fal_key else ""
    return hashlib.sha256(f"{settings.fal_url or 'fal.ai'} {key}".encode()).hexdigest()[:16]


def _called_by_fal(settings: Settings) -> bool:
    return settings.webhooks == "on" and bool(settings.public_url or settings.fal_url)


def _vision(settings: Settings) -> Vision:
    from app.adapters.claude import ClaudeVision
    from app.adapters.no_vision import NoVision

    if settings.anthropic_api_key is None:
        return NoVision()
    key = settings.anthropic_api_key.get_secret_value()
    return ClaudeVision(key, model=settings.claude_model, base_url=settings.anthropic_base_url)


def _blobs(settings: Settings, secret: bytes, clock: SystemClock, rules: Rules) -> Blobs:
    if settings.bucket is None:
        return DiskBlobs(_folder(settings.files), secret, clock.now, rules.least_room)
    from app.adapters.s3 import Bucket, S3Blobs

    assert settings.s3_access_key_id
    assert settings.s3_secret_access_key
    return S3Blobs(
        Bucket(
            name=settings.bucket,
            region=settings.s3_region,
            access_key=settings.s3_access_key_id,
            secret_key=settings.s3_secret_access_key.get_secret_value(),
            endpoint=settings.s3_endpoint,
            cdn=settings.s3_cdn_url,
            provider_can_read=settings.world == "real",
        )
    )


def _bus(settings: Settings, secret: bytes) -> Bus:
    """Two installations on one Redis do not hear each other: they have different secrets."""
    if settings.redis_url is None:
        return MemoryBus()
    from app.adapters.redis_bus import RedisBus

    return RedisBus(settings.redis_url.get_secret_value(), f"darkroom:{derive(secret, 'bus').hex()[:16]}")


def _tags(secret: bytes) -> Tags:
    """The key's id follows from the key, so that a changed secret is noticed as an unknown id, not as a forgery."""
    key = derive(secret, "webhooks")
    return Tags({hashlib.sha256(key).hexdigest()[:8]: key})


def installation_secret(settings: Settings) -> bytes:
    """DARKROOM_SECRET, or the one that was made once for this data folder."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    return kept_secret(settings.home / "secret", lambda: secrets.token_hex(32)).encode()


def kept_secret(file: Path, make: Callable[[], str]) -> str:
    """What `file` holds, or what is made and put there now. Nobody else on this machine can read it."""
    _folder(file.parent)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text().strip()
    with os.fdopen(descriptor, "w") as new:
        new.write(text := make())
    return text


def _folder(path: Path) -> Path:
    """The folder, there and fit for use."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{path} cannot be made: {error.strerror}. Choose another folder: DARKROOM_DATA.") from None
    return path.resolve()
