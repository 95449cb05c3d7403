"""Vision: whoever looks at pictures and answers in a schema (Claude, or the sandbox's imitation)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Picture:
    """An image handed over by value."""

    content_type: str
    data: bytes


@dataclass(frozen=True)
class Question:
    """`schema` is a JSON schema; the answer is data that should fit it, and is validated by whoever asked."""

    operation: str
    system: str
    text: str
    pictures: tuple[Picture, ...]
    schema: Mapping[str, Any]
    max_tokens: int = 4096
    deadline: float = 8.0


@dataclass(frozen=True)
class Reply:
    """`outcome` is answered, refused, cut (max_tokens), timed_out, unreadable or away; `data` is set only if
    answered."""

    outcome: str
    model: str
    data: Any = None
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    detail: str = ""


class Vision(Protocol):
    async def ask(self, question: Question) -> Reply: ...

    async def check(self) -> None:
        """Costs nothing. Raises `Unavailable`: nobody is there, or not for this key, or not under this name."""
        ...

    async def close(self) -> None: ...
