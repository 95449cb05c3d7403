"""What must be true between the line and the ledger (promise I11): every hold is somebody's and ends as its job or run
does, for the amount that is said there; and what fal was asked for is booked at what it costs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, String, Table, and_, case, exists, func, or_, select, type_coerce

from app.credits.ledger import cost_of
from app.credits.model import Account, EntryRow, Kind, TransferRow
from app.feature import Check, Found
from app.jobs.attempts import execution_of
from app.jobs.findings import found, payload, rows_of
from app.jobs.lifecycle import JobStatus, RunStatus
from app.jobs.model import AttemptRow, JobRow, RunRow
from app.services import Services
from app.store.columns import table
from app.store.tasks import TaskRow

_J, _A, _R, _X = table(JobRow), table(AttemptRow), table(RunRow), table(TaskRow)
_T, _E = table(TransferRow), table(EntryRow)
_ENDING = (
    select(_T.c.hold, func.min(type_coerce(_T.c.kind, String)).label("kind"))
    .where(_T.c.kind.in_((str(Kind.POST), str(Kind.VOID))))
    .group_by(_T.c.hold)
    .subquery()
)
_SPENT = (
    select(_T.c.hold, func.sum(_E.c.amount).label("amount"))
    .join(_E, and_(_E.c.transfer == _T.c.id, _E.c.account == Account.SPENT))
    .where(_T.c.kind == Kind.POST)
    .group_by(_T.c.hold)
    .subquery()
)


async def holds_have_owners(services: Services) -> Found:
    """Every hold is for a job or a run that is there and knows of it: else nobody will ever end it."""
    of_a_job, of_a_run = (
        exists().where(owner.c.id == _T.c.owner, owner.c.hold == _T.c.id, owner.c.workspace == _T.c.workspace)
        for owner in (_J, _R)
    )
    held = _E.c.transfer == _T.c.id, _E.c.account == Account.HELD
    amount = select(func.sum(_E.c.amount)).where(*held).correlate(_T).scalar_subquery()
    stray = select(_T.c.id, _T.c.workspace, _T.c.owner, func.coalesce(amount, 0)).where(
        _T.c.kind == Kind.HOLD, ~of_a_job, ~of_a_run
    )
    words = "hold {0}: {3} credits of {1}, for {2}, where nobody knows of it"
    return await found(services, select(func.count()).where(_T.c.kind == Kind.HOLD), stray, words)


async def holds_match_jobs(services: Services) -> Found:
    """A completed job's hold is posted, a failed or cancelled one's is void, an unfinished one's is open; and it was
    taken in the first place."""
    due = case(
        (_J.c.status == JobStatus.COMPLETED, str(Kind.POST)),
        (_J.c.finished_at.is_not(None), str(Kind.VOID)),
        else_="open",
    )
    taken = exists().where(_T.c.id == _J.c.hold, _T.c.kind == Kind.HOLD)
    ending = case((~taken, "never taken"), else_=func.coalesce(_ENDING.c.kind, "open"))
    wrong = (
        select(_J.c.id, _J.c.status, _J.c.hold, ending)
        .outerjoin(_ENDING, _ENDING.c.hold == _J.c.hold)
        .where(_J.c.hold.is_not(None), ending != due)
    )
    count = select(func.count()).where(_J.c.hold.is_not(None))
    return await found(services, count, wrong, "job {0}: {1}, its hold {2}: {3}")


async def amounts_match_the_ledger(services: Services) -> Found:
    """A job holds and was charged what it says, a run that holds for all of its jobs too."""
    whole = case((_R.c.status == RunStatus.COMPLETED, _R.c.credits_held), else_=0)
    jobs, runs = _differing(_J, _J.c.credits_posted), _differing(_R, whole)
    words = "{0}: says that {1} credits were held and {2} charged; the ledger has {3} and {4}"
    of_jobs = await found(services, select(func.count()).select_from(_J), jobs, f"job {words}")
    of_runs = await found(services, select(func.count()).where(_R.c.hold.is_not(None)), runs, f"run {words}")
    return Found(of_jobs.looked + of_runs.looked, [*of_jobs.violations, *of_runs.violations])


def _differing(owner: Table, charged: ColumnElement[int]) -> Select[Any]:
    taken, spent = func.coalesce(_E.c.amount, 0), func.coalesce(_SPENT.c.amount, 0)
    said = case((owner.c.hold.is_(None), 0), else_=owner.c.credits_held)
    return (
        select(owner.c.id, said, charged, taken, spent)
        .outerjoin(_E, and_(_E.c.transfer == owner.c.hold, _E.c.account == Account.HELD))
        .outerjoin(_SPENT, _SPENT.c.hold == owner.c.hold)
        .where(or_(taken != said, spent != charged))
    )


async def costs_match_attempts(services: Services) -> Found:
    """What an attempt cost is booked, once and to the micro-USD; and whatever is booked is for a job that was sent.
    That may be more than its attempts cost: fal may have run one of them twice."""
    paid = select(_A.c.id, _A.c.job, _A.c.request_id, _A.c.cost_micro_usd).where(_A.c.cost_micro_usd != 0)
    booked = (
        select(_T.c.id, _E.c.amount)
        .outerjoin(_E, and_(_E.c.transfer == _T.c.id, _E.c.account == Account.COSTS))
        .where(_T.c.kind == Kind.COST)
    )
    stray = select(_T.c.id, _T.c.owner).where(
        _T.c.kind == Kind.COST, ~exists().where(_A.c.job == _T.c.owner, _A.c.workspace == _T.c.workspace)
    )
    async with services.db.read() as session:
        costs = {row.id: row.amount for row in await rows_of(session, booked)}
        attempts = await rows_of(session, paid)
        strays = await rows_of(session, stray)
    wrong = [f"cost {row.id}: booked for {row.owner}, which was never sent" for row in strays]
    for attempt in attempts:
        amount = costs.get(cost_of(execution_of(attempt.id, attempt.request_id)))
        if amount != attempt.cost_micro_usd:
            said = f"attempt {attempt.id} of job {attempt.job}: it cost {attempt.cost_micro_usd} micro-USD"
            wrong.append(f"{said}, {'nothing' if amount is None else amount} is booked")
    return Found(len(attempts) + len(costs), wrong)


async def runs_are_settled(services: Services) -> Found:
    """A completed run's hold is posted, a failed or cancelled one's is void, a live one's is open; a run whose slots
    have all ended is complete, or about to be settled."""
    live = _R.c.status.in_((RunStatus.RUNNING, RunStatus.PAUSED))
    due = case((_R.c.status == RunStatus.COMPLETED, str(Kind.POST)), (live, ""), else_=str(Kind.VOID))
    unlike = and_(_R.c.hold.is_not(None), func.coalesce(_ENDING.c.kind, "") != due)
    all_ended = _R.c.completed + _R.c.failed + _R.c.cancelled == _R.c.total
    settling = exists().where(_X.c.state.in_(("ready", "leased")), payload("run") == _R.c.id)
    forgotten = and_(live, all_ended, ~settling)
    too_soon = and_(_R.c.status == RunStatus.COMPLETED, ~all_ended)
    wrong = (
        select(_R.c.id, _R.c.status, _R.c.hold, func.coalesce(_ENDING.c.kind, "open"))
        .outerjoin(_ENDING, _ENDING.c.hold == _R.c.hold)
        .where(or_(unlike, forgotten, too_soon))
    )
    return await found(
        services,
        select(func.count()).select_from(_R),
        wrong,
        "run {0}: {1}, which its slots or its hold ({2}: {3}) belie",
    )


CHECKS = (
    Check("holds and owners", "Every hold is for a job or run that knows of it", holds_have_owners),
    Check("jobs and holds", "A job's state and its hold's ending agree", holds_match_jobs),
    Check("amounts", "What jobs and runs say they held and paid is what the ledger says", amounts_match_the_ledger),
    Check("costs", "What each attempt cost is booked", costs_match_attempts),
    Check("runs settled", "A run's state, its slots and its hold agree", runs_are_settled),
)
