"""Nobody to look at pictures: what stands in for Claude when there is no key."""

from __future__ import annotations

from app.core.errors import Unavailable
from app.ports import Question, Reply

_WHY = "ANTHROPIC_API_KEY is not set, so nobody can look at pictures."


class NoVision:
    async def ask(self, question: Question) -> Reply:  # noqa: ARG002 - the port's
        return Reply("away", "none", detail=_WHY)

    async def check(self) -> None:
        raise Unavailable(_WHY)

    async def close(self) -> None: ...
