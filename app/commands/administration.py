"""What the `admin` commands do."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.accounts import keys, workspaces
from app.accounts.development import DEVELOPMENT
from app.accounts.model import SYSTEM, KeyRow, WorkspaceKind, WorkspaceRow
from app.accounts.page import signin_link
from app.accounts.secrets import key_id, new_key
from app.commands.address import known_address
from app.commands.opened import Opened, opened
from app.core.principal import EVERYTHING_IN_A_WORKSPACE, Scope
from app.credits.api import MOST_GRANTED
from app.credits.beginning import CREDITS, begin
from app.credits.ledger import grant
from app.settings import SettingsError
from app.store.write import Tx

LONGEST_KEY = 36_500
"""Days."""
_TOLD_OF_A_KEY = {"id", "workspace", "name", "prefix", "scopes", "created_at", "last_used_at", "expires_at"}


async def create_workspace(data: Path | None, name: str, *, test: bool) -> int:
    name = name.strip()
    if not name:
        raise SettingsError("A workspace needs a name.")
    async with opened(data) as here:
        async with here.db.read() as session:
            twins = [row.id for row in await workspaces.list_workspaces(session) if row.name == name]
        id_, kind = here.ids.new("ws"), WorkspaceKind.TEST if test else WorkspaceKind.LIVE
        plays = test or here.settings.world == "sandbox"

        def founded(tx: Tx) -> None:
            workspaces.create_workspace(tx, id_, name, kind)
            if plays:
                begin(tx, id_)

        await here.db.write(founded)
    if plays:
        print(f"It begins with {CREDITS:,} credits.", file=sys.stderr)
    if twins:
        print(f"There is another one of this name: {', '.join(twins)}. Both stay.", file=sys.stderr)
    print(id_)
    return 0


async def list_workspaces(data: Path | None, *, as_json: bool) -> int:
    async with opened(data) as here, here.db.read() as session:
        rows = await workspaces.list_workspaces(session)
    if as_json:
        return _printed([row.model_dump(mode="json") for row in rows])
    for row in rows:
        print(f"{row.id:<30}  {row.kind:<6}  {row.created_at:%Y-%m-%d %H:%M}  {row.name}")
    return 0


async def create_key(data: Path | None, workspace: str | None, name: str, scopes: str | None, days: int | None) -> int:
    """`workspace` none: an operator's."""
    if workspace == "":
        raise SettingsError("Say whose key it is: `darkroom admin workspace list` has their ids. Or: --operator.")
    everything = EVERYTHING_IN_A_WORKSPACE if workspace is not None else frozenset(Scope)
    wanted = _scopes(scopes) if scopes else everything
    if workspace is not None and Scope.OPERATOR in wanted:
        raise SettingsError("The scope `operator` belongs to no workspace: use --operator.")
    if days is not None and not 1 <= days <= LONGEST_KEY:
        raise SettingsError(f"--days is between 1 and {LONGEST_KEY:,}; leave it out for a key that never expires.")
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    async with opened(data) as here:
        if workspace is not None:
            workspace = await here.the_workspace(workspace)
        kind = await _kind(here, SYSTEM if workspace is None else workspace)
        id_ = here.ids.new("key")
        live = here.settings.world == "real" and kind is not WorkspaceKind.TEST
        secret = new_key(id_, here.ids.secret(), live=live)
        now = datetime.now(UTC)
        row = keys.new_row(id_, secret, workspace=workspace, name=name, scopes=wanted, now=now, expires_at=expires_at)
        await here.db.write(lambda tx: keys.create_key(tx, row))
    print(secret.text)
    return 0


async def list_keys(data: Path | None, workspace: str, *, as_json: bool) -> int:
    async with opened(data) as here:
        workspace = await here.the_workspace(workspace)
        async with here.db.read() as session:
            rows = await keys.list_keys(session, workspace, limit=1_000)
    if as_json:
        return _printed([row.model_dump(mode="json", include=_TOLD_OF_A_KEY) for row in rows])
    for row in rows:
        used = f"used {row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never used"
        ends = "never expires"
        if row.expires_at is not None:
            past = row.expires_at <= datetime.now(UTC)
            ends = f"{'expired' if past else 'expires'} {row.expires_at:%Y-%m-%d %H:%M} UTC"
        print(f"{row.id}  {row.prefix}...  {used}  {ends}  {row.name}  ({', '.join(row.scopes)})")
    return 0


def _printed(rows: list[dict[str, Any]]) -> int:
    print(json.dumps(rows, indent=1))
    return 0


async def revoke_key(data: Path | None, said: str) -> int:
    id_ = key_id(said) or (f"key_{said.split('_')[2][:26]}" if said.startswith("dk_") and said.count("_") > 1 else said)
    async with opened(data) as here:
        async with here.db.read() as session:
            row = await session.get(KeyRow, id_)
        if row is None:
            raise SettingsError(f"There is no key {id_[:40]!r}.")
        await here.db.write(lambda tx: keys.revoke_key(tx, row.workspace or SYSTEM, id_))
    print(f"{id_} is revoked.")
    return 0


async def grant_credits(data: Path | None, workspace: str, credits: int, reason: str) -> int:
    if not 1 <= credits <= MOST_GRANTED:
        raise SettingsError(f"Grant between 1 and {MOST_GRANTED:,} credits at once.")
    async with opened(data) as here:
        workspace = await here.the_workspace(workspace)
        id_ = here.ids.new("xfer")
        await here.db.write(lambda tx: grant(tx, id_, workspace, credits, reason))
    print(f"{workspace} has {credits} credits more.")
    return 0


async def print_signin(data: Path | None, workspace: str | None, url: str | None) -> int:
    async with opened(data) as here:
        workspace = await here.the_workspace(workspace) if workspace else await _only_one(here)
        base = url or here.settings.public_url or known_address(here.settings)
        if base is None:
            base = f"http://localhost:{here.settings.port}"
            print(f"Nothing runs here, so {base} is a guess; --url or DARKROOM_PUBLIC_URL say it.", file=sys.stderr)
        print(await signin_link(here.db, here.ids, base.rstrip("/"), workspace))
    return 0


async def _only_one(here: Opened) -> str:
    """Where a link leads that names no workspace. Raises `SettingsError` with the choice, when there is one."""
    async with here.db.read() as session:
        rows = [row for row in await workspaces.list_workspaces(session) if row.id != SYSTEM]
    if len(rows) == 1 or any(row.id == DEVELOPMENT for row in rows):
        return next((row.id for row in rows if row.id == DEVELOPMENT), rows[0].id)
    if not rows:
        raise SettingsError("There is no workspace yet. Make one: darkroom admin workspace create NAME")
    choice = "".join(f"\n  darkroom admin signin {row.id}    {row.name}" for row in rows[:20])
    raise SettingsError(f"Say which workspace the link leads to:{choice}")


async def _kind(here: Opened, workspace: str) -> WorkspaceKind:
    """Also makes the system workspace when no service has run yet."""
    if workspace == SYSTEM:
        await here.db.write(lambda tx: workspaces.claim_world(tx, here.settings.world))
    async with here.db.read() as session:
        row = await session.get_one(WorkspaceRow, workspace)
    return row.kind


def _scopes(given: str) -> frozenset[Scope]:
    try:
        return frozenset(Scope(word := each.strip()) for each in given.split(","))
    except ValueError:
        raise SettingsError(f"There is no scope {word!r}. There are: {', '.join(Scope)}.") from None
