"""Puts the house together: every operation and door into one table, the pages behind it, the shell around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Lifespan

from app.core.events import Event
from app.web.docs import docs_routes
from app.web.endpoint import DoorEndpoint, Endpoint, House
from app.web.middleware import Manners, Shell
from app.web.openapi import About, describe
from app.web.operation import Door, Operation
from app.web.table import Table


def build_app(
    operations: Sequence[Operation],
    doors: Sequence[Door] = (),
    *,
    house: House,
    about: About,
    events: Sequence[type[Event]] = (),
    pages: Sequence[BaseRoute] = (),
    manners: Manners | None = None,
    lifespan: Lifespan[Any] | None = None,
) -> ASGIApp:
    """The whole service as one ASGI application. `pages` are routes and mounts of the caller's own.

    Raises:
        ValueError: two operations share an address.

    """
    document = partial(describe, operations, about=about, events=events, secure=house.secure)
    docs = docs_routes(about.title, document, events, about.problems, about.failures)
    behind = Router([*docs, *pages], redirect_slashes=False, lifespan=lifespan)
    table = Table(_endpoints(operations, doors, house), otherwise=behind)
    shell = Shell(table, manners or Manners(), secure=house.secure, limits=house.limits)
    return _with_cors(shell, house.origins) if house.origins else shell


def _endpoints(
    operations: Sequence[Operation], doors: Sequence[Door], house: House
) -> Iterable[tuple[str, str, ASGIApp]]:
    for operation in operations:
        endpoint = Endpoint(operation, house)
        yield operation.method, operation.address, endpoint
        if operation.method == "GET" and not operation.contract.answer.streams:
            yield "HEAD", operation.address, endpoint
    for door in doors:
        yield door.method, door.path, DoorEndpoint(door, house.services)


def _with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """For keys only: a session's cookie never travels from another site. It stands outside the shell, so that a page
    elsewhere can read our problems too.
    """
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer", "X-Request-Id"],
        expose_headers=["Location", "Preference-Applied", "Retry-After", "X-Request-Id"],
    )
