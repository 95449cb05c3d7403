"""What an event is. Each slice declares its own as frozen classes with a literal `type`; wiring joins them into one
closed union that the SSE schema, the docs and the check of reactions are derived from. Names are noun.participle and
are only ever added to.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    """The data of one event: thin (what changed, and ids), never a signed URL, never a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    type: ClassVar[str]


@dataclass(frozen=True)
class Topic:
    """What an event is about. `workspace` orders it; `job` and `run` let readers filter; `workflow` names the feature
    whose reactions may fire (the one that made the run), none for a job sent by itself."""

    workspace: str
    job: str | None = None
    run: str | None = None
    workflow: str | None = None


@dataclass(frozen=True)
class Recorded:
    """An event as it stands in the log: number `seq` of its workspace."""

    workspace: str
    seq: int
    type: str
    time: datetime
    job: str | None
    run: str | None
    data: dict[str, Any]
