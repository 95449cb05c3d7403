"""The workspace that `dev` makes to play in: a key that stays the same from start to start, and credits to spend."""

from __future__ import annotations

from app.accounts.development import DEVELOPMENT, open_development
from app.core.ids import Ids, derived
from app.credits.beginning import CREDITS
from app.credits.ledger import grant
from app.settings import Settings
from app.store.database import Database
from app.wiring import kept_secret


async def open_playground(db: Database, ids: Ids, settings: Settings) -> str:
    """Make it unless it is there; its key."""
    key = await open_development(db, ids, lambda make: kept_secret(settings.home / "dev-key", make))
    once = derived("xfer", "development")
    await db.write(lambda tx: grant(tx, once, DEVELOPMENT, CREDITS, "to play with"))
    return key
