"""Beside the mirror: what a job waits for while its pictures are made but not ours yet, for how long, and what its
owner is told of it.

They are paid for, so the job waits longer than for anything else, but not for ever: then it fails, and its hold is
given back. Where somebody said no it is tries that count, where nobody answered it is time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import bindparam, update

from app.assets.pieces import NotAPicture
from app.core.errors import Problem
from app.jobs.accept import topic_of
from app.jobs.events import Notice
from app.jobs.model import AttemptRow, JobRow
from app.ports import FetchFailed
from app.services import Services
from app.store.columns import table
from app.store.tasks import Task
from app.store.write import Tx

_LONGEST_PAUSE = 60.0
"""Seconds between two tries; until then each pause is as long as the wait so far."""

_J = table(JobRow)
_BEGINS = (
    update(_J)
    .where(_J.c.id == bindparam("the_id"), _J.c.status == "storing")
    .values(waiting=bindparam("w", type_=_J.c.waiting.type), updated_at=bindparam("at"))
)


class Whose(StrEnum):
    """Who has to get well."""

    FAL = "fal"
    STORAGE = "storage"


_WORDS = {
    Whose.FAL: (
        "files-away",
        "The pictures cannot be fetched yet",
        "Waiting for fal's files",
        "They are made, and fetched as soon as that is possible; nothing is bought again.",
    ),
    Whose.STORAGE: (
        "storage-away",
        "The pictures wait for storage",
        "Waiting for our storage",
        "They are stored as soon as that is possible.",
    ),
}
"""The notice's code and title, the beginning of the job's note, and what is promised."""


_GIVEN_UP = {
    Whose.FAL: "The picture could not be fetched from fal's file server",
    Whose.STORAGE: "The picture could not be put into our own storage",
}


@dataclass(frozen=True)
class Trouble:
    """Why a picture is not ours yet. `away` when that says nothing about the picture: nobody answered, or somebody who
    is not well."""

    whose: Whose
    away: bool
    detail: str


@dataclass(frozen=True)
class Wait:
    """What a job waits for, `since` when, and whether that `begins` only now; `tries` is how often the answer was no.
    When what it waits for changes, another wait begins."""

    trouble: Trouble
    since: datetime
    begins: bool
    tries: int


def trouble_of(error: FetchFailed | Problem) -> Trouble:
    """Raises the error when it is not of the kind that waiting mends."""
    if isinstance(error, FetchFailed):
        away = error.status in {0, 408, 425, 429} or error.status >= 500
        return Trouble(Whose.FAL, away, str(error))
    if isinstance(error, NotAPicture):
        return Trouble(Whose.FAL, False, str(error))
    if error.retryable:
        return Trouble(Whose.STORAGE, True, str(error))
    raise error


def wait_for(services: Services, task: Task, job: JobRow, trouble: Trouble) -> Wait:
    """The wait that goes on, or begins, with this trouble."""
    tries = task.tries + (not trouble.away)
    if job.waiting is None or job.waiting["whose"] != trouble.whose:
        return Wait(trouble, services.clock.now(), True, tries)
    return Wait(trouble, datetime.fromisoformat(job.waiting["since"]), False, tries)


def is_over(services: Services, attempt: AttemptRow, wait: Wait) -> bool:
    """Whether it has lasted long enough. As long as fal keeps the files is long enough in any case, however often one
    wait has followed upon another."""
    rules = services.rules
    too_long = rules.files_fetched_within if wait.trouble.whose is Whose.FAL else rules.files_kept
    made_at = attempt.ended_at or attempt.created_at
    return (
        wait.tries >= rules.transfer_tries
        or _lasted(services, wait.since) >= too_long
        or _lasted(services, made_at) >= rules.files_kept
    )


def last_words(whose: Whose, error: Exception) -> str:
    """Why a picture is given up: on whose side it failed, and what was said there."""
    return f"{_GIVEN_UP[whose]}: {error}"


async def put_off(services: Services, task: Task, job: JobRow, wait: Wait) -> None:
    """Try again later. Whoever watches the job is told once in each wait."""
    pause = min(_lasted(services, wait.since) + 1.0, _LONGEST_PAUSE)
    due_at = services.clock.after(pause * services.random.uniform(0.5, 1.5))

    def waits(tx: Tx) -> None:
        if wait.begins:
            _begin(tx, job, wait)
        tx.again(task, due_at, tries=wait.tries, error=wait.trouble.detail)

    await services.db.write(waits)


def _begin(tx: Tx, job: JobRow, wait: Wait) -> None:
    trouble, (code, title, waits, promise) = wait.trouble, _WORDS[wait.trouble.whose]
    note = f"{waits}, since {wait.since:%Y-%m-%d %H:%M} UTC: {trouble.detail}"
    known = {"whose": str(trouble.whose), "since": wait.since.isoformat(), "note": note}
    if tx.execute(_BEGINS, {"the_id": job.id, "w": known, "at": tx.now}).rowcount:
        detail = f"{trouble.detail} {promise}"
        tx.record(Notice(level="warning", code=code, title=title, detail=detail, step="storing"), topic_of(job))


def _lasted(services: Services, since: datetime) -> float:
    """In seconds of the service's own pace."""
    now = services.clock.now()
    return (now - since) / (services.clock.after(1.0) - now)
