"""Where an instance answers, kept in its data folder while it runs: `admin signin` makes links with it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Self

from app.commands.folders import is_running
from app.lifespan import Life
from app.settings import Settings

_FILE = "url"


class KeptAddress:
    """`with KeptAddress() as address`: written by `keep` once we answer, gone when we end. One that could not start
    leaves alone what another wrote."""

    def __init__(self) -> None:
        self._file: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink()

    async def keep(self, life: Life) -> None:
        self.note(life.wired.settings.home, life.wired.services.base_url)

    def note(self, home: Path, url: str) -> None:
        self._file = home / _FILE
        self._file.write_text(url)


def known_address(settings: Settings) -> str | None:
    """Of the instance that runs on this machine."""
    if settings.database_url is None and not is_running(settings.home):
        return None  # what lies there is of one that was killed
    with suppress(OSError):
        return (settings.home / _FILE).read_text().strip() or None
    return None
