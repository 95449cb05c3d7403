"""What became of a simulated history, judged from everywhere at once: the service's own checks, fal's log, the bucket,
and what people were told.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlmodel import col, select

from app.assets.model import AssetRow
from app.assets.sweep import sweep_orphans
from app.catalog.failures import Code
from app.core.lifecycle import Lifecycle
from app.jobs.lifecycle import JOB, RUN
from app.jobs.model import JobRow, RunRow
from app.services import Services
from app.store.log import EventRow
from app.store.tasks import Task, TaskRow
from tests.proof.both_sides import Verdict, compare, read_all, run_checks
from tests.proof.installation import BASE, Surroundings
from tests.proof.simulated_people import Memory


@dataclass(frozen=True)
class Judgement:
    """`told` is all that was said, ours in order and then fal's; `edges` are the moves of jobs and runs."""

    verdict: Verdict
    told: Sequence[str]
    ends: Counter[str]
    edges: Counter[str]

    @property
    def trace(self) -> str:
        return hashlib.sha256("\n".join(self.told).encode()).hexdigest()


async def judge(services: Services, surroundings: Surroundings, memory: Memory, deaths: int) -> Judgement:
    """When all is quiet. Afterwards the clock is days ahead."""
    fal = surroundings.fal
    verdict = await run_checks(services)
    async with services.db.read() as session:
        ours = await read_all(session)
        rows = (await session.exec(select(EventRow).order_by(col(EventRow.workspace), col(EventRow.seq)))).all()
        runs = (await session.exec(select(RunRow))).all()
        parked = (await session.exec(select(TaskRow).where(TaskRow.state == "parked"))).all()
    compare(ours, fal.posts(ours.attempts, BASE), verdict)
    verdict.wrong += [*memory.wrong, *fal.postman.wrong, *_lost(memory, ours.jobs, runs)]
    if deaths < services.rules.deaths_allowed:
        verdict.wrong += [f"{task.key}: parked: {task.last_error}" for task in parked]
        verdict.wrong += [f"{j.id}: poisoned" for j in ours.jobs if j.error and j.error["code"] == Code.POISONED]
    verdict.wrong += await _files(services, surroundings, ours.assets)
    return Judgement(
        verdict,
        [*(f"{e.time.isoformat()} {e.workspace} {e.seq} {e.type} {e.job or e.run} {e.data}" for e in rows), *fal.log],
        Counter(str(job.status) for job in ours.jobs),
        _moves(JOB, [(e.type, e.job) for e in rows]) + _moves(RUN, [(e.type, e.run) for e in rows if e.job is None]),
    )


def _lost(memory: Memory, jobs: Sequence[JobRow], runs: Sequence[RunRow]) -> list[str]:
    """What was acknowledged is there, and has ended."""
    there = {*(job.id for job in jobs), *(run.id for run in runs)}
    wrong = [f"{id_}: acknowledged, and lost" for id_ in sorted((memory.jobs | memory.runs) - there)]
    return wrong + [f"{run.id}: still {run.status}" for run in runs if run.finished_at is None]


async def _files(services: Services, surroundings: Surroundings, assets: Sequence[AssetRow]) -> list[str]:
    """Every row has its object, every object its row once the orphans are swept, and both agree."""
    surroundings.clock.ahead += timedelta(days=2).total_seconds()
    await sweep_orphans(services, Task("task", "", "", "", {}, 0, 0, 0, 0))
    objects = {key: data for key, (data, _) in surroundings.blobs.held.items() if key.startswith("w/")}
    held = {key: hashlib.sha256(data).hexdigest() for key, data in objects.items()}
    wrong = [f"{a.id}: its object is not what the row says" for a in assets if held.get(a.key) != a.sha256]
    known = {key for asset in assets for key in (asset.key, asset.thumbnail_key)}
    return wrong + [f"{key}: no row knows of it" for key in sorted(held.keys() - known)]


def _moves(lifecycle: Lifecycle[Any], events: Sequence[tuple[str, str | None]]) -> Counter[str]:
    """The edges taken, as the events tell them."""
    by_event = {edge.event: edge for edge in lifecycle.edges}
    now: dict[str | None, str] = {}
    taken: Counter[str] = Counter()
    for type_, id_ in events:
        if type_ == lifecycle.birth_event:
            now[id_] = str(lifecycle.initial)
        elif (edge := by_event.get(type_)) is not None:
            taken[f"{lifecycle.subject}: {now[id_]} -> {edge.target}"] += 1
            now[id_] = str(edge.target)
    return taken
