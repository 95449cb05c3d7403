"""The queue, as fal's own Python client and plain HTTP see it."""

from collections.abc import Callable
from typing import Any

import fal_client
import pytest

from tests.waiting import until_blocking

FLUX = "fal-ai/flux/schnell"


def test_the_python_client_submits_watches_and_fetches(fal: fal_client.SyncClient) -> None:
    handle = fal.submit(FLUX, {"prompt": "a red fox", "seed": 7})
    result = handle.get(interval=0.01)
    status = handle.status(with_logs=True)

    assert result["seed"] == 7
    assert [image["width"] for image in result["images"]] == [1024]
    assert isinstance(status, fal_client.Completed)
    assert status.logs
    assert status.metrics["inference_time"] > 0
    assert fal.result(FLUX, handle.request_id) == result


def test_the_python_client_subscribes(fal: fal_client.SyncClient) -> None:
    seen: list[Any] = []
    result = fal.subscribe(
        "fal-ai/nano-banana", {"prompt": "a teal cup"}, with_logs=True, interval=0.01, on_queue_update=seen.append
    )

    assert result["images"][0]["content_type"] == "image/png"
    assert "seed" not in result
    assert any(isinstance(one, fal_client.InProgress) for one in seen)


async def test_the_async_client_works_too(sandbox: Any, fal: fal_client.SyncClient) -> None:
    client = fal_client.AsyncClient(key="sandbox")
    handle = await client.submit(FLUX, {"prompt": "a blue cup"})
    result = await handle.get(interval=0.01)
    await (await client._client).aclose()  # type: ignore[attr-defined, unused-ignore]

    assert result["prompt"] == "a blue cup"


def test_a_waiting_request_can_be_cancelled(fal: fal_client.SyncClient) -> None:
    handle = fal.submit(FLUX, {"prompt": "a cup [[never]]"})
    assert isinstance(handle.status(), fal_client.Queued)

    handle.cancel()

    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        handle.get(interval=0.01)
    assert caught.value.status_code == 499


def test_cancel_says_how_far_it_came(sandbox: Any) -> None:
    waiting = sandbox.submit(prompt="a cup [[never]]").json()
    running = sandbox.submit(prompt="a cup [[slow:900]]").json()
    done = sandbox.submit(prompt="a quick cup").json()
    sandbox.done(done)

    answers = [sandbox.http.put(one["cancel_url"]) for one in (waiting, running, done)]

    assert [answer.status_code for answer in answers] == [200, 202, 400]
    assert [answer.json()["status"] for answer in answers] == ["OK", "CANCELLATION_REQUESTED", "ALREADY_COMPLETED"]


def test_status_tells_202_until_it_is_done_and_the_result_waits(sandbox: Any) -> None:
    submitted = sandbox.submit(prompt="a cup [[slow:80]]")
    body = submitted.json()
    early = sandbox.http.get(body["response_url"])
    status = sandbox.http.get(body["status_url"])

    assert body["status"] == "IN_QUEUE"
    assert body["queue_position"] == 0
    assert submitted.headers["x-fal-request-id"] == body["request_id"]
    assert (early.status_code, early.json()["detail"]) == (400, "Request is still in progress")
    assert (status.status_code, status.json()["status"]) == (202, "IN_PROGRESS")
    assert status.json()["logs"] is None

    sandbox.done(body)
    result = sandbox.http.get(body["response_url"])
    assert result.headers["x-fal-billable-units"] == "1"
    assert sandbox.http.get(body["response_url"] + "/response").json() == result.json()


def test_reads_take_the_app_root_and_the_full_id_and_nothing_else(sandbox: Any) -> None:
    request_id = sandbox.submit(prompt="a cup").json()["request_id"]

    def status(endpoint: str, key: str = "sandbox") -> int:
        path = f"/{endpoint}/requests/{request_id}/status"
        return int(sandbox.http.get(path, headers={"Authorization": f"Key {key}"}).status_code)

    assert status("fal-ai/flux") in (200, 202)
    assert status(FLUX) in (200, 202)
    assert status("fal-ai/nano-banana") == 404
    assert status("fal-ai/flux", key="somebody-else") == 404
    assert sandbox.http.get("/fal-ai/flux/requests/none").json() == {"status": "NOT_FOUND"}


@pytest.mark.parametrize(("header", "code"), [("", 401), ("Bearer x", 401), ("Key bad", 401), ("Key locked", 403)])
def test_the_gateway_turns_away_before_anything_is_queued(sandbox: Any, header: str, code: int) -> None:
    before = sandbox.log("summary")["posts"]
    answer = sandbox.http.post(f"/{FLUX}", json={"prompt": "x"}, headers={"Authorization": header})

    assert answer.status_code == code
    assert "x-fal-request-id" not in answer.headers
    assert sandbox.log("summary")["posts"] == before


def test_an_app_that_does_not_exist_is_404(sandbox: Any) -> None:
    assert sandbox.submit("fal-ai/no-such-model", prompt="x").status_code == 404


def test_positions_runners_priority_and_a_full_queue(start: Callable[..., Any]) -> None:
    sandbox = start("--speed", "10", "--runners", "1")
    first, second, third = (sandbox.submit(prompt=f"{n} [[slow:100]]").json() for n in range(3))
    low = sandbox.http.post(f"/{FLUX}", json={"prompt": "low"}, headers={"X-Fal-Queue-Priority": "low"}).json()
    fourth = sandbox.submit(prompt="late but normal").json()

    def position(one: dict[str, Any]) -> Any:
        return sandbox.http.get(one["status_url"]).json().get("queue_position")

    assert [position(one) for one in (first, second, third, low, fourth)] == [None, 0, 1, 3, 2]
    full = sandbox.http.post(f"/{FLUX}?fal_max_queue_length=4", json={"prompt": "x"})
    assert (full.status_code, full.headers["x-fal-needs-retry"]) == (429, "1")


def test_a_start_timeout_ends_what_has_not_started(sandbox: Any) -> None:
    for name in ("X-Fal-Request-Timeout", "X-Fal-Request-Start-Timeout"):
        body = sandbox.http.post(f"/{FLUX}", json={"prompt": "x [[never]]"}, headers={name: "10.0"}).json()
        status = sandbox.done(body)
        result = sandbox.http.get(body["response_url"])

        assert status["error_type"] == "request_timeout"
        assert result.status_code == 504
        assert result.headers["x-fal-request-timeout-type"] == "user"


@pytest.mark.parametrize(
    ("word", "code", "kind"),
    [
        ("refuse", 422, "content_policy_violation"),
        ("no_media", 422, "no_media_generated"),
        ("fail", 500, "internal_server_error"),
        ("timeout", 504, "generation_timeout"),
    ],
)
def test_a_model_error_is_completed_with_a_list_of_details(sandbox: Any, word: str, code: int, kind: str) -> None:
    body = sandbox.submit(prompt=f"a cup [[{word}]]").json()
    status = sandbox.done(body)
    result = sandbox.http.get(body["response_url"])

    assert status["status"] == "COMPLETED"
    assert status["error"].endswith(f"status code: {code}")
    assert (result.status_code, result.json()["detail"][0]["type"]) == (code, kind)
    assert result.headers["x-fal-billable-units"] == "0"


def test_an_infrastructure_error_is_one_text_and_a_type(sandbox: Any) -> None:
    body = sandbox.submit(prompt="a cup [[down]]").json()
    status = sandbox.done(body)
    result = sandbox.http.get(body["response_url"])

    assert status["error_type"] == result.json()["error_type"] == result.headers["x-fal-error-type"]
    assert isinstance(result.json()["detail"], str)
    assert result.status_code == 503


def test_fail_n_times_then_work(sandbox: Any) -> None:
    def once() -> int:
        body = sandbox.submit(prompt="a stubborn cup [[fail:2]]").json()
        sandbox.done(body)
        return int(sandbox.http.get(body["response_url"]).status_code)

    assert [once() for _ in range(3)] == [500, 500, 200]


def test_bad_input_is_accepted_and_fails_later(sandbox: Any) -> None:
    answer = sandbox.submit(image_size="enormous", num_images=9)
    sandbox.done(answer.json())
    details = sandbox.http.get(answer.json()["response_url"]).json()["detail"]

    assert answer.status_code == 200
    assert {tuple(detail["loc"][:2]) for detail in details} == {
        ("body", "prompt"),
        ("body", "image_size"),
        ("body", "num_images"),
    }
    assert {detail["type"] for detail in details} >= {"missing", "less_than_equal"}


def test_the_status_stream_ends_with_completed(sandbox: Any) -> None:
    body = sandbox.submit(prompt="a cup [[slow:80]]").json()
    with sandbox.http.stream("GET", body["status_url"] + "/stream?logs=1") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]

    assert '"COMPLETED"' in lines[-1]
    assert '"IN_PROGRESS"' in lines[0]
    messages = "".join(lines).count('"message"')
    assert messages == len(sandbox.http.get(body["status_url"] + "?logs=1").json()["logs"])


def test_a_result_can_be_gone(sandbox: Any) -> None:
    body = sandbox.submit(prompt="a cup [[forget]]").json()
    sandbox.done(body)

    assert sandbox.http.get(body["response_url"]).status_code == 404


def test_what_is_not_to_be_stored_is_forgotten_after_an_hour_of_its_time(start: Callable[..., Any]) -> None:
    sandbox = start("--speed", "1000")
    for keep, code in (("0", 404), ("1", 200)):
        body = sandbox.http.post(f"/{FLUX}", json={"prompt": "x"}, headers={"X-Fal-Store-IO": keep}).json()
        sandbox.done(body)

        def gone(url: str = body["response_url"], wanted: int = code) -> bool:
            return bool(sandbox.http.get(url).status_code == wanted)

        until_blocking(gone, within=20)


def test_the_log_counts_every_paid_post_with_its_exact_input(sandbox: Any) -> None:
    body = sandbox.submit(prompt="counted once", seed=3, hook="http://127.0.0.1:1/hook").json()
    sandbox.done(body)
    [post] = [one for one in sandbox.log("posts") if one["request_id"] == body["request_id"]]

    assert post["input"] == {"prompt": "counted once", "seed": 3}
    assert post["webhook"] == "http://127.0.0.1:1/hook"
    assert (post["outcome"], post["cost_micro_usd"], len(post["files"])) == ("ok", 3000, 1)
