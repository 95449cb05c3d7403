"""The service as a process: `serve` answers HTTP, `work` only runs tasks (and, when given a port, tells machines how it
is doing), and `app` is the ASGI application for servers that are not ours (`uvicorn app.main:app --factory`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

import structlog
from starlette.types import ASGIApp, Lifespan
from uvicorn import Config

from app import __version__, logs
from app.accounts.authentication import Authenticator
from app.catalog.failures import FAILURES
from app.health import Health
from app.lifespan import Life
from app.settings import Settings, SettingsError, read_settings
from app.studio import studio_pages
from app.web.app import build_app
from app.web.endpoint import House
from app.web.guards import Limits
from app.web.middleware import Manners
from app.web.openapi import About, describe
from app.web.server import DrainingServer, Protocol
from app.wiring import FEATURES, PROBLEMS, Wired, wire

ABOUT = About(
    title="Darkroom",
    version=__version__,
    description=(
        "Submit once, and every image arrives once, is stored once, is paid once, and everyone watching sees it."
    ),
    tags={
        "jobs": "Pictures, one request each.",
        "runs": "Many jobs with one purpose and one budget.",
        "models": "What can be generated, and what it costs.",
        "assets": "The pictures themselves, made here or sent in.",
        "events": "What happens, as it happens or in pages.",
        "credits": "What may be spent, and what became of it.",
        "accounts": "Who asks, and with which key.",
    },
    problems=PROBLEMS,
    failures=tuple((str(code), failure.title, failure.advice) for code, failure in FAILURES.items()),
)

Ready = Callable[[Life], Awaitable[None]]

log = structlog.get_logger("main")


def app() -> ASGIApp:
    """The whole service as one ASGI application that brings itself to life."""
    settings = read_settings()
    logs.set_up(settings.log_level, settings.log_format)
    life = Life(wire(settings, f"http://localhost:{settings.port}"), works=settings.runner == "inside", on_crash=_stop)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        async with life:
            yield

    return application(life, lifespan)


def application(life: Life, lifespan: Lifespan[Any] | None = None) -> ASGIApp:
    """Everything that answers HTTP."""
    wired, services = life.wired, life.wired.services
    health = Health(wired, lambda: life.draining)
    features = wired.features
    house = _house(wired)
    sandbox = wired.settings.world == "sandbox"
    return build_app(
        [*(o for f in features for o in f.operations), *health.operations],
        [*(d for f in features for d in f.doors), *health.doors],
        house=house,
        about=ABOUT,
        events=wired.events,
        pages=studio_pages(services, house.authenticate, events=wired.events, sandbox=sandbox),
        manners=_manners(life),
        lifespan=lifespan,
    )


def watchtower(life: Life) -> ASGIApp:
    """What a process that answers nobody else still tells machines."""
    health = Health(life.wired, lambda: life.draining)
    return build_app(health.operations, health.doors, house=_house(life.wired), about=ABOUT, manners=_manners(life))


def document() -> dict[str, Any]:
    """The OpenAPI document, for which nothing has to run."""
    health = Health(cast("Wired", None), lambda: False)  # only the shape of its operations is looked at
    operations = [*(o for f in FEATURES for o in f.operations), *health.operations]
    return describe(operations, about=ABOUT, events=[event for f in FEATURES for event in f.events])


async def serve(settings: Settings, listener: socket.socket, ready: Ready | None = None) -> int:
    """Answer on `listener` until told to stop; the exit code. `ready` is called when requests are answered.

    Raises:
        SettingsError: it cannot start; the text says why and what to do.
    """

    async def serving(life: Life) -> None:
        log.info("serving", url=life.wired.services.base_url, version=__version__)
        if ready is not None:
            await ready(life)

    wired = wire(settings, f"http://localhost:{listener.getsockname()[1]}")
    return await _answer(wired, listener, application, works=settings.runner == "inside", ready=serving)


async def work(settings: Settings, listener: socket.socket | None = None) -> int:
    """Run tasks until told to stop; the exit code. On `listener`, machines are told how it goes. Raises SettingsError,
    as `serve`."""

    async def working(_life: Life) -> None:
        log.info("working", version=__version__)

    wired = wire(settings, f"http://localhost:{settings.port}")
    if listener is not None:
        return await _answer(wired, listener, watchtower, works=True, ready=working)
    stopped = asyncio.Event()
    _on_signals(stopped.set)
    async with Life(wired, works=True, on_crash=stopped.set) as life:
        await working(life)
        await stopped.wait()
    return 1 if life.crashed else 0


async def _answer(
    wired: Wired, listener: socket.socket, app_of: Callable[[Life], ASGIApp], *, works: bool, ready: Ready
) -> int:
    server: _Server | None = None

    def stop() -> None:
        if server is not None:
            server.should_exit = True

    async with Life(wired, works=works, on_crash=stop) as life:
        config = Config(
            app_of(life),
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(wired.services.rules.drain_within),
            backlog=2048,
        )
        server = _Server(config, life, ready)
        await server.serve(sockets=[listener])
    return 1 if life.crashed else 0


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, with port 0 to a free port. Raises SettingsError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port."
        ) from None
    return listener


class _Server(DrainingServer):
    def __init__(self, config: Config, life: Life, ready: Ready) -> None:
        super().__init__(config, life.drain)
        self._life = life
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._ready(self._life)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A signal that was obeyed is not raised once more: a stop that was asked for ends with code 0."""
        if threading.current_thread() is threading.main_thread():
            _on_signals(self._asked_to_stop)
        yield

    def _asked_to_stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def _house(wired: Wired) -> House:
    services, rules = wired.services, wired.services.rules
    return House(
        services,
        Authenticator().authenticate,
        scratch=services.scratch,
        limits=Limits(
            body=rules.body_max_bytes,
            depth=rules.json_depth,
            file=rules.upload_max_bytes,
            files=rules.uploads_per_request,
        ),
        secure=services.base_url.startswith("https://"),
        origins=wired.settings.origins,
    )


def _manners(life: Life) -> Manners:
    new_id = life.wired.services.ids.new
    return Manners(observe=_observer(life.wired), draining=lambda: life.draining, new_id=lambda: new_id("req"))


def _observer(wired: Wired) -> Callable[[str, str, int, float], None]:
    metrics = wired.services.metrics

    def observe(route: str, method: str, status: int, seconds: float) -> None:
        metrics.count("requests_total", route=route, method=method, status=str(status))
        metrics.observe("request_seconds", seconds, route=route)

    return observe


def _on_signals(act: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, act)


def _stop() -> None:
    signal.raise_signal(signal.SIGTERM)
