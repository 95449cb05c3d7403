"""One of everything that an address of the API can name, in the state in which its operation takes it: made-up ids lead
nowhere, so that what happens to real ones would never be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import schemathesis

from tests.inside import ticket
from tests.running import Service
from tests.stories.desk import LATER, SCHNELL, Desk, png, taken

Made = Callable[[Desk], Mapping[str, str]]


def _nothing(_: Desk) -> dict[str, str]:
    return {}


def _waiting(desk: Desk) -> dict[str, str]:
    return {"job": desk.order(not_before=LATER)["id"]}


def _cancelled(desk: Desk) -> dict[str, str]:
    job = _waiting(desk)
    desk.do("cancel", job["job"])
    return job


def _run(desk: Desk) -> dict[str, str]:
    jobs = [desk.request(not_before=LATER) for _ in range(2)]
    return {"run": taken(desk.client.post("/api/v1/runs", json={"jobs": jobs}))["id"]}


def _paused(desk: Desk) -> dict[str, str]:
    run = _run(desk)
    desk.do("pause", run["run"])
    return run


def _run_with_a_failure(desk: Desk) -> dict[str, str]:
    run = _run(desk)
    desk.do("cancel", desk.get(f"runs/{run['run']}")["jobs"][0])
    return run


def _key(desk: Desk) -> dict[str, str]:
    return {"key": taken(desk.client.post("/api/v1/keys", json={"name": "to throw away"}))["id"]}


def _upload(desk: Desk) -> dict[str, str]:
    files = {"files": ("a.png", png())}
    return {"asset": taken(desk.client.post("/api/v1/uploads", files=files))["data"][0]["id"]}


def _ticket(desk: Desk) -> dict[str, str]:
    assert desk.service.settings
    return {"ticket": ticket(desk.service.settings)}


ANEW: Mapping[str, Made] = {
    "POST /api/v1/jobs/{job}/cancel": _waiting,
    "POST /api/v1/jobs/{job}/retry": _cancelled,
    "POST /api/v1/runs/{run}/cancel": _run,
    "POST /api/v1/runs/{run}/pause": _run,
    "POST /api/v1/runs/{run}/resume": _paused,
    "POST /api/v1/runs/{run}/retry-failed": _run_with_a_failure,
    "DELETE /api/v1/keys/{key}": _key,
    "DELETE /api/v1/assets/{asset}": _upload,
    "GET /signin": _ticket,
}
"""What an operation changes or uses up, so that it needs another each time."""


@dataclass(frozen=True)
class Things:
    desk: Desk
    lasting: Mapping[str, str]

    @classmethod
    @contextmanager
    def within(cls, service: Service) -> Iterator[Self]:
        """In a workspace of their own, whose key becomes the service's."""
        with Desk.open(service, credits=100_000) as desk:
            job = desk.ended(desk.order())
            asset = job["assets"][0]
            delivery = desk.get("deliveries", job=job["id"])["data"][0]
            yield cls(
                desk,
                {
                    **_run_with_a_failure(desk),
                    "job": job["id"],
                    "owner": job["id"],
                    "asset": asset["id"],
                    "token": asset["url"].rpartition("/files/")[2],
                    "delivery": delivery["id"],
                    "model": SCHNELL,
                    "workspace": desk.get("me")["workspace"]["id"],
                },
            )

    def put_into(self, case: schemathesis.Case[Any]) -> None:
        """For every id that the request names, and for what its body has to mean something. No key: made-up ones are
        short, so that one would come again with another thing."""
        case.headers.pop("Idempotency-Key", None)
        label = case.operation.label
        real = {**self.lasting, **ANEW.get(label, _nothing)(self.desk)}
        for place in (case.path_parameters, case.query):
            place.update({name: real[name] for name in place.keys() & real.keys()})
        self.give_meaning_to(case)

    def give_meaning_to(self, case: schemathesis.Case[Any]) -> None:
        """What fits its schema, but would be refused for what it means, becomes something to take."""
        if isinstance(case.body, dict):
            case.body.update(self._meant(case.operation.label, case.media_type))

    def _meant(self, label: str, media_type: str | None) -> dict[str, Any]:
        order = self.desk.request(not_before=LATER, reference_images=[])
        if media_type == "multipart/form-data":
            return {"files": [png()]}
        return {
            "POST /api/v1/jobs": order,
            "POST /api/v1/runs": {"jobs": [order], "ceiling": None},
            "POST /api/v1/keys": {"expires_at": None},
            "POST /api/v1/credits/grants": {"workspace": self.lasting["workspace"]},
        }.get(label, {})
