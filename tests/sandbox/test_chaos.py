"""Chaos that is not the webhook's: at submit, at download, in general; and that each ends for a careful client."""

import contextlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.waiting import until_blocking

NAMES = [
    "duplicate", "lost", "late", "early", "tampered", "stranger", "stale",
    "answer_cut", "completed_but_422", "null_payload", "storm_429", "slow_cdn", "truncated",
]  # fmt: skip


def _picture(sandbox: Any, chaos: str) -> str:
    body = sandbox.submit(prompt=f"a cup for {chaos}", chaos=chaos).json()
    return str(sandbox.result(body).json()["images"][0]["url"])


def test_a_storm_of_429_ends(sandbox: Any) -> None:
    answers = [sandbox.submit(prompt="in the storm", chaos="storm_429") for _ in range(3)]
    last = sandbox.submit(prompt="in the storm")

    assert [answer.status_code for answer in answers] == [429] * 3
    assert "x-fal-request-id" not in answers[0].headers
    assert last.status_code == 200
    assert sum(post["input"].get("prompt") == "in the storm" for post in sandbox.log("posts")) == 1


def test_an_answer_can_be_cut_after_the_request_was_accepted(sandbox: Any) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.submit(prompt="sent, no answer", chaos="answer_cut")

    assert sum(post["input"].get("prompt") == "sent, no answer" for post in sandbox.log("posts")) == 1
    query = {"endpoint_id": "fal-ai/flux/schnell", "expand": "payloads"}
    listed = sandbox.http.get("/v1/models/requests/by-endpoint", params=query).json()["items"]
    assert any(item["json_input"] == {"prompt": "sent, no answer"} for item in listed)


def test_a_truncated_file_is_whole_the_third_time(sandbox: Any) -> None:
    url = _picture(sandbox, "truncated")
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            sandbox.http.get(url)

    whole = sandbox.http.get(url)
    assert len(whole.content) == int(whole.headers["content-length"])
    assert sandbox.fired("truncated") >= 2


def test_a_slow_file_trickles_but_arrives(sandbox: Any) -> None:
    url = _picture(sandbox, "slow_cdn")
    slow, _, quick = (sandbox.http.get(url) for _ in range(3))

    assert slow.content == quick.content
    assert slow.elapsed.total_seconds() > 0.2
    assert sandbox.fired("slow_cdn") >= 2


def test_odds_are_switched_while_it_runs(start: Callable[..., Any]) -> None:
    sandbox = start("--speed", "200", "--chaos", "lost=0.3,storm_429")
    odds = sandbox.http.get("/_chaos").json()["odds"]
    changed = sandbox.http.post("/_chaos", json={"all": 0, "lost": 1}).json()["odds"]
    refused = sandbox.http.post("/_chaos", json={"no_such": 1})

    assert (odds["lost"], odds["storm_429"], odds["early"]) == (0.3, 1.0, 0.0)
    assert (changed["lost"], changed["storm_429"]) == (1, 0)
    assert refused.status_code == 422


def test_every_name_fires_under_all(start: Callable[..., Any], receiver: Any) -> None:
    sandbox = start("--speed", "600", "--chaos", "all=0.4", "--seed", "11")

    def everything() -> bool:
        for number in range(6):
            _until_accepted(sandbox, f"cup {number}", receiver.url)
        for post in sandbox.log("posts")[-12:]:
            for image in _images(sandbox, post["request_id"]):
                _download(sandbox, image["url"])
        return all(sandbox.fired(name) for name in NAMES)

    until_blocking(everything, within=15)


def _until_accepted(sandbox: Any, prompt: str, hook: str) -> None:
    with contextlib.suppress(httpx.RemoteProtocolError):  # accepted, and the answer cut
        while sandbox.submit(prompt=prompt, hook=hook, image_size="square").status_code == 429:
            pass


def _images(sandbox: Any, request_id: str) -> list[dict[str, Any]]:
    answer = sandbox.http.get(f"/fal-ai/flux/requests/{request_id}")
    return list(answer.json().get("images", []))


def _download(sandbox: Any, url: str) -> None:
    with contextlib.suppress(httpx.RemoteProtocolError):
        sandbox.http.get(url)


def test_the_same_seed_draws_the_same_chaos(start: Callable[..., Any]) -> None:
    drawn = []
    for _ in range(2):
        sandbox = start("--speed", "600", "--chaos", "lost=0.5,stale=0.5", "--seed", "5")
        for number in range(8):
            sandbox.submit(prompt=f"cup {number}", image_size="square")
        drawn.append([post["chaos"] for post in sandbox.log("posts")])
        sandbox.stop()

    assert drawn[0] == drawn[1]
    assert len({tuple(chaos) for chaos in drawn[0]}) > 2


def test_an_unknown_chaos_is_refused_at_the_start() -> None:
    command = [sys.executable, "-m", "app.sandbox", "--chaos", "no_such"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 2
    assert "unknown chaos: no_such" in done.stderr
