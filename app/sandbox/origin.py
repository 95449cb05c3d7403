"""The one origin that plays queue.fal.run, rest.fal.ai, v3.fal.media, api.fal.ai and api.anthropic.com together."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from app.sandbox import page, room
from app.sandbox.box import Box
from app.sandbox.claude.api import ClaudeApi
from app.sandbox.control import Control
from app.sandbox.fal.platform_api import PlatformApi
from app.sandbox.fal.queue_api import QueueApi
from app.sandbox.fal.uploads import Uploads
from app.sandbox.outage import Gate


def origin(box: Box, refuse: Callable[[float], Awaitable[None]]) -> ASGIApp:
    """Special routes first: what is left is an endpoint of the queue."""

    async def jwks(_: Request) -> Response:
        return JSONResponse(box.keys.jwks())

    queue = QueueApi(box.log, box.queue, box.chaos, box.postman, box.pace)
    app = Starlette(
        routes=[
            *page.routes(box),
            *Control(box, refuse).routes(),
            Route("/.well-known/jwks.json", jwks, methods=["GET"]),
            *PlatformApi(box.log, box.files, box.pace, box.knobs).routes(),
            *ClaudeApi(box.log, box.references, box.pace).routes(),
            *Uploads(box.files).routes(),
            *queue.routes(),
        ],
        exception_handlers=dict.fromkeys(room.UNWRITABLE, _broken),
    )
    app.router.redirect_slashes = False
    return Gate(app, box.outage)


async def _broken(_: Request, error: Exception) -> Response:
    """As fal does on a bad day: what could not be written down has not happened."""
    if not room.passes(error):
        raise error
    return JSONResponse({"detail": "Internal Server Error"}, 500)
