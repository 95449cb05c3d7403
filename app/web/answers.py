"""What a handler may give back besides a model of its own, and the one thing it is given that is no value: a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from starlette.types import Receive, Send
from starlette.types import Scope as Connection

Value = TypeVar("Value")


@dataclass(frozen=True)
class Reply(Generic[Value]):
    """A value with headers of its own (`Location`, `Preference-Applied`), and a status where it is not the operation's.
    `cookies` are finished `Set-Cookie` values, since a mapping holds a name only once.
    """

    value: Value
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()


FILE_POLICY = "sandbox; default-src 'none'"


@dataclass(frozen=True)
class Download:
    """Bytes as they come. `content_type` is from our own table, never what somebody claimed; a `size` that is known is
    sent as Content-Length. `inline` lets a browser show it, otherwise it is kept as `filename`. `chunks` is closed.
    Only a page of our own may have a `policy` that lets it do more than be looked at.
    """

    chunks: AsyncIterator[bytes]
    content_type: str
    size: int | None = None
    filename: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    inline: bool = False
    status: int = 200
    policy: str = FILE_POLICY


@dataclass(frozen=True)
class Redirect:
    """The answer lies elsewhere."""

    url: str
    status: int = 307
    headers: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Stream(Protocol):
    """An answer that goes on: it writes itself to the connection, from the status line to the end. Errors that a caller
    should see as problems are raised by the handler, before it returns one.
    """

    async def serve(self, scope: Connection, receive: Receive, send: Send) -> None: ...


@dataclass(frozen=True)
class Upload:
    """One file of a form, on disk until the answer is under way: move it to keep it. `filename` and `content_type` are
    what the sender says, the name without folders and control characters; neither proves anything.
    """

    filename: str
    content_type: str
    size: int
    path: Path

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Nothing but an upload is one."""
        return {"type": "is-instance", "cls": cls}

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "string", "format": "binary"}
