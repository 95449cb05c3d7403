"""What to do with an outcome: a pure function, so that the whole table can be read and tested at once."""

from __future__ import annotations

from dataclasses import dataclass

from app.catalog.failures import Code
from app.catalog.outcomes import Failed, Made, Refused, Retryable
from app.catalog.spec import Outputs
from app.core.retries import RetryPolicy


@dataclass(frozen=True)
class Store:
    """There are pictures: fetch them."""

    outputs: Outputs


@dataclass(frozen=True)
class Again:
    """Buy another attempt, after so many seconds."""

    wait: float
    code: Code
    detail: str


@dataclass(frozen=True)
class Fail:
    """Give up, and say why."""

    code: Code
    detail: str


Decision = Store | Again | Fail


def decide(outcome: Made | Retryable | Refused | Failed, bought: int, policy: RetryPolicy, jitter: float) -> Decision:
    """`bought` counts the attempts made so far, this one among them; `jitter` in [0, 1) spreads retries apart. Only a
    fault of the generation buys another one, and only while the policy allows."""
    match outcome:
        case Made(outputs):
            return Store(outputs)
        case Retryable(code, detail) if policy.allows(bought):
            return Again(policy.wait(bought, jitter), code, detail)
        case Retryable(code, detail):
            spent = f"{detail} It was tried {bought} time{'s' if bought != 1 else ''}."
            return Fail(code if bought == 1 else Code.ATTEMPTS_SPENT, spent)
        case Refused(code, detail) | Failed(code, detail):
            return Fail(code, detail)
