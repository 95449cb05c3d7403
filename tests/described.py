"""The running service as Schemathesis sees it: its own description, the keys it asks for, and where the description
cannot say everything. For the tests that hold the service to its word."""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis import CheckFunction
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from app.core.principal import Scope
from app.wiring import FEATURES
from tests.inside import operator
from tests.running import Service

OPERATORS = {
    f"{operation.method} {operation.address}"
    for feature in FEATURES
    for operation in feature.operations
    if operation.scope is Scope.OPERATOR
}

STREAMS = {
    f"{operation.method} {operation.address}"
    for feature in FEATURES
    for operation in feature.operations
    if operation.contract.answer.streams and operation.contract.answer.adapter is None
}
"""What answers with nothing but a stream: the tool reads an answer to its end, and a stream has none."""

MEANT = {
    "POST /api/v1/jobs": "the model named says what its input is",
    "POST /api/v1/runs": "the same, and the ceiling has to cover the jobs",
    "POST /api/v1/uploads": "bytes have to be a picture",
    "POST /api/v1/keys": "it must not expire in the past",
    "GET /api/v1/events": "the place to go on from has to be in the log",
    "GET /signin": "a ticket works once, and none can be made up",
}
"""What fits the schema here may still be refused, for what it means."""


def schema_of(service: Service) -> schemathesis.BaseSchema:
    schema = schemathesis.openapi.from_url(f"{service.base_url}/openapi.json")
    schema.config.generation.update(allow_x00=False)  # refused with a word of its own: `test_odd_requests`
    return schema


def keys_for(service: Service) -> dict[bool, dict[str, str]]:
    """The header that lets one in, for operators and for all others."""
    assert service.settings
    keys = {False: service.key, True: operator(service.settings)}
    return {kind: {"Authorization": f"Bearer {key}"} for kind, key in keys.items()}


def needs_operator(case: schemathesis.Case[Any]) -> bool:
    return case.operation.label in OPERATORS


def pointless(case: schemathesis.Case[Any]) -> list[CheckFunction]:
    """The checks that would ask of the description what it cannot know."""
    if case.operation.label not in MEANT:
        return []
    return (
        [positive_data_acceptance, negative_data_rejection]
        if case.media_type == "multipart/form-data"
        else [positive_data_acceptance]
    )
