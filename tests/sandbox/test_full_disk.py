"""The disk under the sandbox is full for a while: what runs waits, what is new is refused as fal would, nothing dies of
it, and all goes on by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.small_disk import small_disk
from tests.waiting import until_blocking

RUNNERS = 3


def test_runs_wait_for_room_and_end_well(
    start: Callable[..., Any], receiver: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def waiting() -> int:
        said.append(capfd.readouterr().err)
        return "".join(said).count("waits for room")

    with small_disk(tmp_path / "disk", size="40m") as disk:
        sandbox = start("--data", str(disk.folder), "--runners", str(RUNNERS), "--speed", "10")
        before = sandbox.submit(prompt="before").json()
        picture = sandbox.result(before).json()["images"][0]["url"]
        asked = [sandbox.submit(prompt=f"{n} [[slow:10]]", hook=receiver.url).json() for n in range(9)]
        disk.fill()
        until_blocking(lambda: waiting() >= RUNNERS)

        refused = sandbox.submit(prompt="no room")
        assert (refused.status_code, refused.json()) == (500, {"detail": "Internal Server Error"})
        assert sandbox.http.get(picture).status_code == 200
        assert {sandbox.http.get(each["status_url"]).json()["status"] for each in asked} <= {"IN_PROGRESS", "IN_QUEUE"}
        assert sandbox.http.put(asked[-1]["cancel_url"]).status_code == 500
        assert receiver.got == []

        disk.drain()
        assert [sandbox.result(each).status_code for each in asked] == [200] * len(asked)
        until_blocking(lambda: len(receiver.got) == len(asked))
        until_blocking(lambda: {post["webhook_state"] for post in sandbox.log("posts")[1:]} == {"done"})
        assert sandbox.result(sandbox.submit(prompt="after").json()).status_code == 200
        summary = sandbox.log("summary")
        assert (summary["posts"], summary["ended"], summary["queue"]) == (11, {"ok": 11}, {"open": 0, "running": 0})
        assert summary["counters"]["posts.accepted"] == 11
        assert summary["counters"]["files.served"] == 1, "counted when there was room"
        assert all(len(post["files"]) == 1 for post in sandbox.log("posts"))
        files = [file.name for file in (disk.folder / "files").iterdir()]
        assert [name for name in files if "." in name] == [], "nothing half written stays"
        assert "Traceback" not in "".join([*said, capfd.readouterr().err])
        sandbox.stop()
