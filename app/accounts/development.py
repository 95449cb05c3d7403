"""The workspace that `dev` makes to play in, with one key that stays the same from start to start."""

from __future__ import annotations

from collections.abc import Callable

from app.accounts.keys import create_key, new_row
from app.accounts.model import KeyRow, WorkspaceKind
from app.accounts.secrets import Secret, hashed, key_id, new_key
from app.accounts.workspaces import create_workspace
from app.core.ids import Ids, derived
from app.core.principal import EVERYTHING_IN_A_WORKSPACE
from app.store.database import Database
from app.store.write import Tx

DEVELOPMENT = derived("ws", "development")


async def open_development(db: Database, ids: Ids, keep: Callable[[Callable[[], str]], str]) -> str:
    """Make the workspace and its key unless they are there; the key. `keep` remembers a text from start to start."""
    text = keep(lambda: new_key(ids.new("key"), ids.secret(), live=False).text)
    id_ = key_id(text)
    if id_ is None:
        raise ValueError("The kept development key is damaged: delete the file dev-key in the data folder.")
    async with db.read() as session:
        known = await session.get(KeyRow, id_)
    if known is None:
        await db.write(lambda tx: _make(tx, id_, text))
    return text


def _make(tx: Tx, key: str, text: str) -> None:
    create_workspace(tx, DEVELOPMENT, "development", WorkspaceKind.TEST)
    scopes, secret = EVERYTHING_IN_A_WORKSPACE, Secret(text, hashed(text))
    create_key(tx, new_row(key, secret, workspace=DEVELOPMENT, name="development", scopes=scopes, now=tx.now))
