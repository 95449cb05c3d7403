"""What a program can ask about itself and its keys."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.accounts.keys import create_key, list_keys, new_row, revoke_key
from app.accounts.model import KeyRow, WorkspaceKind
from app.accounts.secrets import new_key
from app.accounts.workspaces import find_workspace
from app.core.errors import Conflict, FieldError, Forbidden, InvalidRequest, NotFound
from app.core.idempotency import IdempotencyKey
from app.core.moments import Moment
from app.core.paging import Page, page_of
from app.core.principal import Principal, Scope
from app.services import Services
from app.store.idempotency import Replayed, once, recalled
from app.store.write import Tx
from app.web.operation import Operation, Reply


class WorkspaceView(BaseModel):
    id: str
    object: Literal["workspace"] = "workspace"
    name: str
    kind: WorkspaceKind
    created_at: datetime


class Me(BaseModel):
    """Who the key or the session belongs to, and what it may do."""

    workspace: WorkspaceView
    actor: str = Field(description="The id of the key or session.")
    scopes: list[Scope]


class KeyView(BaseModel):
    id: str
    object: Literal["key"] = "key"
    name: str
    prefix: str = Field(description="How the key begins, to tell it from others.")
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")


class NewKey(KeyView):
    key: str | None = Field(
        description="The key itself, shown this once. Null when an Idempotency-Key came again: it is kept nowhere."
    )


class KeyWanted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100, examples=["nightly import"])
    scopes: list[Scope] | None = Field(
        None, min_length=1, description="What it may do: at most what you may. Left out: all that you may."
    )
    expires_at: Moment | None = None


class KeysQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = None


async def get_me(services: Services, principal: Principal) -> Me:
    async with services.db.read() as session:
        row = await find_workspace(session, principal.workspace)
    if row is None:
        raise NotFound
    view = WorkspaceView(id=row.id, name=row.name, kind=row.kind, created_at=row.created_at)
    return Me(workspace=view, actor=principal.actor, scopes=sorted(principal.scopes))


async def get_keys(services: Services, principal: Principal, query: KeysQuery) -> Page[KeyView]:
    place = f"keys:{principal.workspace}"
    before = _position(services.cursors.read(place, query.cursor)) if query.cursor else None
    async with services.db.read() as session:
        rows = await list_keys(session, principal.workspace, query.limit + 1, before)
    page = page_of(
        rows, query.limit, lambda row: services.cursors.write(place, f"{row.created_at.isoformat()} {row.id}")
    )
    return Page(data=[_view(row) for row in page.data], has_more=page.has_more, next_cursor=page.next_cursor)


async def post_keys(
    services: Services, principal: Principal, body: KeyWanted, idempotency: IdempotencyKey | None
) -> Reply[NewKey]:
    """A key for a program. It is shown once, here, and kept nowhere."""
    if (known := await recalled(services.db, principal.workspace, idempotency)) is not None:
        return _again(known)
    scopes = frozenset(body.scopes or principal.scopes)
    if more := sorted(scopes - principal.scopes):
        raise Forbidden(f"A key cannot grant what you may not do yourself: {', '.join(more)}.")
    now = services.clock.now()
    if body.expires_at is not None and body.expires_at <= now:
        raise InvalidRequest(errors=[FieldError("/body/expires_at", "Must lie in the future.", "past")])
    async with services.db.read() as session:
        workspace = await find_workspace(session, principal.workspace)
    if workspace is None:
        raise NotFound
    id_ = services.ids.new("key")
    secret = new_key(id_, services.ids.secret(), live=workspace.kind is not WorkspaceKind.TEST)
    owner = None if workspace.kind is WorkspaceKind.SYSTEM else workspace.id
    row = new_row(id_, secret, workspace=owner, name=body.name, scopes=scopes, now=now, expires_at=body.expires_at)
    kept = NewKey(**_view(row).model_dump(), key=None)

    def create(tx: Tx) -> Replayed | None:
        replayed = once(tx, principal.workspace, idempotency, kept.model_dump_json())
        if replayed is None:
            create_key(tx, row)
        return replayed

    replayed = await services.db.write(create)
    return Reply(kept.model_copy(update={"key": secret.text})) if replayed is None else _again(replayed)


async def delete_key(services: Services, principal: Principal, key: str) -> None:
    """Revoke a key. It stops within a second, and its open streams end within two."""
    if key == principal.actor:
        raise Conflict("A key cannot revoke itself: nobody could tell whether it worked. Use another one.")
    await services.db.write(lambda tx: revoke_key(tx, principal.workspace, key))


def _again(replayed: Replayed) -> Reply[NewKey]:
    return Reply(NewKey.model_validate_json(replayed.answer), headers={"Idempotent-Replayed": "true"})


def _view(row: KeyRow) -> KeyView:
    return KeyView(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        scopes=[Scope(scope) for scope in row.scopes if scope in set(Scope)],
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )


def _position(said: str) -> tuple[datetime, str]:
    time, _, id_ = said.partition(" ")
    return datetime.fromisoformat(time), id_


OPERATIONS = (
    Operation("GET", "/me", get_me, summary="Who am I, and what may I do?", tag="accounts"),
    Operation("GET", "/keys", get_keys, scope=Scope.KEYS_WRITE, summary="List keys, newest first", tag="accounts"),
    Operation(
        "POST",
        "/keys",
        post_keys,
        status=201,
        raises=(Forbidden,),
        scope=Scope.KEYS_WRITE,
        summary="Make a key",
        tag="accounts",
        idempotent=True,
    ),
    Operation(
        "DELETE",
        "/keys/{key}",
        delete_key,
        raises=(NotFound, Conflict),
        scope=Scope.KEYS_WRITE,
        resource="key",
        summary="Revoke a key",
        tag="accounts",
    ),
)
