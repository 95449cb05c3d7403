"""`work`: a process that only runs tasks."""

from __future__ import annotations

from pathlib import Path


def work(*, host: str = "0.0.0.0", port: int | None = None, data: Path | None = None) -> int:  # noqa: S104  # as serve
    """Only the work, beside a `serve` with DARKROOM_RUNNER=none: on other machines, as many as are needed.

    With SQLite there can be no second process, so this is for PostgreSQL.

    Args:
        host: Address to listen on, when a port is given.
        port: Port for /healthz, /readyz, /metrics and /version, and nothing else; 0 picks a free one. [default: none]
        data: Folder for what is kept on this machine. [default: $DARKROOM_DATA or .darkroom]
    """
    from app import logs
    from app.commands.folders import require_home
    from app.commands.loop import run
    from app.commands.reached import reached
    from app.main import listen
    from app.main import work as labour
    from app.settings import read_settings

    settings = read_settings(data=data)
    require_home(settings.home, data)
    logs.set_up(settings.log_level, settings.log_format)
    with reached(settings):
        return run(labour(settings, None if port is None else listen(host, port)))
