"""The addresses of the studio: the page itself, the snapshot it loads anew when it has lost its place, and its files.

build_app(..., pages=studio_pages(services, authenticate, events=events, sandbox=True))
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from os import PathLike, stat_result
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope as Connection

from app.core.errors import NotAuthenticated
from app.core.events import Event
from app.core.principal import Principal, Scope
from app.jobs.lifecycle import JOB, JobStatus
from app.services import Services
from app.studio.snapshot import take_snapshot
from app.web.endpoint import Authenticate
from app.web.guards import credentials_of, headers_of

HERE = Path(__file__).parent
READS = (Scope.JOBS_READ, Scope.EVENTS_READ, Scope.MONEY_READ)
STREAM_EVENTS = ("stream.reset", "stream.closed")


def studio_pages(
    services: Services, authenticate: Authenticate, *, events: Sequence[type[Event]], sandbox: bool
) -> list[BaseRoute]:
    """`events` are all that a stream may tell; `sandbox` says that no real pictures are made."""
    studio = _Studio(services, authenticate, sandbox=sandbox, types=[*(e.type for e in events), *STREAM_EVENTS])
    return [
        Route("/", studio.home),
        Route("/studio/snapshot", studio.snapshot),
        Route("/favicon.ico", _icon),
        Mount("/static", _Files(directory=HERE / "static")),
    ]


class _Studio:
    def __init__(self, services: Services, authenticate: Authenticate, *, sandbox: bool, types: Sequence[str]) -> None:
        self._services = services
        self._authenticate = authenticate
        self._shown = {
            "sandbox": sandbox,
            "setting": {
                "sandbox": sandbox,
                "types": sorted(types),
                "upload_max_bytes": services.rules.upload_max_bytes,
                **_job_table(),
            },
            "modules": sorted(file.name for file in (HERE / "static").glob("*.js")),
        }
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    async def home(self, request: Request) -> Response:
        """The studio, or, to a browser nobody has signed in, how to get in."""
        try:
            principal = await self._who(request)
        except NotAuthenticated:
            return await self._page("signin.html", 401)
        snapshot = await take_snapshot(self._services, principal.workspace)
        return await self._page("studio.html", 200, snapshot=snapshot.model_dump(mode="json"), **self._shown)

    async def snapshot(self, request: Request) -> Response:
        principal = await self._who(request)
        snapshot = await take_snapshot(self._services, principal.workspace)
        content = snapshot.model_dump_json(by_alias=True)
        return Response(content, media_type="application/json", headers={"cache-control": "no-store"})

    async def _who(self, request: Request) -> Principal:
        headers = headers_of(request.scope)
        secure = self._services.base_url.startswith("https://")
        given = credentials_of(request.method, headers, secure=secure)
        principal = await self._authenticate(self._services, given)
        for scope in READS:
            principal.require(scope)
        return principal

    async def _page(self, name: str, status: int, **shown: Any) -> Response:
        html = self._templates.get_template(name).render(shown)
        headers = {"content-security-policy": await self._policy(), "cache-control": "no-store"}
        return HTMLResponse(html, status, headers=headers)

    async def _policy(self) -> str:
        """Pictures may come from the bucket; everything else is ours, and nothing is inline."""
        url = await self._services.blobs.url(
            "w/any/any/any.png", lifetime=timedelta(minutes=1), content_type="image/png", filename="any.png"
        )
        bucket = "" if url.startswith("/") else " {0.scheme}://{0.netloc}".format(urlsplit(url))
        return (
            f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:{bucket}; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )


async def _icon(_request: Request) -> Response:
    """Browsers ask for it there whatever a page says."""
    return FileResponse(HERE / "static/icon.svg", media_type="image/svg+xml", headers={"cache-control": "max-age=3600"})


class _Files(StaticFiles):
    """Asked for again with every visit: a page and its script are of one version, and the answer is mostly 304."""

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Connection, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["cache-control"] = "no-cache"
        return response


def _job_table() -> dict[str, Any]:
    """The job's lifecycle, as the page needs it: where an event leads, and which buttons are legal in a state."""
    moves = {JOB.birth_event: str(JOB.initial)} | {edge.event: str(edge.target) for edge in JOB.edges}
    statuses = {
        str(status): {
            "final": status in JOB.final,
            "cancel": JobStatus.CANCELLED in JOB.moves(status),
            "retry": status in JOB.final - {JobStatus.COMPLETED},
        }
        for status in JobStatus
    }
    return {"moves": moves, "statuses": statuses}
