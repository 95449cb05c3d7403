"""What holds for every test: nothing leaves loopback, and in CI nothing is skipped unless the kernel itself refuses."""

import ipaddress
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

IN_CI = os.environ.get("CI") == "true"
KERNEL_REFUSES = "kernel refuses"

_departures: list[str] = []


class LeftLoopbackError(AssertionError):
    """A test tried to reach another machine. No OSError, so that no retry loop takes it for bad weather."""


def _stay_home(event: str, args: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = args[1]
        away = isinstance(address, tuple) and not _is_loopback(address[0])
    elif event == "socket.getaddrinfo":
        away = isinstance(args[0], str) and _needs_a_name_server(args[0])
    else:
        return
    if away:
        _departures.append(f"{event} {args[1] if event != 'socket.getaddrinfo' else args[0]!r}")
        raise LeftLoopbackError(_departures[-1])


def _is_loopback(host: object) -> bool:
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return host in {"localhost", ""}


def _needs_a_name_server(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host not in {"localhost", ""}
    return False


# An audit hook sees every socket of this process, whichever library opened it. It cannot be taken out again.
sys.addaudithook(_stay_home)


@pytest.fixture(autouse=True)
def _no_departures() -> Iterator[None]:
    """Fail the test even when the code under test swallowed the error."""
    _departures.clear()
    yield
    assert not _departures, f"tried to leave loopback: {_departures}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        _refuse_to_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_to_skip(report)
    return report


def _refuse_to_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not (IN_CI and report.skipped and isinstance(report.longrepr, tuple)):
        return
    path, line, message = report.longrepr
    reason = str(message).removeprefix("Skipped: ")
    if not reason.startswith(KERNEL_REFUSES):
        report.outcome = "failed"
        report.longrepr = f"{Path(path).name}:{line}: skipped in CI, where everything has to run: {reason}"
