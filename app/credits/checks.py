"""What must be true of the ledger at any time, recomputed from zero (promises I10, I11)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, exists, func, or_, select

from app.credits.model import Account, BalanceRow, EntryRow, Kind, Ledger, TransferRow
from app.feature import Check, Found
from app.services import Services
from app.store.columns import table

_B, _E, _T = table(BalanceRow), table(EntryRow), table(TransferRow)
_FINAL = (str(Kind.POST), str(Kind.VOID))
_NOTHING = (0, 0, 0)


async def sums_to_zero(services: Services) -> Found:
    """Every transfer moves as much out as in, in each ledger. Only the end of a hold of nothing moves nothing."""
    uneven = select(_E.c.transfer, _E.c.ledger).group_by(_E.c.transfer, _E.c.ledger).having(func.sum(_E.c.amount) != 0)
    empty = select(_T.c.id).where(_T.c.kind.not_in(_FINAL), ~exists().where(_E.c.transfer == _T.c.id))
    async with services.db.read() as session:
        looked = (await session.exec(select(func.count(_T.c.id)))).scalar_one()  # type: ignore[call-overload]
        wrong = (await session.exec(uneven)).all()  # type: ignore[call-overload]
        lost = (await session.exec(empty)).scalars().all()  # type: ignore[call-overload]
    return Found(
        looked,
        [f"transfer {r.transfer}: its {r.ledger} entries do not sum to zero" for r in wrong]
        + [f"transfer {t}: it has no entries" for t in lost],
    )


async def balances_add_up(services: Services) -> Found:
    """Every balance is what its entries add up to, and none is below zero."""
    accounts = (Account.AVAILABLE, Account.HELD, Account.SPENT)
    sums = (
        select(
            _E.c.workspace, *(func.sum(case((_E.c.account == a, _E.c.amount), else_=0)).label(str(a)) for a in accounts)
        )
        .where(_E.c.ledger == Ledger.CREDITS)
        .group_by(_E.c.workspace)
    )
    async with services.db.read() as session:
        kept = {r.workspace: _three(r) for r in (await session.exec(select(_B))).all()}  # type: ignore[call-overload]
        summed = {r.workspace: _three(r) for r in (await session.exec(sums)).all()}  # type: ignore[call-overload]
    wrong = [
        f"workspace {workspace}: has {kept.get(workspace)}, the entries say {summed.get(workspace, _NOTHING)}"
        for workspace in sorted(kept.keys() | summed.keys())
        if kept.get(workspace) != summed.get(workspace, _NOTHING) or min(kept[workspace]) < 0
    ]
    return Found(len(kept), wrong)


async def holds_end_once(services: Services) -> Found:
    """A hold ends in at most one post or void, only holds do, and when it has ended nothing of it is held."""
    final = _T.c.kind.in_(_FINAL)
    twice = select(_T.c.hold).where(final).group_by(_T.c.hold).having(func.count() > 1)
    holds = select(_T.c.id).where(_T.c.kind == Kind.HOLD)
    unheld = select(_T.c.id).where(final, or_(_T.c.hold.is_(None), _T.c.hold.not_in(holds)))
    ended = select(_T.c.hold).where(final, _T.c.hold.is_not(None))
    left = (
        select(_T.c.hold)
        .join(_E, _E.c.transfer == _T.c.id)
        .where(_E.c.account == Account.HELD, _T.c.hold.in_(ended))
        .group_by(_T.c.hold)
        .having(func.sum(_E.c.amount) != 0)
    )
    async with services.db.read() as session:
        looked = (await session.exec(select(func.count(_T.c.id)).where(_T.c.kind == Kind.HOLD))).scalar_one()  # type: ignore[call-overload]
        again = (await session.exec(twice)).scalars().all()  # type: ignore[call-overload]
        loose = (await session.exec(unheld)).scalars().all()  # type: ignore[call-overload]
        partly = (await session.exec(left)).scalars().all()  # type: ignore[call-overload]
    return Found(
        looked,
        [f"hold {hold}: ended more than once" for hold in again]
        + [f"transfer {t}: ends no hold" for t in loose]
        + [f"hold {hold}: it ended, and what it took is not what it gave back" for hold in partly],
    )


def _three(row: Any) -> tuple[int, int, int]:
    return int(row.available), int(row.held), int(row.spent)


CHECKS = (
    Check("transfers", "Entries of each transfer sum to zero", sums_to_zero),
    Check("balances", "Balances equal their recomputation", balances_add_up),
    Check("holds", "Each hold ends at most once", holds_end_once),
)
