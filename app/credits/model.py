"""The ledger's tables. Two integer ledgers share one double-entry table: credits, which people hold, and micro-USD,
which fal bills. The entries of a transfer sum to zero in each ledger; a hold has one final row, by unique index.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlmodel import Column, Field

from app.store.columns import Row, state_column


class Kind(StrEnum):
    """What a transfer does. GRANT: new credits. HOLD: set aside for work. POST and VOID end a hold: spent, or given
    back. COST: what we expect fal to bill for one attempt."""

    GRANT = "grant"
    HOLD = "hold"
    POST = "post"
    VOID = "void"
    COST = "cost"


class Ledger(StrEnum):
    CREDITS = "credits"
    MICRO_USD = "micro_usd"


class Account(StrEnum):
    """Credits move issued -> available -> held -> spent or back; micro-USD move from what we owe fal to what jobs
    cost."""

    ISSUED = "issued"
    AVAILABLE = "available"
    HELD = "held"
    SPENT = "spent"
    PAYABLE = "payable"
    COSTS = "costs"


class BalanceRow(Row, table=True):
    """What the entries add up to, kept beside them so that a hold is one conditional UPDATE."""

    __tablename__ = "balances"
    __table_args__ = (CheckConstraint("available >= 0 AND held >= 0 AND spent >= 0", name="not_negative"),)

    workspace: str = Field(primary_key=True)
    available: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    held: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    spent: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class TransferRow(Row, table=True):
    """`hold` names the hold that a post or void ends; for a hold it is its own id."""

    __tablename__ = "transfers"
    __table_args__ = (
        Index(
            "uq_transfers_final",
            "hold",
            unique=True,
            postgresql_where=text("kind IN ('post', 'void')"),
            sqlite_where=text("kind IN ('post', 'void')"),
        ),
        Index(None, "workspace", "created_at", "id"),
    )

    id: str = Field(primary_key=True)
    workspace: str
    kind: Kind = Field(sa_column=state_column(Kind))
    hold: str | None = None
    owner: str | None = None
    """The job, run or session it is for."""
    reason: str = ""
    created_at: datetime


COSTS = text(f"account = '{Account.COSTS}'")
"""Written out, since no database uses such an index for a value that it is told only later."""


class EntryRow(Row, table=True):
    """What was paid to fal is summed at every scrape, from an index of its own; credits have their balances."""

    __tablename__ = "entries"
    __table_args__ = (Index("ix_entries_costs", "account", "amount", postgresql_where=COSTS, sqlite_where=COSTS),)

    transfer: str = Field(primary_key=True)
    account: Account = Field(sa_column=state_column(Account, primary_key=True))
    ledger: Ledger = Field(sa_column=state_column(Ledger))
    workspace: str = Field(index=True)
    amount: int = Field(sa_column=Column(BigInteger, nullable=False))
