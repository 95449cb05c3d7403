"""Everything that goes wrong between fal and us, by name: alone, all together, and shared by several processes. However
it goes, each job ends as the sandbox's own log says, is paid once and kept once.

Usual time: 90 s, with 25 jobs for each name alone. `python -m tests.proof --full --only chaos` tries 200.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.sandbox.fal.chaos import MEANINGS
from tests.proof.both_sides import examine, until_quiet
from tests.proof.chaos import ALONE, SPEED, alone, ask, ends_of, misspent, overlooked, together
from tests.running import Service, running, schema_of_its_own

SHARED = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all names, which are switched on and off in its sandbox."""
    with running(tmp_path_factory.mktemp("alone"), speed=SPEED) as service:
        yield service


@pytest.mark.parametrize("name", MEANINGS)
def test_a_fault_alone_changes_nothing_but_the_time_it_takes(service: Service, name: str) -> None:
    assert alone(service, name, ALONE).violations == []


def test_all_faults_together(tmp_path: Path) -> None:
    assert together(tmp_path).violations == []


def test_two_workers_share_the_work_on_postgresql(tmp_path: Path) -> None:
    # Slower, as leases run out by the same clock, and a worker that has to wait for its turn is not dead. At this pace
    # nobody wants to wait for what is late.
    with (
        schema_of_its_own() as database,
        running(tmp_path, speed=15, chaos="all=0.2,late=0", database=database, DARKROOM_RUNNER="none") as service,
    ):
        workers = [service.beside("app", "work") for _ in range(2)]
        jobs = ask(service, SHARED, "a lighthouse")
        until_quiet(service, within=120)
        verdict = examine(service)
        assert [*verdict.wrong, *overlooked(verdict, SHARED), *misspent(service, ends_of(service, jobs))] == []
        assert [worker.stop() for worker in workers] == [0, 0]
