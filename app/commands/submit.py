"""`submit`: pictures from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

MOST_AT_ONCE = 100


def submit(  # options of a command line
    prompt: str | None = None,
    *,
    model: str | None = None,
    ref: list[Path] | None = None,
    n: int = 1,
    wait: Annotated[bool, Parameter(negative="--no-wait")] = True,
    out: Path | None = None,
    json: bool = False,
    data: Path | None = None,
) -> int:
    """Have pictures made, and watch.

    Ends with 0 when all jobs completed, else with 1. Ctrl-C stops the watching, not the jobs.

    Args:
        prompt: What should be seen. Models that only cut out or enlarge need none.
        model: A model's id, or a role: text_to_image, cutout, ... [default: fal-ai/flux/schnell; with --ref the role
            image_to_image]
        ref: Picture to draw from; may come several times.
        n: How many jobs, at most 100.
        wait: Watch until they have ended; --no-wait only prints their ids.
        out: Folder to save the pictures in, which means waiting for them.
        json: Print the jobs for a program.
        data: Data folder of the development instance, if DARKROOM_URL is not set. [default: .darkroom]
    """
    from app.commands.client import connect
    from app.commands.submission import Wanted, make
    from app.settings import SettingsError

    if not 1 <= n <= MOST_AT_ONCE:
        raise SettingsError(
            f"--n is between 1 and {MOST_AT_ONCE}. For more, make a run: POST /api/v1/runs, one budget and one stream."
        )
    model = model or ("image_to_image" if ref else "fal-ai/flux/schnell")
    wait = wait or out is not None
    return make(connect(data), Wanted(prompt, model, tuple(ref or ()), n, wait=wait, out=out, as_json=json))
