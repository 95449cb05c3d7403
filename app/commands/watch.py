"""`watch`: the event log as it grows."""

from __future__ import annotations

from pathlib import Path


def watch(what: str | None = None, *, after: int | None = None, json: bool = False, data: Path | None = None) -> int:
    """Follow what happens, as it happens.

    Ends when the job or run has ended, else with Ctrl-C.

    Args:
        what: The id of a job or a run. [default: everything in the workspace]
        after: Begin after the event of this number. [default: with what happens next]
        json: Print each event as a line of JSON.
        data: Data folder of the development instance, if DARKROOM_URL is not set. [default: .darkroom]
    """
    import json as encoding
    import sys

    from app.commands.client import connect
    from app.core.ids import is_id
    from app.settings import SettingsError

    if what is not None and not (is_id("job", what) or is_id("run", what)):
        raise SettingsError(f"{what[:40]!r}: that is no id of a job or run.")
    if after is not None and after < 0:
        raise SettingsError("--after is the number of an event, 0 or more.")
    kind = (what or "").partition("_")[0]
    path = {"job": f"/api/v1/jobs/{what}/stream", "run": f"/api/v1/runs/{what}/stream"}.get(kind, "/api/v1/events")
    if kind and after is None:
        after = 0
    client = connect(data)
    if not kind:
        begins = "what happens next" if after is None else f"what happened after event {after}"
        print(f"Shows {begins} in the workspace, as it happens. Ctrl-C ends it.", file=sys.stderr, flush=True)
    for event in client.follow(path, after):
        if json:
            print(encoding.dumps(event), flush=True)
        else:
            about = event.get("job") or event.get("run") or ""
            facts = "  ".join(
                f"{name.replace('_', ' ')}: {_said(value)}"
                for name, value in event.get("data", {}).items()
                if value is not None
            )
            print(f"{event.get('time', '')[11:19]} UTC  {event.get('type', ''):<16}  {about}  {facts}", flush=True)
        if kind and event.get(kind) == what and event.get("type", "").partition(".")[2] in _ENDINGS:
            return 0
    return 0


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


_ENDINGS = {"completed", "failed", "cancelled"}
