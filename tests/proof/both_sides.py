"""What the service says happened, held against what the sandbox's own log says happened, and against the service's own
checks. The oracle of the crash and chaos tests: it shares nothing with the line but the tables it reads.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
from PIL import Image
from sqlalchemy import Connection, create_engine, text
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.assets.model import AssetRow
from app.catalog.failures import Code
from app.credits.model import Account, EntryRow, Kind, TransferRow
from app.jobs.lifecycle import JobStatus
from app.jobs.model import AttemptRow, AttemptStatus, JobRow
from app.services import Services
from app.settings import Settings
from app.store.inbox import DeliveryRow
from app.wiring import FEATURES, services_of
from tests.running import Sandbox, Service
from tests.waiting import until_blocking

_ATTEMPT = re.compile(r"^(http://[^/]+)/api/webhooks/fal/(att_[0-9a-z]+)/")

Post = dict[str, Any]


@dataclass
class Verdict:
    """`looked` counts what was compared, so that a comparison of nothing cannot pass for a good one."""

    looked: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ours:
    """The service's tables, as far as they bear on what was bought, kept and paid."""

    jobs: Sequence[JobRow]
    attempts: Sequence[AttemptRow]
    assets: Sequence[AssetRow]
    transfers: Sequence[TransferRow]
    entries: Sequence[EntryRow]
    deliveries: Sequence[DeliveryRow]


class Quiet:
    """Looks whether everything that was under way has ended."""

    def __init__(self, settings: Settings) -> None:
        self._engine = create_engine(settings.database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def jobs_ended(self) -> bool:
        with self._engine.connect() as connection:
            return _count(connection, "FROM jobs WHERE finished_at IS NULL") == 0

    def all_done(self) -> bool:
        """No job and no run is open, and no task is left but what is repeated for ever."""
        with self._engine.connect() as connection:
            return not any(
                _count(connection, rest)
                for rest in (
                    "FROM jobs WHERE finished_at IS NULL",
                    "FROM runs WHERE finished_at IS NULL",
                    "FROM tasks WHERE state NOT IN ('done', 'parked') AND kind NOT LIKE 'schedule.%'",
                )
            )

    def open(self) -> list[str]:
        """What is still under way, for the words of a failure."""
        with self._engine.connect() as connection:
            jobs = connection.execute(text("SELECT id, status FROM jobs WHERE finished_at IS NULL")).all()
            tasks = connection.execute(
                text("SELECT key, state, due_at, last_error FROM tasks WHERE state <> 'done' AND kind NOT LIKE 'sch%'")
            ).all()
        return [str(tuple(row)) for row in (*jobs, *tasks)]


def until_quiet(service: Service, within: float) -> None:
    """Wait until the service has nothing left to do and the sandbox nothing left to say."""
    assert service.settings
    assert service.sandbox
    with Quiet(service.settings) as quiet:
        try:
            until_blocking(quiet.all_done, within)
            until_blocking(lambda: not letters_due(service), within)
            until_blocking(quiet.all_done, within)
        except AssertionError:
            raise AssertionError(f"still under way: {quiet.open()[:20]}\n{service.text()[-3000:]}") from None


def posts_of(sandbox: Sandbox, base_url: str, after: int = 0) -> list[Post]:
    """Every paid POST that asked for webhooks to this service, in order, after that number."""
    found: list[Post] = []
    with httpx.Client(base_url=sandbox.url, trust_env=False, timeout=30) as fal:
        while page := fal.get("/_log/posts", params={"after": after}).json()["posts"]:
            found += page
            after = page[-1]["number"]
    return [post for post in found if (post["webhook"] or "").startswith(f"{base_url}/")]


def examine(service: Service, after: int = 0) -> Verdict:
    """Everything that must hold when all is quiet. `after`: see `posts_of`."""
    assert service.settings
    assert service.sandbox
    posts = posts_of(service.sandbox, service.base_url, after)
    return asyncio.run(_examine(service.settings, service.base_url, posts, service.sandbox))


def fal_folder(sandbox: Sandbox) -> Path:
    return Path(sandbox.arguments[sandbox.arguments.index("--data") + 1])


async def _examine(settings: Settings, base_url: str, posts: list[Post], sandbox: Sandbox) -> Verdict:
    services = services_of(settings, base_url)
    await services.db.open()
    try:
        verdict = await run_checks(services)
        async with services.db.read() as session:
            ours = await read_all(session)
        compare(ours, posts, verdict)
        await _same_pictures(services, ours, posts, fal_folder(sandbox) / "files", verdict)
        return verdict
    finally:
        await services.db.close()
        for port in (services.provider, services.blobs, services.fetcher, services.vision):
            await port.close()


async def run_checks(services: Services) -> Verdict:
    """The service's own opinion: every check of every feature."""
    verdict = Verdict()
    for check in (check for feature in FEATURES for check in feature.checks):
        found = await check.find(services)
        verdict.looked[f"check {check.name}"] += found.looked
        verdict.wrong += [f"{check.name}: {violation}" for violation in found.violations]
    return verdict


async def read_all(session: AsyncSession) -> Ours:
    async def rows(model: Any) -> Any:
        return (await session.exec(select(model))).all()

    return Ours(
        await rows(JobRow),
        await rows(AttemptRow),
        await rows(AssetRow),
        await rows(TransferRow),
        await rows(EntryRow),
        await rows(DeliveryRow),
    )


def compare(ours: Ours, posts: Sequence[Post], verdict: Verdict) -> None:
    """Purchases, outcomes and money, both sides."""
    by_attempt: dict[str, list[Post]] = defaultdict(list)
    for post in posts:
        by_attempt[attempt_named(post)].append(post)
    verdict.looked["posts"] += len(posts)
    verdict.looked["jobs"] += len(ours.jobs)
    verdict.wrong += [
        *_purchases(ours.attempts, by_attempt),
        *_outcomes(ours, by_attempt),
        *_settlements(ours),
        *_costs(ours, by_attempt),
    ]


def attempt_named(post: Post) -> str:
    named = _ATTEMPT.match(post["webhook"] or "")
    return named[2] if named else "none"


def _purchases(attempts: Sequence[AttemptRow], posts: Mapping[str, list[Post]]) -> Iterator[str]:
    """One paid POST per attempt, and none without one."""
    known = {attempt.id for attempt in attempts}
    for name in posts.keys() - known:
        yield f"{len(posts[name])} paid POSTs belong to no attempt: {name}"
    for attempt in attempts:
        paid = posts.get(attempt.id, [])
        if len(paid) > 1:
            yield f"{attempt.id}: paid {len(paid)} times"
        if attempt.extra:
            yield f"{attempt.id}: {attempt.extra} executions beyond it"
        match attempt.status:
            case AttemptStatus.ACCEPTED | AttemptStatus.ENDED:
                named = [attempt.request_id] if attempt.request_id else []  # refused at once, it has none
                if [post["request_id"] for post in paid] != named:
                    yield f"{attempt.id}: is {attempt.request_id}, the sandbox has {[p['request_id'] for p in paid]}"
            case AttemptStatus.ABANDONED if paid and all(post.get("withheld") for post in paid):
                pass  # by a fal whose list shows nothing: nobody could know
            case AttemptStatus.NOT_ACCEPTED | AttemptStatus.ABANDONED if paid:
                yield f"{attempt.id}: {attempt.status}, but it was paid"


def _outcomes(ours: Ours, posts: Mapping[str, list[Post]]) -> Iterator[str]:
    """A job ended as its runs at fal did; one picture of ours for each of theirs."""
    assets: dict[str, list[AssetRow]] = defaultdict(list)
    attempts: dict[str, list[AttemptRow]] = defaultdict(list)
    for asset in ours.assets:
        assets[str(asset.job)].append(asset)
    for attempt in sorted(ours.attempts, key=lambda a: a.number):
        attempts[attempt.job].append(attempt)
    for job in ours.jobs:
        runs = [post for attempt in attempts[job.id] for post in posts.get(attempt.id, [])]
        made = [post for post in runs if post["outcome"] == "ok"]
        pictures = [len(post["files"]) - post.get("lost", 0) for post in made]
        if job.finished_at is None:
            yield f"{job.id}: still {job.status}"
        elif job.status is JobStatus.COMPLETED and len(assets[job.id]) not in filter(None, pictures):
            yield f"{job.id}: completed with {len(assets[job.id])} pictures, the sandbox made {made}"
        elif job.status is JobStatus.COMPLETED and made and job.seed is None:
            yield f"{job.id}: its seed is not known"
        elif job.status is JobStatus.FAILED and any(pictures) and not _unforeseeable(job, runs):
            yield f"{job.id}: failed ({job.error}), the sandbox made its picture"
        if job.status is not JobStatus.COMPLETED and assets[job.id]:
            yield f"{job.id}: {job.status}, and has pictures"
        untried = job.status is JobStatus.FAILED and not attempts[job.id]
        if untried and (job.error or {})["code"] not in (Code.REFERENCE_UNREADABLE, Code.POISONED):
            yield f"{job.id}: failed ({job.error}), and was never even tried"


def _unforeseeable(job: JobRow, runs: Sequence[Post]) -> bool:
    """Its worker died of it time and again; or fal's list, which is where one looks, did not show what it had made."""
    return (job.error or {})["code"] == Code.POISONED or any(post.get("withheld") for post in runs)


def _settlements(ours: Ours) -> Iterator[str]:
    """One settlement per hold: posted when the job completed, void otherwise."""
    ends: dict[str, list[TransferRow]] = defaultdict(list)
    for transfer in ours.transfers:
        if transfer.kind in (Kind.POST, Kind.VOID):
            ends[str(transfer.hold)].append(transfer)
    for job in ours.jobs:
        if job.hold is None:
            continue
        due = Kind.POST if job.status is JobStatus.COMPLETED else Kind.VOID
        if [end.kind for end in ends[job.hold]] != [due]:
            yield f"{job.id}: {job.status}, its hold ended as {[str(end.kind) for end in ends[job.hold]]}"


def _costs(ours: Ours, posts: Mapping[str, list[Post]]) -> Iterator[str]:
    """What we booked for a job is what the sandbox bills for its attempts that ended, no more and no less."""
    amounts = {entry.transfer: entry.amount for entry in ours.entries if entry.account == Account.COSTS}
    booked: Counter[str] = Counter()
    billed: Counter[str] = Counter()
    for transfer in ours.transfers:
        booked[str(transfer.owner)] += amounts.get(transfer.id, 0)
    for attempt in ours.attempts:
        if attempt.status is AttemptStatus.ENDED:
            billed[attempt.job] += sum(post["cost_micro_usd"] for post in posts.get(attempt.id, []))
    for job in ours.jobs:
        if booked[job.id] != billed[job.id]:
            yield f"{job.id}: {booked[job.id]} micro-USD booked, the sandbox bills {billed[job.id]}"


async def _same_pictures(services: Services, ours: Ours, posts: Sequence[Post], files: Path, verdict: Verdict) -> None:
    """Every picture we keep shows what the sandbox made for that very job."""
    made = {attempt_named(post): post for post in posts if post["outcome"] == "ok"}
    by_job: dict[str, Post] = {}
    for attempt in ours.attempts:
        if attempt.id in made:
            by_job.setdefault(attempt.job, made[attempt.id])
    for asset in ours.assets:
        if asset.job is None or asset.job not in by_job or asset.deleted_at is not None:
            continue
        kept = b"".join([chunk async for chunk in services.blobs.read(asset.key)])
        theirs = (files / by_job[asset.job]["files"][asset.output or 0]).read_bytes()
        verdict.looked["pictures"] += 1
        if _pixels(kept) != _pixels(theirs):
            verdict.wrong.append(f"{asset.id}: shows another picture than the sandbox made")


def _pixels(data: bytes) -> tuple[tuple[int, int], bytes]:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size, picture.convert("RGB").tobytes()


def letters_due(service: Service, after: int = 0) -> bool:
    """Whether the sandbox still has webhooks to send to this service."""
    assert service.sandbox
    return any(post["webhook_state"] == "due" for post in posts_of(service.sandbox, service.base_url, after))


def _count(connection: Connection, rest: str) -> int:
    found: int = connection.execute(text(f"SELECT count(*) {rest}")).scalar_one()
    return found
