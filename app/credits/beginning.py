"""What a workspace begins with that is there to try things out."""

from __future__ import annotations

from app.core.ids import derived
from app.credits.ledger import grant
from app.store.write import Tx

CREDITS = 1_000


def begin(tx: Tx, workspace: str) -> None:
    """Give it its first credits, once, in the write that makes it or later."""
    grant(tx, derived("xfer", "beginning", workspace), workspace, CREDITS, "to begin with")
