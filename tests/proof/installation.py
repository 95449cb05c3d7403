"""The service as it is installed in a simulated world: its own code throughout; the outside of it is simulated."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from app.adapters.memory_bus import MemoryBus
from app.adapters.no_vision import NoVision
from app.catalog import Catalog
from app.core.ids import Ids
from app.core.paging import Cursors
from app.core.signatures import Tags
from app.failpoints import Failpoints
from app.lifespan import Life
from app.metrics import Metrics
from app.rules import Rules
from app.services import Services
from app.settings import Settings
from app.standing import Standing
from app.store.database import Database, Hooks
from app.store.follow import Hub
from app.web.streams import Streams
from app.wiring import FEATURES, Wired, mourners_of, reactions_of, task_handlers
from tests.proof.fate import Fate
from tests.proof.simulated_fal import SimulatedFal
from tests.proof.simulated_letters import USER
from tests.proof.simulated_store import InlineSqlite, MemoryBlobs, PlainDarkroom
from tests.proof.virtual import Process, VirtualClock
from tests.running import empty_database

BASE = "http://service.sim"
_LAZY = 120.0
"""What only ticks does so more rarely: hours of ticking are not what is looked at."""


@dataclass(frozen=True)
class Surroundings:
    """All that outlives the service. `laptop`: fal cannot call it."""

    settings: Settings
    clock: VirtualClock
    fate: Fate
    fal: SimulatedFal
    blobs: MemoryBlobs
    laptop: bool = False

    def prepare(self) -> None:
        home = self.settings.home
        home.mkdir(parents=True)
        shutil.copy(empty_database(), home / "darkroom.db")
        (home / "scratch").mkdir()

    def install(self, process: Process, passed: Callable[[str], None]) -> tuple[Wired, InlineSqlite]:
        """The service, ready to be run by that process, and its database. `passed` hears of each failpoint."""
        features = tuple(
            replace(feature, schedules=tuple(replace(each, every=each.every * _LAZY) for each in feature.schedules))
            for feature in FEATURES
        )
        services, database = self._services(process, _Points(passed))
        handlers = {kind: partial(handler, services) for kind, handler in task_handlers(features).items()}
        return Wired(self.settings, features, services, handlers, mourners_of(features), ()), database

    def _services(self, process: Process, points: Failpoints) -> tuple[Services, InlineSqlite]:
        dice = self.fate.dice
        ids = Ids(self.clock.now, dice.randbytes)
        bus = MemoryBus()
        hooks = Hooks(self.clock.now, ids.new, bus.nudge, reactions_of(FEATURES), points.probe)
        engine = InlineSqlite(self.settings.home / "darkroom.db", hooks, process, self.fate)
        db = Database(engine, hooks)
        rules = _lazy(Rules())
        services = Services(
            db=db,
            hub=Hub(db.read, self.clock, rules),
            streams=Streams(rules, dice),
            provider=points.watch("Provider", self.fal),
            vision=NoVision(),
            blobs=points.watch("Blobs", self.blobs),
            fetcher=points.watch("Fetcher", self.fal),
            darkroom=PlainDarkroom(),
            bus=bus,
            clock=self.clock,
            ids=ids,
            random=dice,
            cursors=Cursors(b"simulated"),
            tags=Tags({"sim": b"simulated"}),
            catalog=Catalog(),
            rules=rules,
            metrics=Metrics(),
            standing=Standing(),
            base_url=BASE,
            webhook_base=None if self.laptop else BASE,
            provider_origin="simulated",
            fal_user=USER,
            scratch=self.settings.home / "scratch",
            secret=b"simulated",
            recheck=_everybody_may,
        )
        return services, engine


class UnlockedLife(Life):
    """The lock on the folder is the operating system's, which is not simulated."""

    def _lock(self) -> None: ...


class _Points(Failpoints):
    """The service's own failpoints; what happens there is the world's choice."""

    def __init__(self, passed: Callable[[str], None]) -> None:
        super().__init__(None, None)
        self._reached = passed

    @property
    def active(self) -> bool:
        return True

    def probe(self, name: str) -> None:
        self._reached(name)


def _lazy(rules: Rules) -> Rules:
    return replace(
        rules, heartbeat=rules.heartbeat * _LAZY, lease=rules.lease * _LAZY, poll_every=rules.poll_every * _LAZY
    )


async def _everybody_may(_principal: object) -> None: ...
