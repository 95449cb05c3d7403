"""`dev`: the whole service on one machine, beside a sandbox, ready to be tried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.commands.fal_in_a_box import Box
    from app.settings import Settings


def dev(  # options of a command line
    *,
    port: int | None = None,
    data: Path | None = None,
    real: bool = False,
    speed: float = 1.0,
    chaos: str = "",
) -> int:
    """Everything on this machine, with a local fal: nothing to set up, nothing to pay.

    Makes a data folder, a workspace with credits and a key, and says what to do next. Ctrl-C stops all of it. Where one
    runs already, it prints a new link into that one.

    Args:
        port: Port to listen on; 0 picks a free one. [default: $PORT or 8000]
        data: Folder for everything it keeps. [default: $DARKROOM_DATA or .darkroom]
        real: Have the pictures made by fal.ai, for money, with FAL_KEY.
        speed: How much faster the local fal's time runs, and ours with it; at most 1000.
        chaos: What goes wrong at the local fal: duplicate,lost=0.3 or all=0.2; `darkroom sandbox --help` lists it.
    """
    from app.commands.fal_in_a_box import Box, real_settings, require_chaos, require_no_box
    from app.commands.folders import is_running, require_free, require_home
    from app.settings import read_settings

    given = read_settings(data=data, port=port)
    if real:
        real_settings(given)  # before a folder is made for it
    require_home(given.home if given.fal_url or real else given.data / "sandbox", data)
    if real or given.fal_url:
        require_no_box("--real" if real else "DARKROOM_FAL_URL", speed, chaos)
        return _developed(real_settings(given) if real else given)
    require_chaos(chaos, speed)
    if is_running(given.data / "sandbox"):
        _let_in_again(given.data / "sandbox")
    require_free(given.data / "sandbox")
    with Box(given.data / "sandbox" / "fal", speed, chaos) as box:
        return _developed(given, box, tuple(_notes(given, chaos)))


def _developed(settings: Settings, box: Box | None = None, notes: tuple[str, ...] = ()) -> int:
    """The sandbox, if there is one, starts while we load what we need."""
    from app import logs
    from app.commands.fal_in_a_box import sandbox_settings
    from app.commands.loop import run
    from app.commands.reached import reached
    from app.commands.welcome import develop

    logs.set_up(settings.log_level, settings.log_format)
    settings = sandbox_settings(settings, box) if box else settings
    with reached(settings):
        return run(develop(settings, box, notes))


def _let_in_again(home: Path) -> None:
    """Whoever starts a second one has often only lost the page of the first: a new link into that."""
    from app.commands.administration import print_signin
    from app.commands.loop import run
    from app.settings import SettingsError

    with suppress(SettingsError):  # it may not be ready, or have several workspaces: what is said next is enough
        run(print_signin(home, None, None))


def _notes(given: Settings, chaos: str) -> Iterator[str]:
    """What somebody might not expect."""
    if chaos:
        yield f"Chaos is on: {chaos}. Much will go wrong, as asked."
    if given.fal_key is not None:
        yield "FAL_KEY is set and ignored: nothing is bought. `darkroom dev --real` uses it."
