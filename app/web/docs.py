"""What a person reads: the API's description to click through, every problem and every event. All of it is made from
the tables the service runs on, works without the internet, and holds no script of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from app.core.errors import Problem
from app.core.events import Event

STATIC = Path(__file__).parent / "static"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI writes style attributes; nowhere else is that allowed.
SWAGGER_POLICY = PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="stylesheet" href="/docs/assets/{style}">
</head>
<body>
{body}
</body>
</html>
"""
SWAGGER = """<main id="api"></main>
<script src="/docs/assets/swagger/swagger-ui-bundle.js"></script>
<script src="/docs/assets/docs.js"></script>"""


def docs_routes(
    title: str,
    document: Callable[[], Mapping[str, Any]],
    events: Sequence[type[Event]],
    problems: Sequence[type[Problem]],
    failures: Sequence[tuple[str, str, str]],
) -> list[BaseRoute]:
    """`/openapi.json`, `/docs`, `/docs/errors`, `/docs/events` and the files they need, made when they are first asked
    for. `problems` are what a request can be told, `failures` the ways in which work ends badly after it was accepted:
    code, title and what to do."""
    whole = escape(title)

    def described() -> Response:
        return Response(json.dumps(document(), ensure_ascii=False).encode(), media_type="application/json")

    def swagger() -> Response:
        return _page(PAGE.format(title=whole, style="swagger/swagger-ui.css", body=SWAGGER), SWAGGER_POLICY)

    def errors() -> Response:
        body = _errors(problems, failures)
        return _page(PAGE.format(title=f"{whole}: errors", style="docs.css", body=body), PAGE_POLICY)

    def event_page() -> Response:
        body = _events(document(), events)
        return _page(PAGE.format(title=f"{whole}: events", style="docs.css", body=body), PAGE_POLICY)

    return [
        Route("/openapi.json", _once_made(described)),
        Route("/docs", _once_made(swagger)),
        Route("/docs/errors", _once_made(errors)),
        Route("/docs/events", _once_made(event_page)),
        Mount("/docs/assets", StaticFiles(directory=STATIC)),
    ]


def _page(html: str, policy: str) -> Response:
    return HTMLResponse(html, headers={"content-security-policy": policy})


def _once_made(make: Callable[[], Response]) -> Any:
    """Most processes are never asked; describing everything would take a tenth of the time they need to start."""
    made = cache(make)

    async def answer(_: Request) -> Response:
        return await asyncio.to_thread(made)

    return answer


def _errors(problems: Sequence[type[Problem]], failures: Sequence[tuple[str, str, str]]) -> str:
    parts = ["<h1>Errors</h1>", "<p>Every error is a problem (RFC 9457); its <code>code</code> is the word here.</p>"]
    for kind in sorted(problems, key=lambda kind: (kind.status, kind.slug)):
        again = "The same request may succeed later." if kind.retryable else ""
        more = " ".join((kind.__doc__ or "").strip().splitlines()[1:]).strip()
        parts.append(
            f'<section id="{escape(kind.slug)}"><h2>{escape(kind.title())}</h2>'
            f"<p><code>{escape(kind.slug)}</code>, status {kind.status}. {again} {escape(more)} "
            f"{escape(kind.way_out)}</p></section>"
        )
    parts += ["<h1>Failures</h1>", "<p>What was accepted can still fail; its <code>error.code</code> says how.</p>"]
    parts += [
        f'<section id="{escape(code)}"><h2>{escape(title)}</h2>'
        f"<p><code>{escape(code)}</code>. {escape(way_out)}</p></section>"
        for code, title, way_out in failures
    ]
    return "\n".join(parts)


def _events(document: Mapping[str, Any], events: Sequence[type[Event]]) -> str:
    parts = [
        "<h1>Events</h1>",
        "<p>What streams and <code>GET /api/v1/events</code> tell, in the order it happened.</p>",
    ]
    schemas = document["components"]["schemas"]
    for event in sorted(events, key=lambda event: event.type):
        fields = schemas.get(event.__name__, {}).get("properties", {})
        rows = "".join(
            f"<li><code>{escape(name)}</code> {escape(str(field.get('description', '')))}</li>"
            for name, field in fields.items()
        )
        parts.append(
            f'<section id="{escape(event.type)}"><h2><code>{escape(event.type)}</code></h2>'
            f"<p>{escape((event.__doc__ or '').strip())}</p><ul>{rows}</ul></section>"
        )
    return "\n".join(parts)
