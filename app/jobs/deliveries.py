"""How a completion enters the inbox when it was not a webhook that brought it: the reconciler's look, or a refusal in
the answer to the submission itself. All of them take the same stages from there, and say what they mean alike."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from app.catalog import outcomes
from app.catalog.outcomes import Outcome
from app.catalog.spec import Model
from app.core.ids import derived
from app.core.strict_json import storable_json
from app.jobs.model import AttemptRow
from app.ports import Answer, ListedRequest, Rejected
from app.store import inbox
from app.store.inbox import DeliveryRow, Source
from app.store.tasks import NewTask
from app.store.write import Tx

INGEST = "jobs.ingest"


def ingest_task(delivery: str, workspace: str, job: str) -> NewTask:
    return NewTask(INGEST, f"{INGEST}:{delivery}", workspace, {"job": job, "delivery": delivery})


def outcome_of(model: Model, delivery: DeliveryRow) -> tuple[Outcome, float | None]:
    """What a delivery says by itself, and the units it was billed for when it names them."""
    body = storable_json(delivery.body)
    if delivery.source is Source.WEBHOOK:
        return outcomes.from_delivery(model, body), None
    said = delivery.verdicts
    outcome = outcomes.from_answer(model, delivery.status, body, said.get("retryable"), said.get("error_type"))
    return outcome, said.get("billable_units")


def keep_look(tx: Tx, attempt: AttemptRow, request_id: str, answer: Answer) -> None:
    """The model's answer, as the reconciler found it."""
    verdicts = {"retryable": answer.retryable, "error_type": answer.error_type, "billable_units": answer.billable_units}
    _keep(tx, attempt, request_id, answer.status, answer.body, verdicts)


def keep_answer(tx: Tx, attempt: AttemptRow, rejected: Rejected) -> None:
    """A refusal in the answer to the POST. It may carry no request id: then the attempt's own id stands for it."""
    _keep(tx, attempt, rejected.request_id or attempt.id, rejected.status, rejected.body, {"refused": True})


def keep_listed(tx: Tx, attempt: AttemptRow, listed: ListedRequest) -> None:
    """A finished request as fal's list shows it, with its result."""
    _keep(tx, attempt, listed.request_id, listed.status or 0, listed.result, {"listed": True})


def _keep(tx: Tx, attempt: AttemptRow, request_id: str, status: int, body: Any, verdicts: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    delivery = {
        "id": derived("dlv", attempt.id, request_id, hashlib.sha256(raw).hexdigest()),
        "workspace": attempt.workspace,
        "job": attempt.job,
        "attempt": attempt.id,
        "source": str(Source.POLL),
        "request_id": request_id,
        "timestamp": "",
        "body_sha256": hashlib.sha256(raw).hexdigest(),
        "body": raw,
        "status": status,
        "verdicts": verdicts,
        "received_at": tx.now,
    }
    if inbox.keep(tx, delivery):
        tx.spawn(ingest_task(str(delivery["id"]), attempt.workspace, attempt.job))
