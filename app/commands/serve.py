"""`serve`: the service."""

from __future__ import annotations

from pathlib import Path


def serve(
    *,
    host: str = "0.0.0.0",  # noqa: S104  # a service is there to be reached
    port: int | None = None,
    processes: int | None = None,
    data: Path | None = None,
) -> int:
    """The service: answers HTTP, and does the work unless DARKROOM_RUNNER=none.

    SIGTERM stops it within 20 seconds; nothing acknowledged is lost.

    Args:
        host: Address to listen on; 127.0.0.1 for this machine alone.
        port: Port to listen on; 0 picks a free one. [default: $PORT or 8000]
        processes: How many processes answer there. More than one needs PostgreSQL and a bucket; /metrics is then that
            of whichever answers, so give each its own port instead if you measure. [default: $WEB_CONCURRENCY or 1]
        data: Folder for everything kept on this machine. [default: $DARKROOM_DATA or .darkroom]
    """
    from app import logs
    from app.commands.address import KeptAddress
    from app.commands.crew import Crew, require_shared
    from app.commands.folders import require_home
    from app.commands.loop import run
    from app.commands.reached import reached
    from app.main import listen
    from app.main import serve as answer
    from app.settings import read_settings

    settings = read_settings(data=data, port=port, processes=processes)
    if settings.processes > 1:
        require_shared(settings)
    require_home(settings.home, data)
    logs.set_up(settings.log_level, settings.log_format)
    listener = listen(host, settings.port)
    with reached(settings), KeptAddress() as address:
        if settings.processes == 1:
            return run(answer(settings, listener, address.keep))
        address.note(settings.home, settings.public_url or f"http://localhost:{listener.getsockname()[1]}")
        return Crew(settings.processes, lambda ready: run(answer(settings, listener, ready))).run()
