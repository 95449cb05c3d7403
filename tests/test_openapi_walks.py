"""The API's description as a promise that still holds after other requests: walks through the running service that
follow ids from answer to answer, as a customer would: send, look, cancel, look again, try again, throw away.

Schemathesis infers the links by itself, from the ids that answers hold and paths ask for, so the document names none.
About 30 s; `DARKROOM_FUZZ=300` sets out from that many seeds instead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, seed, settings
from schemathesis import CheckFunction, GenerationMode, Response
from schemathesis.specs.openapi.stateful import OpenAPIStateMachine

from tests.described import STREAMS, keys_for, needs_operator, pointless, schema_of
from tests.real_things import ANEW, Things
from tests.running import Service, running

SEEDS = int(os.environ.get("DARKROOM_FUZZ", "2"))
WALKS = settings(
    max_examples=9,  # the tenth would be an earlier one, varied: it expects the same answers, but ids are always new
    stateful_step_count=30,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("walks"), speed=50) as service:
        yield service


def test_no_request_after_others_gets_an_answer_it_does_not_describe(service: Service) -> None:
    """All of Schemathesis' checks at every step, those that look back among them: what was made is there, what was
    thrown away is gone. Everything that can be walked to does what it is for at least once; should a change of the
    document leave one out, a few more seeds look for it."""
    operators = keys_for(service)[True]
    machine = schema_of(service).exclude(lambda found: found.operation.label in STREAMS).as_state_machine()
    assert issubclass(machine, OpenAPIStateMachine)
    reached = machine._transitions.operations.keys()
    done: set[str] = set()
    steps = 0

    class Walk(machine):  # type: ignore[misc, valid-type]
        """In a workspace of its own, where a few things lie about already: so each walk begins at the same place."""

        def setup(self) -> None:
            self.open = ExitStack()
            self.things = self.open.enter_context(Things.within(service))
            self.own = {"Authorization": f"Bearer {service.key}"}
            ANEW["DELETE /api/v1/keys/{key}"](self.things.desk)

        def before_call(self, case: schemathesis.Case[Any]) -> None:
            case.headers.pop("Prefer", None)  # it would wait for the end of jobs
            case.headers.pop("Idempotency-Key", None)  # made-up ones are short: one would come again with another thing
            if case.meta and case.meta.generation.mode is GenerationMode.POSITIVE:
                if not case.path_parameters:
                    case.query.clear()  # made-up filters find nothing, and from nothing no way leads on
                self.things.give_meaning_to(case)

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
            return {"headers": operators if needs_operator(case) else self.own, "timeout": 30}

        def after_call(self, response: Response, case: schemathesis.Case[Any]) -> None:
            nonlocal steps
            super().after_call(response, case)
            steps += 1
            if response.status_code < 400:
                done.add(case.operation.label)

        def validate_response(
            self,
            response: Response,
            case: schemathesis.Case[Any],
            additional_checks: list[CheckFunction] | None = None,
            **kwargs: Any,
        ) -> None:
            case.validate_response(
                response, excluded_checks=pointless(case), transport_kwargs=kwargs, recorder=self.recorder
            )

        def teardown(self) -> None:
            self.open.close()

    for number in range(SEEDS + 4):
        if number < SEEDS or reached - done:
            seed(number)(Walk).run(settings=WALKS)

    print(f"{steps} steps to {len(reached)} operations")
    assert len(reached) >= 24
    assert reached - done == set()
    assert "crash" not in service.text()
