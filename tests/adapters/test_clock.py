import time
from datetime import UTC, timedelta

import pytest

from app.adapters.clock import SystemClock


def test_the_wall_is_in_utc_and_moves_on() -> None:
    clock = SystemClock()

    first, second = clock.now(), clock.now()

    assert first.tzinfo is UTC
    assert first <= second


def test_what_is_due_comes_sooner_in_sandbox_time() -> None:
    clock = SystemClock(time_factor=60)

    before = clock.now()
    due = clock.after(120)

    assert timedelta(seconds=2) <= due - before < timedelta(seconds=3)


async def test_waits_shrink_with_the_time_factor() -> None:
    clock = SystemClock(time_factor=1000)

    began = clock.monotonic()
    await clock.sleep(20)

    assert 0.02 <= clock.monotonic() - began < 5


def test_a_clock_that_agreed_with_another_goes_by_that_one() -> None:
    clock = SystemClock()
    another = clock.now() + timedelta(hours=1)

    clock.agree_with(another)
    clock.agree_with(another - timedelta(milliseconds=300))  # asked again, and the answer took its time

    assert timedelta(0) <= clock.now() - another < timedelta(seconds=1)
    clock.agree_with(another - timedelta(minutes=5))
    assert clock.now() < another


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="no clock of its own for that")
def test_the_time_a_machine_was_suspended_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, gettime = SystemClock(), time.clock_gettime
    clock.agree_with(clock.now())
    wall, counted = clock.now(), clock.monotonic()

    monkeypatch.setattr(time, "clock_gettime", lambda which: gettime(which) + 3600 * (which == time.CLOCK_BOOTTIME))

    assert clock.now() - wall >= timedelta(hours=1)
    assert clock.monotonic() - counted >= 3600


@pytest.mark.parametrize("factor", [0, -1])
def test_time_cannot_stand_still_or_run_back(factor: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        SystemClock(factor)
