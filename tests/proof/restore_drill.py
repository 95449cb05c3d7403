"""T26: a backup taken while everything is written to, the installation wiped, the backup restored in a new place. What
comes back holds every promise and goes on; what was accepted since is lost, and that time is measured; what was bought
since is found again or named, and not bought twice.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import URL, create_engine, text

from tests.contracts.postgres import cluster
from tests.inside import newcomer
from tests.proof.both_sides import Quiet, attempt_named, examine, posts_of
from tests.proof.customers import customers, request
from tests.proof.scoreboard import Effort, Score
from tests.running import ROOT, Service, running, settings_from
from tests.waiting import until_blocking

SPEED = 60.0
_SOON = timedelta(seconds=3)
"""So long the backup may take to look at the database."""
_LOST = re.compile(r"\d+ paid POSTs belong to no attempt: (att_\w+)")
"""What the other side has to say of purchases whose jobs are lost."""


def prove_restore_drill(effort: Effort, folder: Path) -> Iterator[Score]:
    jobs = effort.of(40, 1_000)
    yield _drill("SQLite", folder / "sqlite", jobs, None, None)
    with cluster() as server:
        yield _drill("PostgreSQL", folder / "postgresql", jobs, _new(server.url, "before"), _new(server.url, "after"))


def _drill(name: str, folder: Path, jobs: int, old: URL | None, new: URL | None) -> Score:
    database = old.render_as_string(hide_password=False) if old else None
    with running(folder, speed=SPEED, database=database) as service:
        assert service.settings
        service.key = newcomer(service.settings, 2 * jobs)
        with customers(service, jobs=jobs, over=max(5.0, jobs / 50)) as book:
            until_blocking(lambda: len(book.acknowledged) >= jobs // 3, within=60 + jobs)
            later = _orders(service, 3, not_before=(datetime.now(UTC) + _SOON).isoformat())
            before, began = {*later, *book.acknowledged.values()}, time.time()
            _script("backup", folder / "backup", service)
            took = time.time() - began
            until_blocking(lambda: _statuses(service, later) == {"completed"}, within=120)
            newest = time.time()
            service.kill()
            book.enough.set()
        shutil.rmtree(service.settings.data)
        since = set(book.acknowledged.values()) - before
        _move(service, folder / "elsewhere", new)
        told = _script("restore", folder / "backup", service)
        wrong = _refuses(service, folder / "backup")
        service.start()
        _until_done(service)
        verdict = examine(service)
        lost = {found[1] for violation in verdict.wrong if (found := _LOST.match(violation))}
        wrong += [violation for violation in verdict.wrong if not _LOST.match(violation)]
        wrong += [f"bought, lost and not named: {each}" for each in _unnamed(service, lost)]
        wrong += [f"of before the backup, and gone: {job}" for job in _gone(service, before)]
        after = _orders(service, 3)
        _until_done(service)
        if _statuses(service, [*later, *after]) != {"completed"}:
            wrong.append("it does not go on")
        counts = {
            "jobs kept": len(before) + len(since - _gone(service, since)),
            "jobs lost with the time since": len(_gone(service, since)),
            "bought for those and named": len(lost),
            "bought since and found again": len(later),
            "loss window s": round(newest - began, 1),
            "backup took s": round(took, 1),
        }
        if "waiting jobs" not in told:
            wrong.append(f"nothing was said of what waited: {told}")
        return Score("T26", f"restore drill, {name}", counts, wrong)


def _until_done(service: Service) -> None:
    """Though fal still has things to say about what is lost."""
    assert service.settings
    with Quiet(service.settings) as quiet:
        until_blocking(quiet.all_done, within=300)


def _script(name: str, folder: Path, service: Service, *, expect: int = 0) -> str:
    """`deploy/backup` or `deploy/restore`, in the service's own surroundings; all that it said."""
    path = f"{Path(sys.executable).parent}:{service.environment['PATH']}"
    done = subprocess.run(
        [ROOT / "deploy" / name, folder],
        env={**service.environment, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == expect, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def _move(service: Service, folder: Path, database: URL | None) -> None:
    """It keeps its address, so that fal still finds it."""
    place = {"DARKROOM_DATA": str(folder)}
    if database is not None:
        place["DARKROOM_DATABASE_URL"] = database.render_as_string(hide_password=False)
    service.environment = {**service.environment, **place}
    service.settings = settings_from(service.environment)


def _refuses(service: Service, backup: Path) -> list[str]:
    """A place where something is already is left alone."""
    said = _script("restore", backup, service, expect=1)
    return [] if "not empty" in said or "already" in said else [f"restoring twice was not refused in words: {said}"]


def _orders(service: Service, number: int, **more: str) -> list[str]:
    with service.client() as client:
        answers = [client.post("/api/v1/jobs", json=request(f"a lock {n}") | more) for n in range(number)]
    return [answer.json()["id"] for answer in answers]


def _statuses(service: Service, jobs: Sequence[str]) -> set[str]:
    with service.client() as client:
        return {client.get(f"/api/v1/jobs/{job}").json()["status"] for job in jobs}


def _gone(service: Service, jobs: set[str]) -> set[str]:
    with service.client() as client:
        return {job for job in jobs if client.get(f"/api/v1/jobs/{job}").status_code == 404}


def _unnamed(service: Service, lost: set[str]) -> set[str]:
    """Purchases that `darkroom verify` does not mention, neither by our name for them nor by fal's."""
    assert service.sandbox
    done = subprocess.run(
        [sys.executable, "-m", "app", "verify", "--json"],
        cwd=ROOT,
        env=dict(service.environment),
        capture_output=True,
        text=True,
        check=True,
    )
    notes = " ".join(note for check in json.loads(done.stdout)["checks"] for note in check["notes"])
    fals = {attempt_named(post): post["request_id"] for post in posts_of(service.sandbox, service.base_url)}
    return {attempt for attempt in lost if attempt not in notes and fals[attempt] not in notes}


def _new(server: URL, name: str) -> URL:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.set(database=name)
