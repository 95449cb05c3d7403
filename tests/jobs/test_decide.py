"""What is done with an outcome: the whole table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalog.failures import Code
from app.catalog.outcomes import Failed, Made, Refused, Retryable
from app.catalog.spec import Outputs
from app.core.retries import RetryPolicy
from app.jobs.decide import Again, Fail, Store, decide

MADE = Made(Outputs(()))
AGAIN, REFUSED, FAILED = (kind(Code.PROVIDER_FAULT, "It broke.") for kind in (Retryable, Refused, Failed))
THREE, ONE = RetryPolicy(max_attempts=3), RetryPolicy(max_attempts=1)


@pytest.mark.parametrize(
    ("outcome", "bought", "policy", "decision"),
    [
        (MADE, 1, THREE, Store(Outputs(()))),
        (MADE, 9, ONE, Store(Outputs(()))),
        (AGAIN, 1, THREE, Again(1.0, Code.PROVIDER_FAULT, "It broke.")),
        (AGAIN, 2, THREE, Again(2.0, Code.PROVIDER_FAULT, "It broke.")),
        (AGAIN, 3, THREE, Fail(Code.ATTEMPTS_SPENT, "It broke. It was tried 3 times.")),
        (AGAIN, 4, THREE, Fail(Code.ATTEMPTS_SPENT, "It broke. It was tried 4 times.")),
        (AGAIN, 1, ONE, Fail(Code.PROVIDER_FAULT, "It broke. It was tried 1 time.")),
        (REFUSED, 1, THREE, Fail(Code.PROVIDER_FAULT, "It broke.")),
        (REFUSED, 3, THREE, Fail(Code.PROVIDER_FAULT, "It broke.")),
        (FAILED, 1, THREE, Fail(Code.PROVIDER_FAULT, "It broke.")),
        (FAILED, 3, THREE, Fail(Code.PROVIDER_FAULT, "It broke.")),
    ],
)
def test_the_table(
    outcome: Made | Retryable | Refused | Failed, bought: int, policy: RetryPolicy, decision: Store | Again | Fail
) -> None:
    assert decide(outcome, bought, policy, jitter=0.5) == decision


@given(
    st.sampled_from([MADE, AGAIN, REFUSED, FAILED]),
    st.integers(1, 50),
    st.integers(1, 20),
    st.floats(0, 1, exclude_max=True),
)
def test_only_a_fault_of_the_generation_buys_another_and_only_as_often_as_allowed(
    outcome: Made | Retryable | Refused | Failed, bought: int, allowed: int, jitter: float
) -> None:
    decision = decide(outcome, bought, RetryPolicy(max_attempts=allowed), jitter)

    assert isinstance(decision, Again) == (isinstance(outcome, Retryable) and bought < allowed)
    assert isinstance(decision, Store) == isinstance(outcome, Made)
    if isinstance(decision, Again):
        assert 0 < decision.wait <= 450
