"""Dying at every place there is: the service kills itself at the n-th passing of a failpoint, is started again without
one, heals, and is examined. What SQLite's own tests do with "fail the n-th call".
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from app.assets import claim_storage
from app.wiring import services_of
from tests.proof.both_sides import Quiet, examine, letters_due, posts_of
from tests.proof.mortal import Mortal
from tests.proof.nursery import Nursery
from tests.proof.places import NOT_REACHED, Place, pairs, sample, whole
from tests.proof.scoreboard import Effort, Score
from tests.proof.workloads import WORKLOADS, Client
from tests.running import Sandbox, Service, running, sandboxed, schema_of_its_own
from tests.waiting import until_blocking

SPEED = 60.0
SPEED_OF_LEASES = 15.0
"""On PostgreSQL the dead are recognised by their leases, and a worker that waits for its turn must not seem dead."""
_WITHIN = 150.0
_AT_ONCE = 4
_LIVES = 3
_PAIRS = 200


def prove_sweep(effort: Effort, folder: Path) -> Iterator[Score]:
    """In full everywhere on SQLite, once at each point on PostgreSQL, and twice in a row, at random."""
    dice = random.Random(effort.seed)
    with ward(folder / "sqlite") as sqlite:
        passed = sqlite.all_passed()
        yield swept("every point, SQLite", sqlite, whole(passed) if effort.full else sample(passed))
        yield swept("again in the recovery", sqlite, pairs(passed, effort.of(6, _PAIRS), dice))
    if effort.full:
        with ward(folder / "postgresql", on_postgresql=True) as postgresql:
            yield swept("every point, PostgreSQL", postgresql, sample(postgresql.all_passed()))


def swept(name: str, here: Ward, places: Sequence[Place]) -> Score:
    deaths = list(here.all_die(places))
    wrong = [f"{death.place}: {words}" for death in deaths for words in death.wrong]
    fired = {death.place.point for death in deaths if death.died}
    sure = {place.point for place in places if not place.then and place.point.rpartition(":")[0] not in NOT_REACHED}
    wrong += [f"nobody died at {point}" for point in sorted(sure - fired)]
    counts = {
        "lives": len(deaths),
        "deaths": sum(death.died for death in deaths),
        "twice": sum(death.died > 1 for death in deaths),
        "points": len(fired),
    }
    return Score("T1", name, counts, wrong)


@dataclass
class Death:
    """What became of one attempt on the service's life. `died` counts: 0 when the point was not passed that often."""

    place: Place
    died: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ward:
    """All that the cases share: a sandbox, a nursery, and a folder with a workspace in it to copy. On PostgreSQL each
    case has a schema of its own instead."""

    folder: Path
    sandbox: Sandbox
    nursery: Nursery
    on_postgresql: bool
    one_at_a_time: Lock = field(default_factory=Lock)

    def all_passed(self) -> dict[str, Counter[str]]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(WORKLOADS, pool.map(self.passed, WORKLOADS), strict=True))

    def passed(self, workload: str) -> Counter[str]:
        """Every point that a workload passes, and how often."""
        log = self.folder / f"{workload}.points"
        with self._service(f"list-{workload}") as service:
            service.start(DARKROOM_FAILPOINT_LOG=str(log))
            wrong = self._lived(service, workload)
        assert not wrong, f"{workload}, undisturbed: {wrong}"
        return Counter(log.read_text().splitlines())

    def all_die(self, places: Iterable[Place]) -> Iterator[Death]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from pool.map(self.dies_if_it_can, places)

    def dies_if_it_can(self, place: Place) -> Death:
        """No two lives take the same turns: what was not passed this time may be the next."""
        death = self.dies(place)
        for _ in range(_LIVES - 1 if place.turn == 1 else 0):
            if death.died or death.wrong:
                break
            death = self.dies(place)
        return death

    def dies(self, place: Place) -> Death:
        death = Death(place)
        name = "".join(c if c.isalnum() else "-" for c in str(place))
        shutil.rmtree(self.folder / name, ignore_errors=True)
        with self._service(name) as service:
            service.fates = [f"{place.point}:{place.turn}", *filter(None, [place.then])]
            service.live()
            try:
                death.wrong = self._lived(service, place.workload)
            except AssertionError as error:
                death.wrong = [str(error)]
            death.died = service.deaths
        if not death.wrong:
            shutil.rmtree(self.folder / name)
        return death

    def _lived(self, service: Mortal, workload: str) -> list[str]:
        """The workload from beginning to end, to the last thing that follows from it; what is wrong then."""
        seen = len(posts_of(self.sandbox, "http:/"))
        client = Client(service, service.revive)
        try:
            WORKLOADS[workload](client)
        finally:
            client.close()
        assert service.settings
        with Quiet(service.settings) as quiet:

            def still() -> bool:
                service.revive()
                return quiet.all_done() and not letters_due(service, seen)

            try:
                until_blocking(still, _WITHIN)
            except AssertionError:
                raise AssertionError(f"still under way: {quiet.open()[:10]}") from None
        service.kill()
        return examine(service, seen).wrong

    @contextmanager
    def _service(self, name: str) -> Iterator[Mortal]:
        folder = self.folder / name
        with ExitStack() as stack:
            database, speed = None, SPEED
            if self.on_postgresql:
                database, speed = stack.enter_context(schema_of_its_own()), SPEED_OF_LEASES
                folder.mkdir()
            else:
                shutil.copytree(self.folder / "template", folder)
            with self.one_at_a_time:  # reading settings borrows the environment
                plain = stack.enter_context(
                    running(folder, speed=speed, database=database, sandbox=self.sandbox, start=False)
                )
            service = Mortal.of(plain, self.nursery)
            try:
                yield service
            finally:
                service.end()


@contextmanager
def ward(folder: Path, *, on_postgresql: bool = False) -> Iterator[Ward]:
    with (
        sandboxed(folder, speed=SPEED_OF_LEASES if on_postgresql else SPEED) as sandbox,
        Nursery() as nursery,
        running(folder / "template", speed=SPEED, sandbox=sandbox, start=False) as template,
    ):
        asyncio.run(_claimed(template))
        yield Ward(folder, sandbox, nursery, on_postgresql)


async def _claimed(template: Service) -> None:
    """What is done once for an installation is done: what a life passes first is its own."""
    assert template.settings
    services = services_of(template.settings, template.base_url)
    await services.db.open()
    try:
        await claim_storage(services)
    finally:
        await services.db.close()
        for port in (services.provider, services.blobs, services.fetcher, services.vision):
            await port.close()
