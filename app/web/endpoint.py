"""An operation at work: who asks, may they, what do they ask, do it, answer. The order is the promise: nobody without
the right scope learns whether their request was well formed, and no body is read before that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from starlette.types import Receive, Send
from starlette.types import Scope as Connection
from structlog.contextvars import bind_contextvars

from app.core.errors import NotFound
from app.core.idempotency import IdempotencyKey
from app.core.principal import Principal
from app.web.contract import FROM_HEADERS, Part
from app.web.guards import Credentials, Limits, credentials_of, fetches_ahead, headers_of, idempotency_word, wait_of
from app.web.operation import Door, Knock, Operation
from app.web.parsing import parse_json, parse_query, read_body, refuse_long
from app.web.sending import Answering
from app.web.uploads import read_form

NO_QUERY = Part(BaseModel, TypeAdapter(BaseModel), optional=False, names={})
Authenticate = Callable[[Any, Credentials], Awaitable[Principal]]
"""The first argument is the bundle of services: this room hands it through and knows nothing of it."""


@dataclass(frozen=True)
class House:
    """What all endpoints share. `services` is handed to handlers as it is; `scratch` holds files on their way in.
    `secure`: the public address is https. `origins` are other sites whose pages may call us with a key, normally none.
    """

    services: Any
    authenticate: Authenticate
    scratch: Path
    limits: Limits = field(default_factory=Limits)
    secure: bool = False
    origins: tuple[str, ...] = ()


class Endpoint:
    """One operation as an ASGI application."""

    def __init__(self, operation: Operation, house: House) -> None:
        self.operation = operation
        self._house = house
        self._contract = operation.contract
        self._answering = Answering(operation.contract.answer, operation.status)
        self._asks = operation.authenticated or operation.contract.principal == "welcome"
        self._wants_values = operation.contract.query is not None or bool(operation.contract.plain - {"principal"})
        self._headers_wanted = operation.contract.plain & FROM_HEADERS

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        contract, house = self._contract, self._house
        headers = headers_of(scope)
        arguments: dict[str, Any] = scope["path_params"]
        query = scope["query_string"]
        if self._asks:
            await self._admit(arguments, credentials_of(scope["method"], headers, secure=house.secure))
        if "\0" in scope["path"]:  # PostgreSQL would not even look for it
            raise NotFound
        if query or self._wants_values:
            self._add_values(arguments, query, headers)
        if contract.form is not None:
            async with read_form(contract.form, headers, receive, house.limits, house.scratch) as (form, digest):
                arguments["form"] = form
                self._add_key(arguments, scope, headers, digest)
                value = await self.operation.handler(**arguments)
        else:
            body = b""
            if contract.body is not None:
                refuse_long(headers, house.limits.body)
                body = await read_body(receive, house.limits.body)
                arguments["body"] = parse_json(contract.body, headers, body, house.limits)
            self._add_key(arguments, scope, headers, body)
            value = await self.operation.handler(**arguments)
        await self._answering.write(value, scope, receive, send)

    async def _admit(self, arguments: dict[str, Any], credentials: Credentials) -> None:
        nobody = credentials.bearer is None and credentials.session is None
        principal = None
        if not nobody or self.operation.authenticated:
            principal = await self._house.authenticate(self._house.services, credentials)
            bind_contextvars(workspace=principal.workspace)
            if self.operation.scope is not None:
                principal.require(self.operation.scope)
        if self._contract.principal != "ignored":
            arguments["principal"] = principal

    def _add_values(self, arguments: dict[str, Any], query: bytes, headers: Mapping[bytes, bytes]) -> None:
        contract, house = self._contract, self._house
        if contract.query is not None:
            arguments["query"] = parse_query(contract.query, query, house.limits)
        elif query:
            parse_query(NO_QUERY, query, house.limits)
        if "services" in contract.plain:
            arguments["services"] = house.services
        if self._headers_wanted:
            arguments |= self._from_headers(headers)

    def _from_headers(self, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
        values = {
            "wait": wait_of(headers),
            "last_event_id": _text(headers.get(b"last-event-id")),
            "accept": headers.get(b"accept", b"*/*").decode("latin-1"),
            "prefetch": fetches_ahead(headers),
            "range": _text(headers.get(b"range")),
            "if_none_match": _text(headers.get(b"if-none-match")),
        }
        return {name: values[name] for name in self._headers_wanted}

    def _add_key(
        self, arguments: dict[str, Any], scope: Connection, headers: Mapping[bytes, bytes], body: bytes
    ) -> None:
        if self._contract.idempotency:
            word = idempotency_word(headers)
            key = IdempotencyKey.of(word, scope["method"], scope["path"], body) if word else None
            arguments["idempotency"] = key


def _text(header: bytes | None) -> str | None:
    return header.decode("latin-1") if header else None


class DoorEndpoint:
    """A door as an ASGI application: no key, nothing parsed."""

    def __init__(self, door: Door, services: Any) -> None:
        self._door = door
        self._services = services

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        async def read(limit: int) -> bytes:
            return await read_body(receive, limit)

        knock = Knock(scope["path_params"], scope["headers"], read)
        answer = await self._door.handler(self._services, knock)
        headers = [
            (b"content-type", answer.content_type.encode("latin-1")),
            (b"content-length", b"%d" % len(answer.body)),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
