"""What `submit` does: sends the jobs, follows them on one stream, and shows a line for each."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from app.commands.client import Client
from app.commands.folders import require_folder
from app.settings import SettingsError

ENDINGS = {"completed", "failed", "cancelled"}
STEPS = {"queued": 0, "submitting": 5, "submitted": 10, "running": 20, "storing": 90}
"""How far a bar is in each state; what the service says of its progress fills the room between."""


@dataclass(frozen=True)
class Wanted:
    prompt: str | None
    model: str
    references: tuple[Path, ...]
    n: int
    wait: bool
    out: Path | None
    as_json: bool


def make(client: Client, wanted: Wanted) -> int:
    """The exit code: 0 when every job completed, or was only to be sent."""
    if wanted.out is not None:
        require_folder(wanted.out, option="--out")
    body: dict[str, Any] = {"model": wanted.model, "input": {"prompt": wanted.prompt} if wanted.prompt else {}}
    if wanted.references:
        body["reference_images"] = client.upload(list(wanted.references))
    # Read before the others are sent: the event it is current to comes before all of theirs.
    first = client.get(f"/api/v1/jobs/{client.post('/api/v1/jobs', body)['id']}")
    jobs = [first, *(client.post("/api/v1/jobs", body) for _ in range(wanted.n - 1))]
    if wanted.wait:
        try:
            jobs = _watched(client, jobs, after=first["seq"])
        except KeyboardInterrupt:
            ids = " ".join(job["id"] for job in jobs)
            raise SettingsError(f"\nNo longer watching; the jobs go on: {ids}") from None
    _tell(jobs, wanted)
    for job in jobs:
        _save(client, job, wanted)
    return 0 if not wanted.wait or all(job["status"] == "completed" for job in jobs) else 1


def _watched(client: Client, jobs: list[dict[str, Any]], after: int) -> list[dict[str, Any]]:
    """The jobs as they are when all have ended."""
    waiting = {job["id"] for job in jobs if job["status"] not in ENDINGS}
    with _bars(jobs) as bars:
        for event in client.follow("/api/v1/events", after) if waiting else ():
            if event.get("job") not in waiting or not event["type"].startswith("job."):
                continue
            word = bars.show(event)
            if word in ENDINGS:
                waiting.discard(event["job"])
            if not waiting:
                break
        return [client.get(f"/api/v1/jobs/{job['id']}") for job in jobs]


@dataclass
class _Bars:
    """A bar for each job on a terminal, a line for each change elsewhere."""

    console: Console
    progress: Progress
    lines: dict[str, TaskID] = field(default_factory=dict)

    def show(self, event: dict[str, Any]) -> str:
        """The state that this event leads to, or what it is about."""
        job, data = event["job"], event["data"]
        word = _word(event["type"])
        if event["type"] == "job.progress":
            self.progress.update(self.lines[job], completed=20 + 0.7 * (data.get("percent") or 0), doing=_doing(data))
            return word
        done = 100 if word in ENDINGS else STEPS.get(word, 0)
        detail = data.get("detail") or ""
        self.progress.update(self.lines[job], completed=done, doing=f"{word}  {detail}".strip())
        if not self.console.is_terminal:
            self.console.print(f"{job} {word} {detail}".strip(), highlight=False, soft_wrap=True)
        return word


def _word(type_: str) -> str:
    word = type_.partition(".")[2]
    return {"started": "running", "generated": "storing", "retrying": "queued"}.get(word, word)


def _doing(data: dict[str, Any]) -> str:
    if data.get("queue_position") is not None:
        return f"place {data['queue_position'] + 1} in the queue"
    about = "about " if data.get("estimated") else ""
    eta = f", {about}{data['eta_seconds']} s more" if data.get("eta_seconds") is not None else ""
    return f"{data.get('log') or 'running'}{eta}"


@contextmanager
def _bars(jobs: list[dict[str, Any]]) -> Iterator[_Bars]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[doing]}"))
    progress = Progress(*columns, console=console, disable=not console.is_terminal)
    bars = _Bars(console, progress)
    with progress:
        for job in jobs:
            bars.lines[job["id"]] = progress.add_task(job["id"], total=100, doing=job["status"])
        yield bars


def _tell(jobs: list[dict[str, Any]], wanted: Wanted) -> None:
    if wanted.as_json:
        json.dump(jobs, sys.stdout, indent=1)
        print()
        return
    for job in jobs:
        why = f"  {job['error'].get('detail', '')}" if job.get("error") else ""
        print(f"{job['id']}  {job['status']}{why}" if wanted.wait else job["id"])
        for asset in job["assets"] if wanted.out is None else ():
            print(f"  {asset['url']}")


def _save(client: Client, job: dict[str, Any], wanted: Wanted) -> None:
    if wanted.out is None:
        return
    for number, asset in enumerate(job["assets"]):
        file = wanted.out / f"{job['id']}-{number}.{asset['content_type'].rpartition('/')[2].replace('jpeg', 'jpg')}"
        client.save(asset["url"], file)
        print(f"  {file}", file=sys.stderr if wanted.as_json else sys.stdout)
