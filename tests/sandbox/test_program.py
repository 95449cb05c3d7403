"""The program: its start, its end, its memory over a restart, its outages."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.waiting import until_blocking


def test_help_lists_every_chaos_and_every_word() -> None:
    command = [sys.executable, "-m", "app.sandbox", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout

    assert all(word in text for word in ("--speed", "answer_cut", "null_payload", "[[refuse]]", "[[slow:20]]"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_quickly_and_cleanly(start: Callable[..., Any], number: int) -> None:
    sandbox = start("--speed", "10")
    body = sandbox.submit(prompt="x [[slow:600]]").json()
    with sandbox.http.stream("GET", body["status_url"] + "/stream"):
        began = time.monotonic()
        sandbox.process.send_signal(number)
        assert sandbox.process.wait(timeout=10) == 0
        assert time.monotonic() - began < 4


def test_a_taken_port_is_told_in_one_line(sandbox: Any) -> None:
    command = [sys.executable, "-m", "app.sandbox", "--port", str(sandbox.info["port"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("cannot listen on 127.0.0.1:")
    assert "Traceback" not in done.stderr


def test_it_ends_with_its_parent_when_told_to() -> None:
    parent = (
        "import subprocess, sys\n"
        "command = [sys.executable, '-m', 'app.sandbox', '--port', '0', '--with-parent']\n"
        "print(subprocess.Popen(command, stdout=subprocess.PIPE, text=True).stdout.readline())"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, timeout=20, check=True)
    url = json.loads(done.stdout)["url"]

    until_blocking(lambda: not _answers(url))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_with_data_everything_survives_a_restart(
    start: Callable[..., Any], receiver: Any, tmp_path: Path, number: int
) -> None:
    options = ("--speed", "50", "--runners", "1", "--data", str(tmp_path))
    before = start(*options)
    done = before.submit(prompt="done before").json()
    before.done(done)
    running = before.submit(prompt="running [[slow:75]]", hook=receiver.url).json()
    waiting = before.submit(prompt="waiting", hook=receiver.url).json()
    jwks = before.http.get("/.well-known/jwks.json").json()
    before.process.send_signal(number)
    before.process.wait(timeout=10)

    after = start(*options)
    until_blocking(lambda: len(receiver.got) == 2, within=15)

    assert after.http.get("/.well-known/jwks.json").json() == jwks
    assert {one["request_id"] for one in receiver.bodies()} == {running["request_id"], waiting["request_id"]}
    assert sorted(after.log("posts"), key=lambda post: float(post["ended"])) == after.log("posts")
    result = after.http.get(httpx.URL(done["response_url"]).path).json()
    assert after.http.get(httpx.URL(result["images"][0]["url"]).path).status_code == 200
    assert after.log("summary")["posts"] == 3


def test_a_webhook_that_was_due_is_sent_after_the_restart(
    start: Callable[..., Any], receiver: Any, tmp_path: Path
) -> None:
    options = ("--speed", "20", "--data", str(tmp_path))
    before = start(*options)
    receiver.answers = [503] * 100
    before.submit(prompt="x", hook=receiver.url)
    until_blocking(lambda: len(receiver.got) >= 1)
    before.stop()
    known = len(receiver.got)
    receiver.answers = []
    start(*options)

    until_blocking(lambda: len(receiver.got) > known)


def test_outages(start: Callable[..., Any]) -> None:
    sandbox = start("--speed", "20")
    sandbox.http.post("/_pause", json={"mode": "500"})
    assert sandbox.submit(prompt="x").status_code == 500
    sandbox.http.post("/_pause", json={"mode": "cut"})
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.submit(prompt="x")
    sandbox.http.post("/_pause", json={"mode": "hang"})
    with pytest.raises(httpx.ReadTimeout):
        sandbox.http.post("/fal-ai/flux/schnell", json={"prompt": "x"}, timeout=0.2)
    sandbox.http.post("/_resume")
    assert sandbox.submit(prompt="x").status_code == 200

    sandbox.http.post("/_pause", json={"mode": "refuse", "seconds": 1})
    with pytest.raises(httpx.ConnectError):
        httpx.get(sandbox.url, trust_env=False, verify=False)
    until_blocking(lambda: _answers(sandbox.url))
    assert sandbox.log("summary")["posts"] == 1


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, verify=False).status_code == 200
    except httpx.ConnectError:
        return False


def test_the_page_shows_what_happened(sandbox: Any) -> None:
    sandbox.submit(prompt="seen on the page <b>")
    page = sandbox.http.get("/").text

    assert "seen on the page &lt;b&gt;" in page
    assert all(word in page for word in ("fal in a box", "answer_cut", "[[refuse]]", "fal-ai/birefnet/v2"))
    assert sandbox.http.get("/_sandbox").status_code == 200
