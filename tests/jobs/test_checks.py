"""Do the checks bite? A house with a finished job, one under way and a run is copied, one thing in the copy is spoiled
by hand, and the check that is there for it must say so. Of the house itself no check says anything."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from app.adapters.disk import DiskBlobs
from app.services import Services
from app.store.database import Database, Hooks
from app.store.sqlite import SqliteEngine
from app.wiring import FEATURES
from tests.home import ORDER, Home, Waiting, home_in
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Lived:
    """A house in which something has happened, and which job is the finished one, and which is under way."""

    home: Home
    done: str
    waits: str
    run: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lived(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lived]:
    async with home_in(tmp_path_factory.mktemp("lived")) as home:
        done = await home.submitted()
        await home.send(home.letter(done))
        await home.ended(done.job)
        run = await _a_run(home)
        waits = await home.submitted()
        yield Lived(home, done.job, waits.job, run)


async def _a_run(home: Home) -> str:
    before = set(home.fal.webhooks)
    async with home.client() as web:
        answer = await web.post("/api/v1/runs", json={"name": "two", "jobs": [ORDER]})
    run = answer.json()
    (job,) = [row["id"] for row in home.rows("SELECT id FROM jobs WHERE run = ?", run["id"])]
    async with home.working():
        await until(lambda: home.job(job)["status"] == "submitted")
    (request_id,) = home.fal.webhooks.keys() - before
    (attempt,) = home.rows("SELECT id FROM attempts WHERE job = ?", job)
    await home.send(home.letter(Waiting(job, attempt["id"], request_id, home.fal.webhooks[request_id])))
    await home.ended(job)
    return str(run["id"])


@dataclass(frozen=True)
class Copy:
    lived: Lived
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / self.lived.home.file.name

    def run(self, script: str) -> None:
        names = {"done": self.lived.done, "waits": self.lived.waits, "run": self.lived.run}
        with closing(sqlite3.connect(self.file)) as connection:
            connection.executescript(script.format(**{name: f"'{value}'" for name, value in names.items()}))

    def picture(self, column: str) -> Path:
        with closing(sqlite3.connect(self.file)) as connection:
            query = f"SELECT {column} FROM assets WHERE job = ?"
            (key,) = connection.execute(query, (self.lived.done,)).fetchone()
        return self.folder / "blobs" / str(key)

    async def complaints(self) -> dict[str, list[str]]:
        """The names of the checks that find something, and what they say."""
        services = self.lived.home.services
        hooks = Hooks(services.clock.now, services.ids.new)
        db = Database(SqliteEngine(self.file, hooks), hooks)
        blobs = DiskBlobs(self.folder / "blobs", b"secret", services.clock.now)
        mine: Services = replace(services, db=db, blobs=blobs)
        await db.open()
        try:
            found = {check.name: await check.find(mine) for feature in FEATURES for check in feature.checks}
        finally:
            await db.close()
        return {name: list(each.violations) for name, each in found.items() if each.violations}


@pytest.fixture
def copy(lived: Lived, tmp_path: Path) -> Copy:
    source = lived.home.file
    shutil.copytree(lived.home.life.wired.settings.files, tmp_path / "blobs")
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(tmp_path / source.name)) as other:
        one.backup(other)
    return Copy(lived, tmp_path)


async def test_of_a_house_in_order_no_check_says_anything(lived: Lived, copy: Copy) -> None:
    assert await copy.complaints() == {}
    for feature in FEATURES:
        for check in feature.checks:
            found = await check.find(lived.home.services)
            assert (found.violations, found.looked > 0) == ([], True), f"{check.name} looked at {found.looked}"


_HOLD = "(SELECT hold FROM jobs WHERE id = {done})"
_FINAL = f"(SELECT id FROM transfers WHERE hold = {_HOLD} AND kind = 'post')"
_ANOTHER = "INSERT INTO transfers (id, workspace, kind, hold, reason, created_at) SELECT"
_TWICE = (
    f"DROP INDEX uq_transfers_final; {_ANOTHER} 'again', workspace, 'void', hold, '', created_at FROM transfers "
    "WHERE id = "
)
_SECOND_ATTEMPT = (
    "CREATE TEMP TABLE second AS SELECT * FROM attempts WHERE job = {done}; "
    "UPDATE second SET id = 'second', number = 2, request_id = NULL; INSERT INTO attempts SELECT * FROM second; "
    "UPDATE jobs SET attempt = 2 WHERE id = {done}"
)
_EVENT = "WHERE job = {done} AND type = 'job.submitted'"
_HELD_FOR_NOBODY = (
    "INSERT INTO transfers (id, workspace, kind, hold, owner, reason, created_at) SELECT 'stray', workspace, kind, "
    f"'stray', 'job_nobody', '', created_at FROM transfers WHERE id = {_HOLD}; "
    "INSERT INTO entries (transfer, account, ledger, workspace, amount) SELECT 'stray', account, ledger, workspace, "
    f"amount FROM entries WHERE transfer = {_HOLD}; UPDATE balances SET (available, held) = "
    "(SELECT available - credits_held, held + credits_held FROM jobs WHERE id = {done}) "
    "WHERE workspace = (SELECT workspace FROM jobs WHERE id = {done})"
)
_LATE = "UPDATE jobs SET deadline_at = '2020-01-01 00:00:00.000000' WHERE id = {waits}"
_STORES = "UPDATE jobs SET status = 'storing' WHERE id = {waits}"
_TRIMMED = (
    "UPDATE counters SET trimmed = (SELECT max(seq) FROM events WHERE job = {done}) "
    "WHERE workspace = (SELECT workspace FROM jobs WHERE id = {done}); "
    "DELETE FROM events WHERE EXISTS (SELECT 1 FROM counters c WHERE c.workspace = events.workspace "
    "AND events.seq <= c.trimmed)"
)

SPOILED = {
    "a balance is changed": ("balances", "UPDATE balances SET available = available + 1"),
    "a balance is gone": ("balances", "DELETE FROM balances"),
    "an entry is gone": ("transfers", f"DELETE FROM entries WHERE transfer = {_FINAL} AND account = 'held'"),
    "an entry is changed": ("transfers", f"UPDATE entries SET amount = amount + 1 WHERE transfer = {_FINAL}"),
    "all entries of a hold are gone": ("transfers", f"DELETE FROM entries WHERE transfer = {_HOLD}"),
    "a hold ended twice": (
        "holds",
        _TWICE + _FINAL,
    ),
    "an end without a hold": ("holds", f"DELETE FROM transfers WHERE id = {_HOLD}"),
    "a hold gave back another amount than it took": (
        "holds",
        f"UPDATE entries SET amount = amount + CASE account WHEN 'held' THEN 1 ELSE -1 END WHERE transfer = {_HOLD}",
    ),
    "a completed job's hold is void": ("jobs and holds", f"UPDATE transfers SET kind = 'void' WHERE id = {_FINAL}"),
    "an unfinished job's hold has ended": (
        "jobs and holds",
        _ANOTHER + " 'early', workspace, 'void', hold, '', created_at FROM jobs WHERE id = {waits}",
    ),
    "a hold for a job that does not exist": ("holds and owners", _HELD_FOR_NOBODY),
    "a hold that its job does not know of": ("holds and owners", "UPDATE jobs SET hold = NULL WHERE id = {waits}"),
    "a hold that was never taken": ("jobs and holds", "UPDATE jobs SET hold = 'hold_of_nobody' WHERE id = {waits}"),
    "a job says it was charged another amount": ("amounts", "UPDATE jobs SET credits_posted = 77 WHERE id = {done}"),
    "a job says it holds another amount": ("amounts", "UPDATE jobs SET credits_held = 77 WHERE id = {waits}"),
    "a run says it holds another amount": (
        "amounts",
        f"UPDATE runs SET credits_held = 77, hold = {_HOLD} WHERE id = {{run}}",
    ),
    "all costs are gone": (
        "costs",
        "DELETE FROM entries WHERE ledger = 'micro_usd'; DELETE FROM transfers WHERE kind = 'cost'",
    ),
    "a cost is another than its attempt's": (
        "costs",
        "UPDATE entries SET amount = 2 * amount WHERE ledger = 'micro_usd'",
    ),
    "a cost of nobody's": ("costs", "UPDATE transfers SET owner = 'job_nobody' WHERE kind = 'cost'"),
    "a job goes on past its deadline": ("deadlines", _LATE),
    "a job is stored for longer than fal keeps its files": (
        "deadlines",
        _STORES + "; UPDATE attempts SET ended_at = '2020-01-01 00:00:00.000000' WHERE job = {waits}",
    ),
    "a completed job's hold is still open": ("jobs and holds", f"DELETE FROM transfers WHERE id = {_FINAL}"),
    "a job without a task": (
        "jobs and tasks",
        "DELETE FROM tasks WHERE state <> 'done' AND json_extract(payload, '$.job') = {waits}",
    ),
    "a job whose task is set aside": (
        "jobs and tasks",
        "UPDATE tasks SET state = 'parked' WHERE state <> 'done' AND json_extract(payload, '$.job') = {waits}",
    ),
    "an attempt is missing": ("attempts", "DELETE FROM attempts WHERE job = {done}"),
    "an attempt has the wrong number": ("attempts", "UPDATE attempts SET number = 2 WHERE job = {done}"),
    "an earlier attempt has no outcome": (
        "attempts",
        f"{_SECOND_ATTEMPT}; UPDATE attempts SET outcome = NULL WHERE job = {{done}} AND number = 1",
    ),
    "an attempt that was turned away is not counted": (
        "turned away",
        "UPDATE jobs SET turned_away = 1 WHERE id = {done}",
    ),
    "a completed job has no picture": ("jobs and pictures", "DELETE FROM assets WHERE job = {done}"),
    "an unfinished job has a picture": ("jobs and pictures", "UPDATE assets SET job = {waits} WHERE job = {done}"),
    "a run is miscounted": ("runs", "UPDATE runs SET completed = completed - 1, failed = failed + 1 WHERE id = {run}"),
    "a run counts a slot it has not": ("runs", "UPDATE runs SET total = total + 1 WHERE id = {run}"),
    "a run is complete too soon": (
        "runs settled",
        "UPDATE runs SET status = 'completed', completed = completed - 1 WHERE id = {run}",
    ),
    "a run that is over seems live": ("runs settled", "UPDATE runs SET status = 'running' WHERE id = {run}"),
    "a completed run's hold is open": (
        "runs settled",
        "UPDATE runs SET hold = 'hold_of_nobody', policy = 'all_or_nothing' WHERE id = {run}",
    ),
    "an event is missing": ("events", f"DELETE FROM events {_EVENT}"),
    "the newest event is missing": ("events", "UPDATE counters SET seq = seq + 1"),
    "an event tells another story": ("histories", f"UPDATE events SET type = 'job.completed' {_EVENT}"),
    "a state nobody told of": ("histories", "UPDATE jobs SET status = 'running' WHERE id = {waits}"),
    "a job began twice": ("histories", f"UPDATE events SET type = 'job.queued' {_EVENT}"),
    "events of a job that is not there": ("histories", "UPDATE events SET job = 'job_nobody' WHERE job = {waits}"),
    "a run's event tells another story": (
        "histories",
        "UPDATE events SET type = 'run.cancelled' WHERE run = {run} AND type = 'run.completed'",
    ),
    "a run's state nobody told of": ("histories", "UPDATE runs SET status = 'cancelled' WHERE id = {run}"),
    "another job's events were trimmed": (
        "histories",
        f"{_TRIMMED}; UPDATE jobs SET status = 'running' WHERE id = {{waits}}",
    ),
    "what is left of a trimmed job tells another story": (
        "histories",
        _TRIMMED.replace("max(seq)", "max(seq) - 1") + "; UPDATE events SET type = 'job.failed' WHERE job = {done}",
    ),
    "a delivery came to nothing": ("deliveries", "UPDATE deliveries SET effect = NULL WHERE job = {done}"),
}


@pytest.mark.parametrize(("check", "script"), SPOILED.values(), ids=SPOILED)
async def test_a_spoiled_table_is_noticed(copy: Copy, check: str, script: str) -> None:
    copy.run(script)

    assert check in await copy.complaints()


SPOILT_FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "is missing": ("key", Path.unlink),
    "is not what the row says": ("key", lambda path: path.write_bytes(b"\0" + path.read_bytes()[1:])),
    "thumbnail is missing": ("thumbnail_key", Path.unlink),
}


@pytest.mark.parametrize("says", SPOILT_FILES)
async def test_a_spoiled_picture_is_noticed(copy: Copy, says: str) -> None:
    column, spoil = SPOILT_FILES[says]
    spoil(copy.picture(column))

    (complaint,) = (await copy.complaints())["objects"]
    assert says in complaint


async def test_an_old_object_that_no_row_knows_of_is_noticed(copy: Copy) -> None:
    _orphan(copy, days=10)

    (complaint,) = (await copy.complaints())["objects"]
    assert "w/ws/asset_gone/0.png" in complaint


async def test_a_young_object_may_still_get_its_row(copy: Copy) -> None:
    _orphan(copy, days=1.5)

    assert await copy.complaints() == {}


async def test_what_nobody_has_looked_at_since_is_no_fault_yet(copy: Copy) -> None:
    """The service stood still, or this is a backup of long ago: sweeping comes with the next start."""
    _orphan(copy, days=10)
    for schedule in ("assets.orphans", "jobs.deadlines"):
        copy.run(
            "INSERT INTO tasks (id, kind, key, workspace, payload, state, lane, due_at, tries, deaths, fence, "
            f"created_at) VALUES ('{schedule}', 'schedule.{schedule}', 'schedule:{schedule}', 'system', "
            "'{{}}', 'ready', 1, '2019-01-01 00:00:00.000000', 0, 0, 0, '2019-01-01 00:00:00.000000')"
        )
    copy.run(_LATE)

    assert await copy.complaints() == {}


async def test_what_only_has_to_be_stored_may_take_longer(copy: Copy) -> None:
    copy.run(f"{_LATE}; {_STORES}; UPDATE attempts SET ended_at = created_at WHERE job = {{waits}}")

    assert "deadlines" not in await copy.complaints()


async def test_the_hold_that_is_stuck_is_named(copy: Copy) -> None:
    """As `deploy/OPERATIONS.md` says: whoever is told that credits are held looks here for which."""
    copy.run(_LATE + "; DELETE FROM transfers WHERE kind = 'post'; " + _HELD_FOR_NOBODY)
    said = await copy.complaints()

    holds = {row["id"]: row["hold"] for row in copy.lived.home.rows("SELECT id, hold FROM jobs")}
    assert any(holds[copy.lived.waits] in line for line in said["deadlines"])
    assert any(holds[copy.lived.done] in line for line in said["jobs and holds"])
    assert any("stray" in line and "job_nobody" in line for line in said["holds and owners"])


async def test_a_job_of_a_paused_run_may_wait_past_its_deadline(copy: Copy) -> None:
    copy.run(
        _LATE + "; UPDATE jobs SET status = 'queued', run = {run} WHERE id = {waits}; "
        "UPDATE runs SET status = 'paused' WHERE id = {run}"
    )

    assert "deadlines" not in await copy.complaints()


async def test_a_job_whose_events_were_trimmed_is_no_fault(copy: Copy) -> None:
    copy.run(_TRIMMED)

    assert await copy.complaints() == {}


def _orphan(copy: Copy, days: float) -> None:
    path = copy.folder / "blobs" / "w" / "ws" / "asset_gone" / "0.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"picture")
    then = time.time() - days * 86400
    os.utime(path, (then, then))


async def test_every_check_has_been_seen_to_bite() -> None:
    bitten = {check for check, _ in SPOILED.values()} | {"objects", "purchases"}  # see test_restored.py
    assert bitten >= {check.name for feature in FEATURES for check in feature.checks}
