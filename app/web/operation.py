"""What a slice writes to be reachable: an `Operation` is an endpoint as data, and the signature of its handler is the
contract. Everything that can be wrong with that contract is a TypeError on import, before anything listens.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from app.core.errors import Problem
from app.core.principal import Scope
from app.web.answers import Download, Redirect, Reply, Stream, Upload
from app.web.contract import Contract, contract_of, placeholders

__all__ = ["Answer", "Door", "Download", "Knock", "Operation", "Redirect", "Reply", "Stream", "Upload"]

PREFIX = "/api/v1"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Operation:
    """One method on one path. `path` is below /api/v1 unless `absolute`; `resource` names the kind of thing its ids
    stand for. `scope` is what a key must be allowed to do: none means that nobody is asked who they are, unless
    the handler takes a `principal`. `also` lists further statuses, `media` the types of a
    `Download`, `raises` the problems a caller can act on.

    Raises:
        TypeError: the handler's signature and the rest contradict each other.

    """

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    status: int = 200
    also: tuple[int, ...] = field(default=(), kw_only=True)
    raises: tuple[type[Problem], ...] = field(default=(), kw_only=True)
    scope: Scope | None = field(default=None, kw_only=True)
    resource: str | None = field(default=None, kw_only=True)
    summary: str = field(default="", kw_only=True)
    tag: str = field(default="", kw_only=True)
    media: tuple[str, ...] = field(default=("*/*",), kw_only=True)
    absolute: bool = field(default=False, kw_only=True)
    idempotent: bool = field(default=False, kw_only=True)
    contract: Contract = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        contract = contract_of(self.handler, self.path)
        object.__setattr__(self, "contract", contract)
        if self.method not in METHODS:
            self._refuse(f"the method is one of {', '.join(METHODS)}")
        if placeholders(self.path) and self.resource is None:
            self._refuse("a path with an id needs `resource`, the kind of thing it names")
        if contract.idempotency != self.idempotent:
            self._refuse("`idempotent=True` and a parameter `idempotency` come together")
        if self.method == "GET" and (contract.body or contract.form):
            self._refuse("GET has no body")
        if contract.answer.empty and not contract.answer.kinds and self.status == 200:
            object.__setattr__(self, "status", 204)

    @property
    def id(self) -> str:
        return self.handler.__name__

    @property
    def address(self) -> str:
        """The whole path, as it is looked up."""
        return self.path if self.absolute else PREFIX + self.path

    @property
    def title(self) -> str:
        return self.summary or self._words()[0].rstrip(".") or self.id.replace("_", " ").capitalize()

    @property
    def description(self) -> str:
        """All that the handler's docstring says after its first line."""
        return self._words()[2].strip()

    @property
    def group(self) -> str:
        """The heading it stands under: its tag, or the first word of its path."""
        return self.tag or self.path.strip("/").split("/")[0]

    @property
    def authenticated(self) -> bool:
        return self.scope is not None or self.contract.principal == "needed"

    def _words(self) -> tuple[str, str, str]:
        return (inspect.getdoc(self.handler) or "").partition("\n")

    def _refuse(self, why: str) -> None:
        raise TypeError(f"{self.method} {self.path} ({self.id}): {why}")


@dataclass(frozen=True)
class Knock:
    """A request as a door sees it: nothing parsed, nothing read. `read(n)` gives the whole body and raises `TooLarge`
    as soon as it is longer than `n` bytes.
    """

    path: dict[str, str]
    headers: list[tuple[bytes, bytes]]
    read: Callable[[int], Awaitable[bytes]]


@dataclass(frozen=True)
class Answer:
    """What a door says."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"


@dataclass(frozen=True)
class Door:
    """An address that sees raw bytes: nobody is asked for a key, and nothing is ever redirected. `path` is whole."""

    method: str
    path: str
    handler: Callable[[Any, Knock], Awaitable[Answer]]
