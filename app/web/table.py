"""Finds what answers an address. One table for all operations and doors, walked word by word, so that the last of a
hundred paths is found as fast as the first, and a 405 can list every method of its path.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import MethodNotAllowed
from app.web.contract import placeholders


@dataclass
class Address:
    """One path and what its methods are answered by."""

    path: str
    methods: dict[str, ASGIApp] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = placeholders(self.path)

    @property
    def allow(self) -> str:
        return ", ".join(sorted(self.methods))


@dataclass
class _Node:
    words: dict[str, _Node] = field(default_factory=dict)
    any: _Node | None = None
    rest: _Node | None = None
    address: Address | None = None


class Table:
    """All addresses; `otherwise` answers what is not among them. A fixed word wins over a placeholder.

    Raises:
        ValueError: two endpoints have the same method and path, or a placeholder is not a whole word of its path.

    """

    def __init__(self, endpoints: Iterable[tuple[str, str, ASGIApp]], otherwise: ASGIApp) -> None:
        self.addresses: dict[str, Address] = {}
        self._root = _Node()
        self._otherwise = otherwise
        for method, path, endpoint in endpoints:
            address = self.addresses.get(path) or self._add(path)
            if method in address.methods:
                raise ValueError(f"two endpoints for {method} {path}")
            address.methods[method] = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.find(scope["path"].removeprefix(scope.get("root_path", ""))) if scope["type"] == "http" else None
        if found is None:
            await self._otherwise(scope, receive, send)
            return
        scope["route"], scope["path_params"] = address, _ = found
        endpoint = address.methods.get(scope["method"])
        if endpoint is None:
            raise MethodNotAllowed(f"Here one can: {address.allow}.", headers={"Allow": address.allow})
        await endpoint(scope, receive, send)

    def find(self, path: str) -> tuple[Address, dict[str, str]] | None:
        """The address of a path and what stands in its placeholders."""
        if (address := self.addresses.get(path)) is not None and not address.names:
            return address, {}
        values: list[str] = []
        found = _walk(self._root, path.split("/"), 0, values)
        return None if found is None else (found, dict(zip(found.names, values, strict=True)))

    def _add(self, path: str) -> Address:
        node = self._root
        for word in path.split("/"):
            if "{" not in word:
                node = node.words.setdefault(word, _Node())
            elif word.endswith(":path}") and path.endswith(f"/{word}"):
                node.rest = node.rest or _Node()
                node = node.rest
            elif placeholders(word) == (word[1:-1],):
                node.any = node.any or _Node()
                node = node.any
            else:
                raise ValueError(f"{path}: {word} is no whole placeholder")
        if node.address is not None:
            raise ValueError(f"{path} and {node.address.path} are the same address")
        node.address = self.addresses[path] = Address(path)
        return node.address


def _walk(node: _Node, words: list[str], index: int, values: list[Any]) -> Address | None:
    if index == len(words):
        return node.address
    word = words[index]
    if (below := node.words.get(word)) is not None and (found := _walk(below, words, index + 1, values)) is not None:
        return found
    if node.any is not None and word:
        values.append(word)
        if (found := _walk(node.any, words, index + 1, values)) is not None:
            return found
        values.pop()
    if node.rest is not None and (rest := "/".join(words[index:])):
        values.append(rest)
        return node.rest.address
    return None
