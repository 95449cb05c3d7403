"""The frozen bundle that every stage receives: everything it may touch, and nothing global. `app.wiring` builds one
from settings; tests and the simulation build others."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from app.catalog import Catalog
from app.core.ids import Ids
from app.core.paging import Cursors
from app.core.principal import Principal
from app.core.signatures import Tags
from app.metrics import Metrics
from app.ports import Blobs, Bus, Clock, Darkroom, Fetcher, Provider, Vision
from app.rules import Rules
from app.standing import Standing
from app.store.database import Database
from app.store.follow import Hub
from app.web.streams import Streams


@dataclass(frozen=True)
class Services:
    """`base_url` begins every address we give out. `webhook_base` is what fal is told to call, none in laptop mode,
    where the reconciler polls. `provider_origin` names the provider and our key there without telling it, `fal_user`
    our user id there, if it was set. `recheck` raises when a principal may no longer read. `scratch` is a folder for
    files on their way through."""

    db: Database
    hub: Hub
    streams: Streams
    provider: Provider
    vision: Vision
    blobs: Blobs
    fetcher: Fetcher
    darkroom: Darkroom
    bus: Bus
    clock: Clock
    ids: Ids
    random: random.Random
    cursors: Cursors
    tags: Tags
    catalog: Catalog
    rules: Rules
    metrics: Metrics
    standing: Standing
    base_url: str
    webhook_base: str | None
    provider_origin: str
    fal_user: str | None
    scratch: Path
    secret: bytes
    recheck: Callable[[Principal], Awaitable[None]]
