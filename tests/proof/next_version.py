"""The next version of the program, made from a copy of this one: a migration that adds a column and a table, a task
kind and an event, none of which the present version has ever heard of.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from app.store.schema import newest
from tests.running import ROOT

REVISION = "9999_admiration"
KIND = "jobs.admire"

_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "9999_admiration"
down_revision = "{newest}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("admired", sa.Integer(), nullable=True))
    op.create_table("admirers", sa.Column("job", sa.String(), primary_key=True), sa.Column("at", sa.DateTime(True)))


def downgrade() -> None:
    op.drop_table("admirers")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("admired")
"""

_FEATURE = """
from datetime import datetime
from typing import ClassVar

from sqlalchemy import insert, update
from sqlmodel import Field

from app.core.events import Event, Topic
from app.jobs.model import JobRow
from app.store.columns import Row, table


class AdmirerRow(Row, table=True):
    __tablename__ = "admirers"

    job: str = Field(primary_key=True)
    at: datetime


class JobAdmired(Event):
    type: ClassVar[str] = "job.admired"


async def admire(services, task):
    job = task.payload["job"]

    def admired(tx):
        tx.execute(update(table(JobRow)).where(table(JobRow).c.id == job).values(admired=1))
        tx.execute(insert(table(AdmirerRow)), {"job": job, "at": tx.now})
        tx.record(JobAdmired(), Topic(task.workspace, job=job))
        tx.finish(task)

    await services.db.write(admired)
"""

_CHANGES = {
    "app/jobs/model.py": {
        "    outputs: ": "    admired: int | None = None\n    outputs: ",
    },
    "app/jobs/mirror.py": {
        "        for row in kept:\n            insert_asset(tx, row)\n": (
            "        for row in kept:\n            insert_asset(tx, row)\n"
            "        tx.spawn(NewTask('jobs.admire', f'jobs.admire:{job.id}', job.workspace, {'job': job.id},"
            " tx.now + timedelta(seconds=1)))\n"
        ),
        "from app.store.tasks import Task\n": "from app.store.tasks import NewTask, Task\n",
        "from pathlib import Path\n": "from datetime import timedelta\nfrom pathlib import Path\n",
    },
    "app/jobs/__init__.py": {
        "from app.jobs.accept import": "from app.jobs.admire import JobAdmired, admire\nfrom app.jobs.accept import",
        "        MIRROR: mirror,\n": "        MIRROR: mirror,\n        'jobs.admire': admire,\n",
        "    events=events.ALL,": "    events=(*events.ALL, JobAdmired),",
    },
}


def next_version(folder: Path) -> Path:
    """The root of its tree."""
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in _CHANGES.items():
        file = folder / name
        text = file.read_text()
        for old, new in changes.items():
            assert text.count(old) == 1, f"{name} has changed: the next version has to be made another way: {old}"
            text = text.replace(old, new)
        file.write_text(text)
    (folder / "app/jobs/admire.py").write_text(_FEATURE)
    (folder / f"app/store/migrations/versions/{REVISION}.py").write_text(_MIGRATION.format(newest=newest()))
    return folder
