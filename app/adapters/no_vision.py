"""Nobody to look at pictures: what stands in for Claude when there is no key."""

from __future__ import annotations

from app.ports import Question, Reply


class NoVision:
    async def ask(self, question: Question) -> Reply:  # noqa: ARG002 - the port's
        return Reply("away", "none", detail="ANTHROPIC_API_KEY is not set, so nobody can look at pictures.")

    async def close(self) -> None: ...
