"""Which world a command looks at. The data folder may hold two, what came from the sandbox and what is real, and a
command that says nothing could be believed to speak of the other one.
"""

from __future__ import annotations

import sys

from sqlalchemy import make_url

from app.settings import Settings, SettingsError

WORLDS = ("sandbox", "real")
DATABASE = "darkroom.db"


def chosen(settings: Settings) -> Settings:
    """The settings, led to the world that is meant: the one whose folder --data names, else what DARKROOM_FAL_URL or
    DARKROOM_DATABASE_URL say, else the only one there is, else the real one with FAL_KEY. That one of them runs decides
    nothing: who has just made the other one means that.

    Raises:
        SettingsError: there are two, and nothing says which.
    """
    if settings.data.name in WORLDS and (settings.data / DATABASE).exists():
        return _led_to(settings.data.name, settings.model_copy(update={"data": settings.data.parent}))
    if settings.fal_url or settings.database_url:
        return settings
    there = [world for world in WORLDS if (settings.data / world / DATABASE).exists()]
    if not there:
        return settings
    if len(there) > 1 and settings.fal_key is None:
        raise SettingsError(
            f"{settings.data} holds two worlds, the sandbox's and the real one, and nothing says which is meant. "
            f"Say it: --data {settings.data / 'sandbox'} or --data {settings.data / 'real'}."
        )
    return _led_to("real" if len(there) > 1 else there[0], settings)


def tell(settings: Settings) -> None:
    """Where we look, before anything else is said; on stderr, since what follows may be read by a program."""
    print(f"Looking at {place(settings)}.", file=sys.stderr, flush=True)


def place(settings: Settings) -> str:
    if settings.database_url is None:
        return f"the {settings.world} world in {settings.home}"
    return f"the database {make_url(settings.database).set(query={}).render_as_string(hide_password=True)}"


def _led_to(world: str, settings: Settings) -> Settings:
    if world == "real":
        return settings.model_copy(update={"fal_url": None, "time_factor": 1.0})
    if settings.fal_url:
        return settings
    port = settings.data / "sandbox" / "fal" / "port"
    url = f"http://127.0.0.1:{port.read_text() if port.exists() else 9000}"
    return settings.model_copy(update={"fal_url": url, "fal_key": None})  # no real key goes there
