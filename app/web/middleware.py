"""The shell around everything: each request gets an id, a line in the log, a measurement, the security headers and an
answer, whatever happens inside. One wrapper of plain ASGI, because every further one is paid by every request.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from app.core.errors import Draining
from app.core.ids import is_id
from app.web.guards import Limits
from app.web.intake import Intake, Watch
from app.web.parsing import CLOSE, refuse_long
from app.web.problems import problem_of, send_problem
from app.web.readable import send_page, wants_page

GIVEN_ID = re.compile(rb"^[A-Za-z0-9._-]{8,64}\Z")
STRICT_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
GONE = 499

Observe = Callable[[str, str, int, float], None]
"""Told of each request: the template of its path, its method, the status, the seconds."""
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Manners:
    """How the shell behaves. `draining` is asked before each new request; `always` are answered even then."""

    observe: Observe = lambda *_: None
    draining: Callable[[], bool] = lambda: False
    always: Collection[str] = frozenset({"/healthz", "/readyz", "/metrics", "/version"})
    new_id: Callable[[], str] = lambda: f"req_{secrets.token_hex(10)}"
    watch: Watch = field(default_factory=Watch)


class Shell:
    """The outermost application. `limits.form` is the most that anything inside takes; single endpoints take less."""

    def __init__(self, app: ASGIApp, manners: Manners, *, secure: bool, limits: Limits) -> None:
        self._app = app
        self._manners = manners
        self._limits = limits
        self._fixed = _security_headers(secure=secure)
        self._logger = structlog.get_logger("app.web")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if GIVEN_ID.match(given) else self._manners.new_id()
        clear_contextvars()  # those of the request before on this connection
        bind_contextvars(request_id=request_id)
        scope["app"] = self
        exchange = _Exchange(send, request_id, self._fixed)
        try:
            await self._app(scope, self._admit(scope, headers, receive), exchange.send)
        except ClientDisconnect:
            pass
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets an answer and the log the reason
            await self._explain(error, scope, exchange)
        finally:
            self._note(scope, exchange.status or GONE, perf_counter() - started)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """Let it in, with an eye on its body if it has one."""
        if self._manners.draining() and scope["path"] not in self._manners.always:
            raise Draining(headers=CLOSE)
        if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
            return receive
        refuse_long(headers, self._limits.form, self._limits.file)
        return Intake(receive, self._limits.form, self._manners.watch)

    async def _explain(self, error: Exception, scope: Scope, exchange: _Exchange) -> None:
        problem = problem_of(error)
        if problem.status == 500:
            self._logger.error("crash", route=_template(scope), exc_info=error)
        if exchange.status:
            # The status line is out. The server has to cut the connection, so that nobody takes the answer for whole.
            raise error
        body = scope["method"] != "HEAD"
        if problem.status < 500 and wants_page(scope):
            return await send_page(exchange.send, problem, body=body)
        return await send_problem(exchange.send, problem, exchange.request_id, body=body)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = _template(scope)
        self._manners.observe(route, method, status, seconds)
        ids = _ids(scope) if "{" in route else {}
        self._log.info("request", method=method, route=route, status=status, ms=round(seconds * 1e3, 2), **ids)

    @cached_property
    def _log(self) -> Any:
        """Bound at the first request, when logging is set up, and not anew for each line."""
        return self._logger.bind()


class _Exchange:
    """One answer on its way out: remembers its status (0 is none yet) and dresses it in the headers that all have."""

    __slots__ = ("_fixed", "_send", "request_id", "status")

    def __init__(self, send: Send, request_id: str, fixed: Headers) -> None:
        self._send = send
        self._fixed = fixed
        self.request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message.get("headers", ())
            names = {name for name, _ in headers}
            fixed = [pair for pair in self._fixed if pair[0] not in names]
            message["headers"] = [*headers, *fixed, (b"x-request-id", self.request_id.encode())]
        await self._send(message)


def _template(scope: Scope) -> str:
    """What the router matched. The path itself is never told: a tag or a signature may be part of it."""
    return (scope["route"].path or "/") if "route" in scope else "(none)"


def _ids(scope: Scope) -> dict[str, str]:
    """The ids in the path, for the log: only what has the shape of one of ours, so no secret can be among them."""
    names = getattr(scope.get("route"), "names", ())
    found = {name: scope["path_params"].get(name, "") for name in names}
    return {name: value for name, value in found.items() if is_id(value.partition("_")[0], value)}


def _security_headers(*, secure: bool) -> Headers:
    headers = {
        "x-content-type-options": "nosniff",
        "content-security-policy": STRICT_POLICY,
        "referrer-policy": "no-referrer",
    }
    if secure:
        headers["strict-transport-security"] = "max-age=31536000; includeSubDomains"
    return [(name.encode(), value.encode()) for name, value in headers.items()]
