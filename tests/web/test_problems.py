"""What goes with a problem beside its words."""

import errno
from collections.abc import MutableMapping
from typing import Any

import pytest

from app.core.errors import Internal, InvalidRequest, Problem, StorageFull, Unavailable
from app.web.problems import problem_of, send_problem


@pytest.mark.parametrize(
    ("problem", "when"),
    [
        (Unavailable(), b"10"),
        (Unavailable(headers={"Retry-After": "60"}), b"60"),
        (StorageFull(), b"10"),
        (InvalidRequest(), None),
    ],
)
async def test_who_may_come_again_is_told_when(problem: Problem, when: bytes | None) -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await send_problem(send, problem, "req_1")

    assert dict(sent[0]["headers"]).get(b"retry-after") == when


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EMFILE, Unavailable), (errno.ENOSPC, StorageFull), (errno.EACCES, Internal)]
)
def test_a_machine_that_has_run_out_of_something_is_no_fault_of_ours(number: int, kind: type[Problem]) -> None:
    assert type(problem_of(OSError(number, "so it goes", "/somewhere/secret"))) is kind
    assert "secret" not in problem_of(OSError(number, "so it goes", "/somewhere/secret")).detail
