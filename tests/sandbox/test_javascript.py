"""fal's JavaScript client, unmodified, sent here through its `requestMiddleware`. The lock beside its story
names what it is made of; nothing is fetched while tests run."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "javascript"
LOCK = HERE / "package-lock.json"


def _why_not() -> str | None:
    """What keeps the story from being told on this machine."""
    if not shutil.which("node"):
        return "node is not on this machine"
    for name, locked in json.loads(LOCK.read_text())["packages"].items():
        installed = HERE / name / "package.json"
        if name and not (installed.exists() and json.loads(installed.read_text())["version"] == locked["version"]):
            return f"{name} {locked['version']} is not there: npm ci --ignore-scripts --prefix tests/sandbox/javascript"
    return None


def test_the_lock_names_what_and_not_where_from() -> None:
    text = LOCK.read_text()
    assert not re.search(r"https?:|resolved", text)
    assert all(package["integrity"] for name, package in json.loads(text)["packages"].items() if name)


def test_the_javascript_client_subscribes_uploads_and_cancels(sandbox: Any) -> None:
    if reason := _why_not():
        pytest.skip(reason)
    command = ["node", str(HERE / "story.cjs"), sandbox.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["done"]["data"]["images"][0]["width"] == 1024
    assert told["seen"][-1] == "COMPLETED"
    assert told["status"]["status"] == "IN_QUEUE"
    assert told["text"] == "hello"
    assert told["refusal"] == [422, "content_policy_violation"]
