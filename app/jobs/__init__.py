"""The spine: one file per stage of the line, and what happens beside it. `app/README.md` has the map."""

from app.feature import Feature, Schedule
from app.jobs import api, checks, events, redrive, refusals, runs_api, stream, webhook
from app.jobs.accept import DISPATCH
from app.jobs.cancel import sweep_deadlines
from app.jobs.deliveries import INGEST
from app.jobs.dispatch import dispatch
from app.jobs.endings import SETTLE_RUN
from app.jobs.housekeeping import trim
from app.jobs.ingest import MIRROR, ingest
from app.jobs.lifecycle import JOB, RUN
from app.jobs.mirror import mirror
from app.jobs.outages import look_around
from app.jobs.parked import mourn
from app.jobs.recall import RECALL, recall
from app.jobs.reconcile import RECONCILE, reconcile
from app.jobs.runs import settle_run

FEATURE = Feature(
    name="jobs",
    operations=(
        *api.OPERATIONS,
        *runs_api.OPERATIONS,
        *stream.OPERATIONS,
        *redrive.OPERATIONS,
        *refusals.OPERATIONS,
    ),
    doors=webhook.DOORS,
    tasks={
        DISPATCH: dispatch,
        INGEST: ingest,
        MIRROR: mirror,
        RECONCILE: reconcile,
        RECALL: recall,
        SETTLE_RUN: settle_run,
    },
    parked=mourn,
    schedules=(
        Schedule("jobs.deadlines", every=5.0, handler=sweep_deadlines),
        Schedule("jobs.outages", every=30.0, handler=look_around),
        Schedule("jobs.trim", every=600.0, handler=trim),
    ),
    lifecycles=(JOB, RUN),
    checks=checks.CHECKS,
    events=events.ALL,
)
