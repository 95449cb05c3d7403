"""What `dev` adds to `serve`: it brings the tables up to date, makes a workspace to play in, and says what to do."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from contextlib import suppress
from threading import Thread

from app.accounts.development import DEVELOPMENT
from app.accounts.page import signin_link
from app.commands.address import KeptAddress
from app.commands.fal_in_a_box import Box
from app.commands.playground import open_playground
from app.health import little_room
from app.lifespan import Life
from app.main import listen, serve
from app.settings import Settings
from app.store.database import Database
from app.store.schema import OldSchema, check_schema, upgrade
from app.wiring import database_of

HOST = "127.0.0.1"
BODY = {"model": "fal-ai/flux/schnell", "input": {"prompt": "a red bicycle on a beach at sunrise"}}


async def develop(settings: Settings, box: Box | None = None, notes: tuple[str, ...] = ()) -> int:
    """Serve until told to stop, or until the sandbox is gone."""
    await _bring_up_to_date(settings)
    listener = listen(HOST, settings.port)
    address = KeptAddress()

    async def ready(life: Life) -> None:
        if box is not None:
            Thread(target=_stop_with, args=(box, asyncio.get_running_loop()), daemon=True).start()
        await address.keep(life)
        await _welcome(life, notes)

    with address:
        return await serve(settings, listener, ready)


async def _bring_up_to_date(settings: Settings) -> None:
    db: Database = database_of(settings)
    settings.home.mkdir(parents=True, exist_ok=True)
    await db.open()
    try:
        await check_schema(db)
        old = False
    except OldSchema:
        old = True
    finally:
        await db.close()
    if old:
        await asyncio.to_thread(upgrade, settings.database)


async def _welcome(life: Life, notes: tuple[str, ...]) -> None:
    settings, services = life.wired.settings, life.wired.services
    key = await open_playground(services.db, services.ids, settings)
    link = await signin_link(services.db, services.ids, services.base_url, DEVELOPMENT)
    base = services.base_url
    (settings.home / "dev-url").write_text(base)  # for `submit`, `jobs` and `watch`
    curl = (
        f"curl -s {base}/api/v1/jobs -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' "
        f"-H 'Prefer: wait=60' -d {shlex.quote(json.dumps(BODY))}"
    )
    where = f"the sandbox at {settings.fal_url}" if settings.fal_url else "fal.ai, for real money"
    warnings = filter(None, [little_room(services)])
    remarks = "".join(f"\n  {note}" for note in (*notes, *warnings))
    print(
        f"""
  Darkroom runs. Pictures come from {where}; everything is kept in {settings.home}.{remarks}

    Open it    {link}
    API        {base}/docs
    Key        {key}

  Make a picture:

    {curl}

  Ctrl-C stops it.
""",
        flush=True,
    )


def _stop_with(box: Box, loop: asyncio.AbstractEventLoop) -> None:
    """In a thread of its own, since the operating system tells of a child's end only to those who wait for it."""
    box.wait()
    with suppress(RuntimeError):  # we ended first, and so ended it: there is no loop any more
        loop.call_soon_threadsafe(_end_too)


def _end_too() -> None:
    print("The sandbox has ended, so this ends too.", flush=True)
    signal.raise_signal(signal.SIGTERM)
