"""`jobs`: a list."""

from __future__ import annotations

from pathlib import Path


def jobs(
    *,
    status: list[str] | None = None,
    text: str | None = None,
    limit: int = 20,
    json: bool = False,
    data: Path | None = None,
) -> int:
    """List jobs, newest first.

    Args:
        status: Only those that are queued, running, completed, failed ...; may come several times.
        text: Only those with this in their input.
        limit: How many, at most 100.
        json: Print them for a program.
        data: Data folder of the development instance, if DARKROOM_URL is not set. [default: .darkroom]
    """
    import json as encoding

    from app.commands.client import connect
    from app.settings import SettingsError

    if not 1 <= limit <= 100:
        raise SettingsError("--limit is between 1 and 100.")
    found = connect(data).get("/api/v1/jobs", status=status, text=text, limit=limit)["data"]
    if json:
        print(encoding.dumps(found, indent=1))
        return 0
    for job in found:
        made = job["created_at"][:16].replace("T", " ")
        print(f"{job['id']}  {job['status']:<10}  {made}  {job['model']}  {str(job['input'].get('prompt', ''))[:60]}")
    return 0
