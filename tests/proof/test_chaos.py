"""Everything that goes wrong between fal and us, by name: alone, all together, and shared by several processes. However
it goes, each job ends as the sandbox's own log says, is paid once and kept once.

Usual time: 90 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.sandbox.fal.chaos import MEANINGS
from tests.proof.both_sides import Verdict, examine, until_quiet
from tests.running import Service, running, schema_of_its_own

SPEED = 60.0
ALONE, TOGETHER, SHARED = 25, 200, 60
STORM = 0.5
"""Each storm turns three tries away, and five in a row make us pause: with storms alone it would be mostly pauses."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all names, which are switched on and off in its sandbox."""
    with running(tmp_path_factory.mktemp("alone"), speed=SPEED) as service:
        yield service


@pytest.mark.parametrize("name", MEANINGS)
def test_a_fault_alone_changes_nothing_but_the_time_it_takes(service: Service, name: str) -> None:
    before = _fired(service)
    _chaos(service, {name: STORM if name == "storm_429" else 1.0})
    jobs = _ask(service, ALONE, f"a lighthouse, {name}")
    until_quiet(service, within=60)
    _chaos(service, {name: 0.0})
    fired = _fired(service)
    assert fired[name] - before[name] >= ALONE * (STORM if name == "storm_429" else 1)
    assert {other for other in fired if fired[other] > before[other]} == {name}
    verdict = examine(service)
    assert verdict.wrong == []
    _nothing_was_overlooked(verdict, ALONE)
    ends = _ends(service, jobs)
    assert ends == {"failed" if name == "completed_but_422" else "completed": ALONE}


def test_all_faults_together(tmp_path: Path) -> None:
    with running(tmp_path, speed=SPEED, chaos="all=0.2") as service:
        jobs = _ask(service, TOGETHER, "a lighthouse")
        until_quiet(service, within=90)
        verdict = examine(service)
        assert verdict.wrong == []
        _nothing_was_overlooked(verdict, TOGETHER)
        fired = _fired(service)
        assert all(fired[name] for name in MEANINGS), fired
        ends = _ends(service, jobs)
        assert ends.keys() == {"completed", "failed"}
        _money_adds_up(service, ends)


def test_two_workers_share_the_work_on_postgresql(tmp_path: Path) -> None:
    # Slower, as leases run out by the same clock, and a worker that has to wait for its turn is not dead. At this pace
    # nobody wants to wait for what is late.
    with (
        schema_of_its_own() as database,
        running(tmp_path, speed=15, chaos="all=0.2,late=0", database=database, DARKROOM_RUNNER="none") as service,
    ):
        workers = [service.beside("app", "work") for _ in range(2)]
        jobs = _ask(service, SHARED, "a lighthouse")
        until_quiet(service, within=120)
        verdict = examine(service)
        assert verdict.wrong == []
        _nothing_was_overlooked(verdict, SHARED)
        _money_adds_up(service, _ends(service, jobs))
        assert [worker.stop() for worker in workers] == [0, 0]


def _ask(service: Service, number: int, prompt: str) -> set[str]:
    """So many small pictures, each asked for by itself."""
    with service.client() as client:
        answers = [client.post("/api/v1/jobs", json=_request(f"{prompt} {i}")) for i in range(number)]
    assert {answer.status_code for answer in answers} == {202}
    return {answer.json()["id"] for answer in answers}


def _request(prompt: str) -> dict[str, Any]:
    size = {"width": 64, "height": 64}
    return {"model": "fal-ai/flux/schnell", "input": {"prompt": prompt, "image_size": size}}


def _ends(service: Service, jobs: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    with service.client() as client:
        page: dict[str, Any] = {"next_cursor": None, "has_more": True}
        while page["has_more"]:
            cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
            page = client.get("/api/v1/jobs", params={"limit": 100, **cursor}).json()
            for job in page["data"]:
                if job["id"] in jobs:
                    found[job["status"]] = found.get(job["status"], 0) + 1
    return found


def _money_adds_up(service: Service, ends: dict[str, int]) -> None:
    """A credit a picture: of the thousand, what completed is spent and the rest is there."""
    with service.client() as client:
        balance = client.get("/api/v1/credits").json()
    spent = ends.get("completed", 0)
    assert (balance["available"], balance["held"], balance["spent"]) == (1000 - spent, 0, spent)


def _nothing_was_overlooked(verdict: Verdict, least: int) -> None:
    for kind in ("jobs", "posts", "check jobs and holds", "check events", "check deliveries", "check transfers"):
        assert verdict.looked[kind] >= least, verdict.looked


def _chaos(service: Service, odds: dict[str, float]) -> None:
    assert service.sandbox
    httpx.post(f"{service.sandbox.url}/_chaos", json=odds, trust_env=False).raise_for_status()


def _fired(service: Service) -> dict[str, int]:
    assert service.sandbox
    fired: dict[str, int] = httpx.get(f"{service.sandbox.url}/_chaos", trust_env=False).json()["fired"]
    return fired
