"""Moving credits: grant, hold, then post or void, and booking what fal costs.

Each function is a part of somebody's write and takes the balance before anything that others might wait for. A hold
ends once: the unique index on its final row refuses a second ending, whoever comes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, insert, update

from app.core.errors import NotEnoughCredits
from app.core.events import Topic
from app.core.ids import derived
from app.credits.events import CreditsGranted, CreditsHeld, CreditsPosted, CreditsVoided
from app.credits.model import Account, BalanceRow, EntryRow, Kind, Ledger, TransferRow
from app.store.advance import Moved
from app.store.columns import insert_if_new, table
from app.store.prepared import Prepared
from app.store.write import Tx


@dataclass(frozen=True)
class Hold:
    """Credits set aside for `owner` (a job, run or session)."""

    id: str
    workspace: str
    amount: int
    owner: str

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError(f"hold {self.id}: nobody can hold {self.amount} credits")


class AlreadyEnded(Moved):
    """The hold was posted or voided before: somebody else was first, and nothing of this may stand."""


class NotHeld(Exception):
    """A hold is to be ended that was never taken: a fault of ours, and nothing of this may stand."""


_B = table(BalanceRow)
_OPEN = insert_if_new(BalanceRow)
_TRANSFER = Prepared(insert(table(TransferRow)))
_TRANSFER_IF_NEW = insert_if_new(TransferRow)
_ENTRIES = Prepared(insert(table(EntryRow)))
_GRANT = update(_B).where(_B.c.workspace == bindparam("w")).values(available=_B.c.available + bindparam("n"))
_HOLD = Prepared(
    update(_B)
    .where(_B.c.workspace == bindparam("w"), _B.c.available >= bindparam("n"))
    .values(available=_B.c.available - bindparam("n"), held=_B.c.held + bindparam("n"))
)
_END = Prepared(
    update(_B)
    .where(_B.c.workspace == bindparam("w"), _B.c.held >= bindparam("n"))
    .values(
        held=_B.c.held - bindparam("n"),
        spent=_B.c.spent + bindparam("used"),
        available=_B.c.available + bindparam("back"),
    )
)
_BALANCE = _B.select().where(_B.c.workspace == bindparam("w"))


def grant(tx: Tx, transfer: str, workspace: str, amount: int, reason: str) -> None:
    """New credits for a workspace. `transfer` is the grant's id: made by the caller, so that twice is once. It comes
    before the balance: only twins of this grant can wait for it."""
    row = _row(tx, transfer, workspace, Kind.GRANT, reason=reason)
    if tx.execute(_TRANSFER_IF_NEW[tx.dialect], row).rowcount != 1:
        return
    tx.execute(_OPEN[tx.dialect], {"workspace": workspace, "available": 0, "held": 0, "spent": 0})
    tx.execute(_GRANT, {"w": workspace, "n": amount})
    _enter(tx, transfer, workspace, Ledger.CREDITS, [(Account.ISSUED, -amount), (Account.AVAILABLE, amount)])
    tx.record(CreditsGranted(amount=amount, reason=reason), Topic(workspace))


def hold(tx: Tx, held: Hold, topic: Topic) -> None:
    """Set credits aside.

    Raises:
        NotEnoughCredits: fewer are available; says how many.
    """
    if tx.execute(_HOLD, {"w": held.workspace, "n": held.amount}).rowcount != 1:
        raise _too_few(held.amount, _available(tx, held.workspace))
    row = _row(tx, held.id, held.workspace, Kind.HOLD, hold=held.id, owner=held.owner)
    tx.execute(_TRANSFER, row)
    entries = [(Account.AVAILABLE, -held.amount), (Account.HELD, held.amount)]
    _enter(tx, held.id, held.workspace, Ledger.CREDITS, entries)
    tx.record(CreditsHeld(hold=held.id, amount=held.amount, owner=held.owner), topic)


def require(tx: Tx, workspace: str, amount: int) -> None:
    """Refuse what is held in parts as a whole, so that the whole is named.

    Raises:
        NotEnoughCredits: fewer are available; says how many.
    """
    if (available := _available(tx, workspace)) < amount:
        raise _too_few(amount, available)


def post(tx: Tx, held: Hold, used: int, topic: Topic) -> None:
    """The work succeeded: `used` credits (at most the amount held) are spent, the rest goes back.

    Raises:
        AlreadyEnded: see there.
    """
    if used < 0:
        raise ValueError(f"hold {held.id}: nobody can spend {used} credits")
    used = min(used, held.amount)
    back = held.amount - used
    moves = [(Account.HELD, -held.amount), (Account.SPENT, used), (Account.AVAILABLE, back)]
    _end(tx, held, Kind.POST, used, moves, "")
    tx.record(CreditsPosted(hold=held.id, amount=used, returned=back, owner=held.owner), topic)


def void(tx: Tx, held: Hold, reason: str, topic: Topic) -> None:
    """The work came to nothing: all that was held goes back.

    Raises:
        AlreadyEnded: see there.
    """
    _end(tx, held, Kind.VOID, 0, [(Account.HELD, -held.amount), (Account.AVAILABLE, held.amount)], reason)
    tx.record(CreditsVoided(hold=held.id, amount=held.amount, owner=held.owner, reason=reason), topic)


def book_cost(tx: Tx, execution: str, workspace: str, owner: str, micro_usd: int) -> None:
    """What we expect fal to bill for one execution; booked once, however often its result arrives."""
    transfer = cost_of(execution)
    row = _row(tx, transfer, workspace, Kind.COST, owner=owner)
    if micro_usd and tx.execute(_TRANSFER_IF_NEW[tx.dialect], row).rowcount == 1:
        entries = [(Account.PAYABLE, -micro_usd), (Account.COSTS, micro_usd)]
        _enter(tx, transfer, workspace, Ledger.MICRO_USD, entries)


def cost_of(execution: str) -> str:
    """The id of the transfer that books an execution's cost."""
    return derived("xfer", "cost", execution)


def _available(tx: Tx, workspace: str) -> int:
    found = tx.execute(_BALANCE, {"w": workspace}).one_or_none()
    return int(found.available) if found else 0


def _too_few(needed: int, available: int) -> NotEnoughCredits:
    needs = "1 credit" if needed == 1 else f"{needed:,} credits"
    there = "1 is" if available == 1 else f"{available:,} are" if available else "none is"
    detail = f"This needs {needs}; {there} available. Ask for a grant, or wait for work to end."
    return NotEnoughCredits(detail, needed=needed, available=available)


def _end(tx: Tx, held: Hold, kind: Kind, used: int, moves: Sequence[tuple[Account, int]], reason: str) -> None:
    """The balance first, which twins wait for; then the final row, which one of them gets."""
    values = {"w": held.workspace, "n": held.amount, "used": used, "back": held.amount - used}
    taken = tx.execute(_END, values).rowcount == 1
    transfer = derived("xfer", kind, held.id)
    final = _row(tx, transfer, held.workspace, kind, hold=held.id, owner=held.owner, reason=reason)
    if tx.execute(_TRANSFER_IF_NEW[tx.dialect], final).rowcount != 1:
        raise AlreadyEnded(held.id)
    if not taken:
        raise NotHeld(f"hold {held.id}: {held.workspace} holds fewer than its {held.amount} credits")
    _enter(tx, transfer, held.workspace, Ledger.CREDITS, [move for move in moves if move[1]])


def _row(
    tx: Tx,
    transfer: str,
    workspace: str,
    kind: Kind,
    *,
    hold: str | None = None,
    owner: str | None = None,
    reason: str = "",
) -> dict[str, object]:
    return {
        "id": transfer,
        "workspace": workspace,
        "kind": str(kind),
        "hold": hold,
        "owner": owner,
        "reason": reason,
        "created_at": tx.now,
    }


def _enter(tx: Tx, transfer: str, workspace: str, ledger: Ledger, moves: Sequence[tuple[Account, int]]) -> None:
    if moves:
        tx.execute(
            _ENTRIES,
            [
                {"transfer": transfer, "account": str(a), "ledger": str(ledger), "workspace": workspace, "amount": n}
                for a, n in moves
            ],
        )
