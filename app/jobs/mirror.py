"""Stage 5 of the line: fal's files become ours, and the job is completed and paid, in one write after all of them are
stored.

A transfer that breaks is tried again by itself, never by buying another generation; `waiting` says for how long. Each
output has one possible asset id, so doing the work twice changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.assets.keep import NewAsset, insert_asset, keep, output_id, scratch_folder
from app.assets.model import AssetKind, AssetRow, Provenance
from app.assets.names import without_addresses
from app.catalog.failures import FAILURES, Code
from app.core.errors import Problem
from app.jobs import attempts, waiting
from app.jobs.endings import complete, count_ended, fail
from app.jobs.lifecycle import JobStatus
from app.jobs.model import AttemptRow, JobRow
from app.jobs.waiting import Whose
from app.ports import FetchFailed, FetchRefused
from app.services import Services
from app.store.tasks import Task
from app.store.write import Tx

_NO_FILES = "fal's answer held no files."
_DIRECTION = {Whose.FAL: "in", Whose.STORAGE: "stored"}


async def mirror(services: Services, task: Task) -> None:
    """Fetch, keep and complete; or come back later for what could not be had."""
    job, attempt = await attempts.read(services, task.payload["job"], task.payload["attempt"])
    if job is None or attempt is None or job.status is not JobStatus.STORING:
        return None
    kept: list[AssetRow] = []
    lost: list[str] = []
    for number, output in enumerate(job.outputs or []):
        try:
            kept.append(await _kept(services, job, attempt, number, str(output["url"])))
        except FetchRefused as error:
            lost.append(waiting.last_words(Whose.FAL, error))
        except (FetchFailed, Problem) as error:
            trouble = waiting.trouble_of(error)
            services.metrics.count("transfer_failures_total", direction=_DIRECTION[trouble.whose])
            wait = waiting.wait_for(services, task, job, trouble)
            if not waiting.is_over(services, attempt, wait):
                return await waiting.put_off(services, task, job, wait)
            lost.append(waiting.last_words(trouble.whose, error))
    await services.db.write(lambda tx: _stored(tx, task, job, kept, lost))
    if kept:
        return count_ended(services, job, JobStatus.COMPLETED)
    return count_ended(services, job, JobStatus.FAILED, Code.PICTURE_LOST)


async def _kept(services: Services, job: JobRow, attempt: AttemptRow, number: int, url: str) -> AssetRow:
    """One output, stored with its thumbnail and told as a row, its row not yet written."""
    new = NewAsset(
        id=output_id(job.id, number),
        workspace=job.workspace,
        kind=AssetKind.GENERATED,
        job=job.id,
        output=number,
        filename=None,
        provenance=_provenance(job, attempt),
    )
    async with scratch_folder(services) as folder:
        file: Path = folder / "result"
        await services.fetcher.fetch(url, file, purpose="result", max_bytes=services.rules.result_max_bytes)
        return await keep(services, file, new)


def _provenance(job: JobRow, attempt: AttemptRow) -> Provenance:
    """How the picture came to be, kept from its first day."""
    prompt = job.input.get("prompt")
    since = attempt.accepted_at or attempt.created_at
    return Provenance(
        model=job.model,
        arguments=without_addresses(attempt.arguments),
        seed=job.seed,
        prompt=prompt if isinstance(prompt, str) else None,
        references=[ref for ref in job.reference_images if ref.startswith("asset_")],
        credits=job.price["credits"],
        micro_usd=attempt.cost_micro_usd,
        latency=(attempt.ended_at - since).total_seconds() if attempt.ended_at else None,
    )


def _stored(tx: Tx, task: Task, job: JobRow, kept: list[AssetRow], lost: list[str]) -> None:
    """What is stored is delivered and charged for; what is lost is said. Nothing stored: the job failed."""
    if kept:
        outputs = max(job.price["outputs"], 1)
        share = min(len(kept), outputs)
        used = -(-job.credits_held * share // outputs)
        note = " ".join(
            filter(None, [job.note, f"{len(lost)} of the pictures could not be fetched." if lost else None])
        )
        values: dict[str, Any] = {"note": note or None}
        complete(tx, job, [row.id for row in kept], used, values)
        for row in kept:
            insert_asset(tx, row)
    else:
        fail(tx, job, Code.PICTURE_LOST, f"{lost[0] if lost else _NO_FILES} {FAILURES[Code.PICTURE_LOST].advice}")
    tx.finish(task)
