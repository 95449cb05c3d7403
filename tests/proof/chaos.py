"""Everything that goes wrong between fal and us, by name: alone, and all together. However it goes, each job ends as
the sandbox's own log says, is paid once and kept once. In full, each name has as many jobs as all have together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from app.sandbox.fal.chaos import MEANINGS
from tests.proof.both_sides import Verdict, examine, until_quiet
from tests.proof.scoreboard import Effort, Score
from tests.running import Service, running

SPEED = 60.0
ALONE, TOGETHER = 25, 200
_STORM = 0.5
"""Each storm turns three tries away, and five in a row make us pause: with storms alone it would be mostly pauses."""
_AT_ONE_SERVICE = 4
"""Names, of 200 jobs each: the workspace has a thousand credits."""
_HANGS = 400.0
"""Seconds after which nothing more is expected to happen."""


def prove_chaos(effort: Effort, folder: Path) -> Iterator[Score]:
    names, number = list(MEANINGS), effort.of(ALONE, TOGETHER)
    for first in range(0, len(names), _AT_ONE_SERVICE):
        with running(folder / names[first], speed=SPEED) as service:
            for name in names[first : first + _AT_ONE_SERVICE]:
                yield alone(service, name, number)
    yield together(folder / "together")


def alone(service: Service, name: str, number: int) -> Score:
    """Changes nothing but the time it takes. Other names may have been on before."""
    odds = _STORM if name == "storm_429" else 1.0
    before = _fired(service)
    _chaos(service, {name: odds})
    jobs = ask(service, number, f"a lighthouse, {name}")
    until_quiet(service, _HANGS)
    _chaos(service, {name: 0.0})
    fired = _fired(service) - before
    ends = ends_of(service, jobs)
    verdict = examine(service)
    wrong = [*verdict.wrong, *overlooked(verdict, number)]
    if fired[name] < number * odds or fired.keys() != {name}:
        wrong.append(f"fired was {dict(fired)}, in {number} jobs")
    if ends != {"failed" if name == "completed_but_422" else "completed": number}:
        wrong.append(f"{number} jobs ended as {dict(ends)}")
    return Score("", f"chaos: {name}", {"jobs": ends.total(), "fired": fired[name]}, wrong)


def together(folder: Path) -> Score:
    """Each at 20 %."""
    with running(folder, speed=SPEED, chaos="all=0.2") as service:
        jobs = ask(service, TOGETHER, "a lighthouse")
        until_quiet(service, _HANGS)
        verdict, fired, ends = examine(service), _fired(service), ends_of(service, jobs)
        wrong = [*verdict.wrong, *overlooked(verdict, TOGETHER), *misspent(service, ends)]
    wrong += [f"never happened: {name}" for name in MEANINGS if not fired[name]]
    if ends.keys() != {"completed", "failed"} or ends.total() != TOGETHER:
        wrong.append(f"{TOGETHER} jobs ended as {dict(ends)}")
    return Score("", "chaos: all at once", {"jobs": ends.total(), "fired": fired.total()}, wrong)


def ask(service: Service, number: int, prompt: str) -> set[str]:
    """So many small pictures, each asked for by itself."""
    with service.client() as client:
        answers = [client.post("/api/v1/jobs", json=_request(f"{prompt} {i}")) for i in range(number)]
    assert {answer.status_code for answer in answers} == {202}
    return {answer.json()["id"] for answer in answers}


def _request(prompt: str) -> dict[str, Any]:
    size = {"width": 64, "height": 64}
    return {"model": "fal-ai/flux/schnell", "input": {"prompt": prompt, "image_size": size}}


def ends_of(service: Service, jobs: set[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    with service.client() as client:
        page: dict[str, Any] = {"next_cursor": None, "has_more": True}
        while page["has_more"]:
            cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
            page = client.get("/api/v1/jobs", params={"limit": 100, **cursor}).json()
            found.update(job["status"] for job in page["data"] if job["id"] in jobs)
    return found


def misspent(service: Service, ends: Counter[str]) -> Sequence[str]:
    """A credit a picture: of the thousand, what completed is spent and the rest is there."""
    with service.client() as client:
        balance = client.get("/api/v1/credits").json()
    there, spent = (balance["available"], balance["held"], balance["spent"]), ends["completed"]
    return [] if there == (1000 - spent, 0, spent) else [f"{spent} pictures, and the credits are {balance}"]


def overlooked(verdict: Verdict, least: int) -> Sequence[str]:
    """So that a comparison of nothing cannot pass for a good one."""
    kinds = ("jobs", "posts", "check jobs and holds", "check events", "check deliveries", "check transfers")
    return [f"{kind}: only {verdict.looked[kind]} were looked at" for kind in kinds if verdict.looked[kind] < least]


def _chaos(service: Service, odds: dict[str, float]) -> None:
    assert service.sandbox
    httpx.post(f"{service.sandbox.url}/_chaos", json=odds, trust_env=False).raise_for_status()


def _fired(service: Service) -> Counter[str]:
    assert service.sandbox
    return Counter(httpx.get(f"{service.sandbox.url}/_chaos", trust_env=False).json()["fired"])
