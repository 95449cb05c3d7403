"""Stage 3 of the line: the door where fal tells us of completions. Cheapest check first; nothing is believed before it
is proved; 200 only after the delivery is on disk.

Two proofs are needed: our tag in the path ("we asked for this") and fal's signature with our fal user's id ("fal says
this about our account"). What is genuine but stale is not used: it wakes the reconciler, which looks for itself.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from app.core.errors import Malformed, Problem, TooLarge, Unavailable
from app.core.ids import derived, is_id
from app.core.signatures import signed_by, webhook_message
from app.core.strict_json import strict_json
from app.jobs.deliveries import ingest_task
from app.jobs.keyring import pinned_user, signing_keys
from app.jobs.model import AttemptRow, PinRow
from app.jobs.reconcile import hear_webhook, look_now
from app.jobs.refusals import keep_refusal, keep_unknown
from app.services import Services
from app.store import inbox
from app.store.columns import insert_if_new, table
from app.store.inbox import Source
from app.store.prepared import Prepared
from app.store.write import Tx
from app.web.operation import Answer, Door, Knock

WEBHOOK = "jobs.webhook"
PATH = "/api/webhooks/fal"

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_HEADERS = {
    "request_id": (b"x-fal-webhook-request-id", re.compile(_REQUEST_ID.pattern.encode())),
    "user_id": (b"x-fal-webhook-user-id", re.compile(rb"[\x21-\x7e]{1,200}")),
    "timestamp": (b"x-fal-webhook-timestamp", re.compile(rb"[0-9]{1,12}")),
    "signature": (b"x-fal-webhook-signature", re.compile(rb"[0-9a-fA-F]{128}")),
}
_TAG = re.compile(r"[A-Za-z0-9]{1,16}\.[0-9a-f]{32}")

_A = table(AttemptRow)
_WHOSE = Prepared(select(_A.c.workspace, _A.c.job).where(_A.c.id == bindparam("the_id")))
_OF_ANOTHER = Prepared(select(_A.c.id).where(_A.c.request_id == bindparam("r"), _A.c.id != bindparam("the_id")))
_P = table(PinRow)
_PIN = insert_if_new(PinRow)
_PINNED = select(_P.c.user).where(_P.c.origin == bindparam("o"))


class Refused(Exception):
    """Turned away: the status fal gets, one word for the metric, and a sentence for whoever looks."""

    def __init__(self, status: int, verdict: str, detail: str = "") -> None:
        super().__init__(detail or verdict)
        self.status = status
        self.verdict = verdict


@dataclass(frozen=True)
class Call:
    """The four headers of a webhook, in the strict form."""

    request_id: str
    user_id: str
    timestamp: str
    signature: bytes


async def fal_webhook(services: Services, knock: Knock) -> Answer:
    """Take in one completion. See the module's head for the rules."""
    attempt = knock.path["attempt"]
    try:
        with services.metrics.timed("stage_seconds", stage=WEBHOOK):
            verdict = await _take_in(services, knock, attempt)
    except Refused as refused:
        services.metrics.count("webhooks_total", verdict=refused.verdict)
        await keep_refusal(services, attempt, refused.verdict, str(refused))
        return Answer(refused.status, refused.verdict.encode())
    except Problem as problem:  # the database or fal's keys are away, or the body is slow: fal is to come again
        services.metrics.count("webhooks_total", verdict=problem.slug)
        raise
    services.metrics.count("webhooks_total", verdict=verdict)
    return Answer(200, verdict.encode())


async def _take_in(services: Services, knock: Knock, attempt: str) -> str:
    _check_length(knock, services.rules.webhook_max_bytes)
    call = _headers(knock)
    if not is_id("att", attempt) or not _TAG.fullmatch(knock.path["tag"]):
        raise Refused(404, "not-ours", "The path is not one we gave out.")
    if not services.tags.verify(attempt, knock.path["tag"]):
        raise Refused(404, "mis-tagged", "The tag in the path is not ours.")
    user = await pinned_user(services)
    if user is not None and call.user_id != user:
        raise Refused(403, "stranger", "Another fal account's delivery.")
    fresh = abs(services.clock.now().timestamp() - int(call.timestamp)) <= services.rules.webhook_max_age
    body = await _body(knock, services.rules.webhook_max_bytes)
    await _prove(services, call, body)
    if not fresh:
        if not await services.db.write(lambda tx: look_now(tx, attempt)):
            raise await _unknown(services, attempt, call.request_id)
        return "stale"
    request_id = _about(body, call)
    pin = services.provider_origin if user is None else None
    verdict = await services.db.write(lambda tx: _keep(tx, attempt, request_id, call, body, pin=pin))
    if verdict is None:
        raise await _unknown(services, attempt, request_id)
    hear_webhook(services)
    return verdict


def _check_length(knock: Knock, most: int) -> None:
    lengths = [value for name, value in knock.headers if name == b"content-length"]
    if len(lengths) > 1 or any(not re.fullmatch(rb"[0-9]{1,12}", length) for length in lengths):
        raise Refused(400, "malformed", "The length is unclear.")
    if lengths and int(lengths[0]) > most:
        raise Refused(413, "too-large", f"More than {most} bytes.")


def _headers(knock: Knock) -> Call:
    found: dict[str, str] = {}
    for field, (name, shape) in _HEADERS.items():
        values = [value for header, value in knock.headers if header == name]
        if len(values) != 1 or not shape.fullmatch(values[0]):
            raise Refused(400, "malformed", f"{name.decode()} is missing, repeated or of another form.")
        found[field] = values[0].decode("ascii")
    return Call(found["request_id"], found["user_id"], found["timestamp"], bytes.fromhex(found["signature"]))


async def _body(knock: Knock, most: int) -> bytes:
    try:
        return await knock.read(most)
    except TooLarge as error:
        raise Refused(413, "too-large", error.detail) from error


async def _prove(services: Services, call: Call, body: bytes) -> None:
    """Try the keys we have, then, at most once a minute, those fal has by now."""
    message = webhook_message(call.request_id, call.user_id, call.timestamp, body)
    keys = await signing_keys(services)
    key = signed_by(message, call.signature, keys)
    if key is None:
        newer = [k for k in await signing_keys(services, again=True) if k not in keys]
        key = signed_by(message, call.signature, newer)
    if key is None:
        if not services.standing.keys:
            raise Unavailable("fal's signing keys cannot be had at the moment.", headers={"Retry-After": "60"})
        raise Refused(401, "forged", "No key of fal's made this signature.")
    services.standing.keys = [key, *(k for k in services.standing.keys if k != key)]


def _about(body: bytes, call: Call) -> str:
    """The request that the body is about. After a repeat inside fal the header may name the gateway's own request; the
    body, which is signed as well, then names both (`fal.md` 2.3)."""
    try:
        data = strict_json(body)
    except Malformed as error:
        raise Refused(400, "unreadable", error.detail) from error
    request_id = data.get("request_id") if isinstance(data, dict) else None
    if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
        raise Refused(400, "unreadable", "The body does not say what it is about.")
    if call.request_id not in (request_id, data.get("gateway_request_id")):
        raise Refused(400, "unreadable", "The body is not about the request that the header names.")
    return request_id


async def _unknown(services: Services, attempt: str, request_id: str) -> Unavailable:
    """We made this tag, so a restore lost the attempt: fal is to come again, since its job may be sent anew under the
    same id, and `verify` says meanwhile what was bought."""
    await keep_unknown(services, attempt, request_id)
    return Unavailable("The attempt is not known here.", headers={"Retry-After": "60"})


def _keep(tx: Tx, attempt: str, request_id: str, call: Call, body: bytes, *, pin: str | None) -> str | None:
    """None when there is no such attempt."""
    whose = tx.execute(_WHOSE, {"the_id": attempt}).one_or_none()
    if whose is None:
        return None
    if tx.execute(_OF_ANOTHER, {"r": request_id, "the_id": attempt}).first() is not None:
        raise Refused(404, "misdirected", "The request belongs to another attempt.")
    if pin is not None:
        _pin(tx, pin, call.user_id)
    digest = hashlib.sha256(body).hexdigest()
    delivery = {
        "id": derived("dlv", attempt, request_id, call.timestamp, digest),
        "workspace": whose.workspace,
        "job": whose.job,
        "attempt": attempt,
        "source": str(Source.WEBHOOK),
        "request_id": request_id,
        "timestamp": call.timestamp,
        "body_sha256": digest,
        "body": body,
        "status": 0,
        "verdicts": {"tag": "ours", "signature": "fal", "user": call.user_id},
        "received_at": tx.now,
    }
    if not inbox.keep(tx, delivery):
        return "repeated"
    tx.spawn(ingest_task(str(delivery["id"]), whose.workspace, whose.job))
    return "accepted"


def _pin(tx: Tx, origin: str, user: str) -> None:
    """The first tagged delivery tells who we are at fal; of two that come at once, it judges the second."""
    tx.execute(_PIN[tx.dialect], {"origin": origin, "user": user})
    if tx.execute(_PINNED, {"o": origin}).scalar_one() != user:
        raise Refused(403, "stranger", "Another fal account's delivery.")


DOORS = (Door("POST", PATH + "/{attempt}/{tag}", fal_webhook),)
