"""A problem as a small page, for a person whose browser came to an address that is no page: programs get JSON."""

from __future__ import annotations

from html import escape

from starlette.types import Scope, Send

from app.core.errors import Problem

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="stylesheet" href="/docs/assets/docs.css">
</head>
<body>
<h1>{title}</h1>
<p>{detail}</p>
<p>{way_out}</p>
<p><a href="/">To the studio</a> · <a href="/docs">The API</a></p>
</body>
</html>
"""


def wants_page(scope: Scope) -> bool:
    """Whether a person is likely to look at the answer. What lies under /api is for programs alone."""
    accept = dict(scope["headers"]).get(b"accept", b"")
    return scope["method"] in ("GET", "HEAD") and b"text/html" in accept and not scope["path"].startswith("/api/")


async def send_page(send: Send, problem: Problem, *, body: bool = True) -> None:
    shown = {"title": problem.title(), "detail": problem.detail, "way_out": problem.way_out}
    content = _PAGE.format(**{name: escape(words) for name, words in shown.items()}).encode()
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-length": str(len(content)),
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
        **{name.lower(): value for name, value in problem.headers.items()},
    }
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": content if body else b""})
