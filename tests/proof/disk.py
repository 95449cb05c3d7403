"""T19: the disk is full, grown, and read-only, and there are no more file descriptors to be had. It says so, what can
be read is served, and all is well by itself when there is room again.
"""

from __future__ import annotations

import resource
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.proof.both_sides import examine, until_quiet
from tests.proof.customers import customers, not_completed
from tests.proof.scoreboard import Effort, Score
from tests.running import Program, Service, running
from tests.small_disk import SmallDisk, small_disk, why_not
from tests.stories.desk import Desk, png
from tests.waiting import until_blocking

_DATABASE = "the database's disk is full, then larger"
_DESCRIPTORS = 64
_OPENING = "Too many open files"
"""No reason not to serve a file, but one not to find it in this moment."""
_WITHIN = 30.0


def prove_disk(effort: Effort, folder: Path) -> Iterator[Score]:
    if refused := why_not():
        yield Score("T19", "disk", refused=refused)
        return
    with ExitStack() as stack:
        data, files = (stack.enter_context(small_disk(folder / name)) for name in ("data", "files"))
        given: Any = {"DARKROOM_DATA": str(data.folder), "DARKROOM_STORAGE_URL": f"disk:{files.folder}"}
        service = stack.enter_context(running(folder / "fal", speed=50, **given))
        desk = stack.enter_context(Desk.open(service))
        picture = desk.ended(desk.order("before"))["assets"][0]
        jobs = effort.of(20, 400)
        for name, trouble in (
            (_DATABASE, lambda: _full(desk, data)),
            ("the files' disk is full, then larger", lambda: _full(desk, files)),
            ("the files' disk is read-only", lambda: _read_only(desk, files)),
            (f"{_DESCRIPTORS} descriptors", lambda: _no_descriptors(desk)),
        ):
            yield _lived_through(name, desk, picture, trouble, jobs)
        service.kill()
        data.change("ro")
        yield Score("T19", "started on a read-only disk", {}, _refuses_to_start(service))


def _lived_through(
    name: str, desk: Desk, picture: dict[str, Any], trouble: Callable[[], AbstractContextManager[list[str]]], jobs: int
) -> Score:
    service, process = desk.service, desk.service.process
    with customers(service, jobs=jobs, over=3.0, words=f"{name} [[slow:20]]") as book:
        until_blocking(lambda: len(book.acknowledged) >= jobs // 4, within=30)
        with trouble() as wrong:
            wrong.extend(_reads(desk, picture))
            if name == _DATABASE:
                wrong.extend(_orders_until_refused(desk))
    try:
        until_blocking(lambda: desk.client.get("/readyz").status_code == 200, within=_WITHIN)
    except AssertionError:
        wrong.append(f"not ready {_WITHIN:.0f} s after: {desk.client.get('/readyz').text}")
    until_quiet(service, within=90)
    wrong += [*book.odd, *examine(service).wrong, *not_completed(service, book)]
    if service.process is not process or not service.alive:
        wrong.append("the service ended")
    counts = {f"answered {status or 'not at all'}": n for status, n in sorted(book.turned_away.items())}
    return Score("T19", name, {"jobs": len(book.acknowledged), **counts}, wrong)


@contextmanager
def _full(desk: Desk, disk: SmallDisk) -> Iterator[list[str]]:
    """To the last byte; in the end the disk is larger, and the ballast still there."""
    disk.fill()
    wrong = _not_ready(desk, "room", "storage")
    wrong += _upload(desk, 507)
    yield wrong
    disk.change("size=600m")


@contextmanager
def _read_only(desk: Desk, disk: SmallDisk) -> Iterator[list[str]]:
    until_blocking(lambda: _changed(disk, "ro"), within=20)
    wrong = _not_ready(desk, "storage")
    wrong += _upload(desk, 503)
    yield wrong
    disk.change("rw")


def _changed(disk: SmallDisk, option: str) -> bool:
    """Not while a file there is being written."""
    try:
        disk.change(option)
    except subprocess.CalledProcessError:
        return False
    return True


@contextmanager
def _no_descriptors(desk: Desk) -> Iterator[list[str]]:
    assert desk.service.process
    pid = desk.service.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with ExitStack() as idle:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (_DESCRIPTORS, before[1]))
        for _ in range(_DESCRIPTORS):
            idle.enter_context(socket.create_connection(("127.0.0.1", desk.service.port), timeout=5))
        wrong = _upload(desk, 201, 503, 507)
        yield wrong
        wrong[:] = [each for each in wrong if _OPENING not in each]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def _reads(desk: Desk, picture: dict[str, Any]) -> list[str]:
    """On the connection that is there already."""
    paths = ("/healthz", "/api/v1/jobs", "/api/v1/events", f"/api/v1/assets/{picture['id']}")
    answers = {path: desk.client.get(path).status_code for path in paths}
    wrong = [f"{path} answers {status}" for path, status in answers.items() if status != 200]
    content = desk.client.get(f"/api/v1/assets/{picture['id']}/content", follow_redirects=True)
    if (content.status_code, len(content.content)) != (200, picture["size"]):
        wrong.append(f"the picture's content: {content.status_code} {content.text[:200]}")
    return wrong


def _orders_until_refused(desk: Desk) -> list[str]:
    """The database has a little room of its own left."""
    thick = {f"page {n}": "x" * 200 for n in range(40)}
    for n in range(2_000):
        answer = desk.post(f"thick {n}", metadata=thick)
        if answer.status_code != 202:
            right = (answer.status_code, "retry-after" in answer.headers) == (507, True)
            return [] if right else [f"an order: {answer.status_code} {answer.text}"]
    return ["the disk was never full"]


def _not_ready(desk: Desk, *checks: str) -> list[str]:
    try:
        until_blocking(
            lambda: any(not desk.client.get("/readyz").json()["checks"][check]["ok"] for check in checks), within=25
        )
    except AssertionError:
        return [f"/readyz does not say it: {desk.client.get('/readyz').text}"]
    return []


def _upload(desk: Desk, *expected: int) -> list[str]:
    answer = desk.client.post("/api/v1/uploads", files={"files": ("a.png", png((900, 900)))})
    if answer.status_code not in expected:
        return [f"an upload: {answer.status_code} {answer.text}"]
    return [] if answer.is_success or "retry-after" in answer.headers else ["an upload: nobody says when to come again"]


def _refuses_to_start(service: Service) -> list[str]:
    """In a sentence, at once."""
    Program.start(service)
    code, said = service.wait(20), service.text().splitlines()[-1]
    return [] if code == 2 and said.startswith("darkroom: ") else [f"it ended with {code}: {service.text()[-500:]}"]
