"""Who is asking: one workspace, one key or session, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.core.errors import Forbidden


class Scope(StrEnum):
    """What a key may be allowed to do. `OPERATOR` belongs to the installation, not to a workspace."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    ASSETS_READ = "assets:read"
    ASSETS_WRITE = "assets:write"
    EVENTS_READ = "events:read"
    EVENTS_WRITE = "events:write"
    WORKFLOWS_READ = "workflows:read"
    WORKFLOWS_WRITE = "workflows:write"
    MONEY_READ = "money:read"
    MONEY_WRITE = "money:write"
    KEYS_WRITE = "keys:write"
    OPERATOR = "operator"


EVERYTHING_IN_A_WORKSPACE = frozenset(Scope) - {Scope.OPERATOR}


@dataclass(frozen=True)
class Principal:
    """`actor` is the id of the key or session; `workspace` the tenant on every row it may see."""

    workspace: str
    actor: str
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        if scope not in self.scopes:
            raise Forbidden(f"This needs the scope {scope}; the key has: {', '.join(sorted(self.scopes)) or 'none'}.")
