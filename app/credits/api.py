"""Looking at one's credits, and the operator's grants."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import bindparam, select

from app.accounts.workspaces import find_workspace
from app.core.errors import NotFound
from app.core.idempotency import IdempotencyKey
from app.core.ids import derived, is_id
from app.core.paging import Page, page_of
from app.core.principal import Principal, Scope
from app.credits.ledger import grant
from app.credits.model import Account, BalanceRow, EntryRow, Kind, Ledger, TransferRow
from app.services import Services
from app.store.columns import table
from app.store.idempotency import Replayed, once, recalled
from app.store.pages import newest_first, position
from app.store.write import Tx
from app.web.operation import Operation, Reply

_T, _E, _B = table(TransferRow), table(EntryRow), table(BalanceRow)
_BALANCE = select(_B).where(_B.c.workspace == bindparam("w"))

MOST_GRANTED = 1_000_000_000
"""In one grant: a slip of the hand must not bring the sums near the end of 64 bits."""


class CreditsView(BaseModel):
    """A workspace's credits. `held` are set aside for work that has not ended."""

    object: str = "credits"
    available: int
    held: int
    spent: int


class Move(BaseModel):
    """`amount` went into `account` (out of it when negative)."""

    account: Account
    ledger: Ledger
    amount: int


class EntryView(BaseModel):
    """One transfer in the ledger. Its moves sum to zero."""

    object: str = "entry"
    id: str
    kind: Kind
    hold: str | None
    owner: str | None
    reason: str
    moves: list[Move]
    created_at: datetime


class EntriesQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: str | None = None
    owner: str | None = Field(default=None, description="Only lines of this job, run or session.")


class GrantRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"workspace": "ws_…", "amount": 100}})

    workspace: str
    amount: Annotated[int, Field(ge=1, le=MOST_GRANTED)]
    reason: Annotated[str, Field(max_length=200)] = "granted by the operator"


async def get_credits(services: Services, principal: Principal) -> CreditsView:
    """What this workspace has, holds and has spent."""
    return await _credits(services, principal.workspace)


async def list_entries(services: Services, principal: Principal, query: EntriesQuery) -> Page[EntryView]:
    """The ledger, newest first."""
    place = f"entries:{principal.workspace}"
    after = services.cursors.read(place, query.cursor) if query.cursor else None
    mine = select(_T).where(_T.c.workspace == principal.workspace)
    if query.owner:
        mine = mine.where(_T.c.owner == query.owner)
    async with services.db.read() as session:
        transfers = (await session.exec(newest_first(mine, _T, query.limit, after))).all()  # type: ignore[call-overload]
        moves = await session.exec(select(_E).where(_E.c.transfer.in_([t.id for t in transfers])))  # type: ignore[call-overload]
        by_transfer: dict[str, list[Move]] = defaultdict(list)
        for move in moves.all():
            by_transfer[move.transfer].append(Move(account=move.account, ledger=move.ledger, amount=move.amount))
    views = [EntryView(**_fields(t), moves=by_transfer[t.id]) for t in transfers]
    return page_of(views, query.limit, lambda v: services.cursors.write(place, position(v.created_at, v.id)))


async def grant_credits(
    services: Services, principal: Principal, body: GrantRequest, idempotency: IdempotencyKey | None
) -> Reply[CreditsView]:
    """Give a workspace credits. For the operator; with an Idempotency-Key the same grant is made once."""
    if (before := await recalled(services.db, principal.workspace, idempotency)) is not None:
        return _again(before)
    key = idempotency.key if idempotency else services.ids.new("xfer")
    transfer = derived("xfer", "grant", principal.workspace, body.workspace, key)
    async with services.db.read() as session:
        known = is_id("ws", body.workspace) and await find_workspace(session, body.workspace)
    if not known:
        raise NotFound("There is no such workspace.")

    def granted(tx: Tx) -> Reply[CreditsView]:
        grant(tx, transfer, body.workspace, body.amount, body.reason)
        row = tx.execute(_BALANCE, {"w": body.workspace}).one()
        view = CreditsView(available=row.available, held=row.held, spent=row.spent)
        twin = once(tx, principal.workspace, idempotency, view.model_dump_json())
        return _again(twin) if twin else Reply(view)

    return await services.db.write(granted)


def _again(replayed: Replayed) -> Reply[CreditsView]:
    return Reply(CreditsView.model_validate_json(replayed.answer), headers={"Idempotent-Replayed": "true"})


async def _credits(services: Services, workspace: str) -> CreditsView:
    async with services.db.read() as session:
        row = await session.get(BalanceRow, workspace)
    return (
        CreditsView(available=row.available, held=row.held, spent=row.spent)
        if row
        else CreditsView(available=0, held=0, spent=0)
    )


def _fields(row: Any) -> dict[str, Any]:
    names = ("id", "kind", "hold", "owner", "reason", "created_at")
    return {name: getattr(row, name) for name in names}


OPERATIONS = (
    Operation("GET", "/credits", get_credits, scope=Scope.MONEY_READ),
    Operation("GET", "/credits/entries", list_entries, scope=Scope.MONEY_READ),
    Operation(
        "POST",
        "/credits/grants",
        grant_credits,
        scope=Scope.OPERATOR,
        idempotent=True,
        raises=(NotFound,),
        resource="workspace",
    ),
)
