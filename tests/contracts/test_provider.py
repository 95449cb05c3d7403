"""What a provider keeps to, tried on a provider that is there: the sandbox, as a program of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.adapters.fal import FalProvider
from app.adapters.fal_wire import Waits
from app.core.errors import Unavailable
from app.ports import Accepted, Answer, NotAccepted, Progress, Provider, Rejected, Ticket, Unanswered, Unsent
from tests.sandbox.conftest import Sandbox, launch
from tests.waiting import until

FLUX = "fal-ai/flux/schnell"
EDIT = "fal-ai/nano-banana/edit"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    box = launch("--speed", "50")
    yield box
    box.stop()


@pytest.fixture
async def provider(sandbox: Sandbox) -> AsyncIterator[Provider]:
    made = FalProvider("sandbox", origin=sandbox.url, waits=Waits(connect=2, submit=5, read=5, upload=5))
    yield made
    await made.close()


async def _accepted(provider: Provider, prompt: str, endpoint: str = FLUX, **more: Any) -> Ticket:
    submission = await provider.submit(endpoint, {"prompt": prompt, **more}, webhook_url=None)
    assert isinstance(submission, Accepted), submission
    return submission.ticket


async def _finished(provider: Provider, ticket: Ticket) -> Progress:
    async def done() -> Progress | None:
        progress = await provider.progress(ticket, logs=True)
        return progress if progress.state == "done" else None

    found = await until(done, within=20)
    assert found is not None
    return found


def _posts(sandbox: Sandbox, prompt: str) -> list[dict[str, Any]]:
    return [post for post in sandbox.log("posts") if post["input"].get("prompt") == prompt]


async def test_a_request_goes_from_submit_to_result(provider: Provider, sandbox: Sandbox) -> None:
    ticket = await _accepted(provider, "a red cup", seed=7)

    progress = await _finished(provider, ticket)
    answer = await provider.result(ticket)

    assert ticket == provider.ticket(FLUX, ticket.request_id)
    assert progress.logs
    assert answer.status == 200
    assert answer.body["seed"] == 7
    assert answer.body["images"][0]["url"].startswith(sandbox.url)
    assert answer.billable_units
    assert len(_posts(sandbox, "a red cup")) == 1


async def test_webhook_priority_and_start_timeout_arrive(provider: Provider, sandbox: Sandbox) -> None:
    webhook = "http://127.0.0.1:9/api/webhooks/fal/att_1/k1.tag?x=1"

    await provider.submit(FLUX, {"prompt": "told"}, webhook_url=webhook, low_priority=True, start_timeout=600)

    (post,) = _posts(sandbox, "told")
    assert post["webhook"] == webhook


async def test_a_submission_that_was_taken_but_not_answered_is_one_paid_post(
    provider: Provider, sandbox: Sandbox
) -> None:
    submission = await provider.submit(FLUX, {"prompt": "cut [[chaos:answer_cut]]"}, webhook_url=None)

    assert isinstance(submission, Unanswered)
    assert len(_posts(sandbox, "cut [[chaos:answer_cut]]")) == 1


async def test_the_list_finds_what_the_answer_lost(provider: Provider) -> None:
    since = datetime.now(UTC) - timedelta(seconds=5)
    arguments = {"prompt": "lost [[chaos:answer_cut]]", "seed": 12345}
    assert isinstance(await provider.submit(FLUX, arguments, webhook_url=None), Unanswered)

    found = await provider.listed(FLUX, since, datetime.now(UTC) + timedelta(seconds=5))

    assert found is not None
    (adopted,) = [each for each in found if each.arguments == arguments]
    ticket = provider.ticket(FLUX, adopted.request_id)
    await _finished(provider, ticket)
    assert (await provider.result(ticket)).status == 200


async def test_a_storm_of_429_is_no_acceptance_and_then_is_over(provider: Provider, sandbox: Sandbox) -> None:
    said = [await provider.submit(FLUX, {"prompt": "storm [[chaos:storm_429]]"}, webhook_url=None) for _ in range(4)]

    assert [type(each) for each in said] == [NotAccepted] * 3 + [Accepted]
    assert len(_posts(sandbox, "storm [[chaos:storm_429]]")) == 1


async def test_an_unknown_endpoint_is_rejected(provider: Provider) -> None:
    assert isinstance(await provider.submit("fal-ai/no-such-model", {"prompt": "x"}, webhook_url=None), Rejected)


async def test_wrong_input_fails_at_the_result_with_the_models_own_words(provider: Provider) -> None:
    ticket = await _accepted(provider, "x", num_images="many")

    await _finished(provider, ticket)
    answer = await provider.result(ticket)

    assert answer.status == 422
    assert isinstance(answer.body["detail"], list)
    assert answer.error_type


async def test_another_key_is_not_accepted_and_gets_no_list(sandbox: Sandbox) -> None:
    stranger = FalProvider("bad", origin=sandbox.url)
    now = datetime.now(UTC)

    assert isinstance(await stranger.submit(FLUX, {"prompt": "x"}, webhook_url=None), NotAccepted)
    assert await stranger.listed(FLUX, now, now) is None
    with pytest.raises(Unavailable, match="key"):
        await stranger.check()
    await stranger.close()


async def test_what_nobody_knows_is_missing(provider: Provider) -> None:
    unknown = provider.ticket(FLUX, "00000000-0000-0000-0000-000000000000")

    assert (await provider.progress(unknown)).state == "missing"
    assert (await provider.result(unknown)).status == 404
    assert await provider.cancel(unknown) == "unclear"


async def test_a_finished_request_is_too_late_to_cancel(provider: Provider) -> None:
    ticket = await _accepted(provider, "too late")
    await _finished(provider, ticket)

    assert await provider.cancel(ticket) == "too_late"


async def test_a_waiting_request_can_be_cancelled(provider: Provider) -> None:
    tickets = [await _accepted(provider, f"crowd {number} [[never]]") for number in range(14)]

    assert [await provider.cancel(ticket) for ticket in reversed(tickets)] == ["accepted"] * 14


async def test_a_reference_is_placed_where_the_provider_reads_it(provider: Provider, sandbox: Sandbox) -> None:
    ticket = await _accepted(provider, "to be edited")
    await _finished(provider, ticket)
    picture = sandbox.http.get((await provider.result(ticket)).body["images"][0]["url"]).content

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(picture), 10_000):
            yield picture[start : start + 10_000]

    url = await provider.place(chunks(), size=len(picture), content_type="image/jpeg", name="cup.jpg")
    edited = await _accepted(provider, "a scratch", EDIT, image_urls=[url])
    await _finished(provider, edited)

    assert sandbox.http.get(url).content == picture
    assert (await provider.result(edited)).status == 200


async def test_webhook_keys_are_those_the_provider_signs_with(provider: Provider) -> None:
    keys = await provider.keys()

    assert len(keys) == 2
    assert {len(key) for key in keys} == {32}


async def test_a_healthy_provider_says_so(provider: Provider) -> None:
    await provider.check()


@pytest.mark.parametrize("mode", ["500", "cut"])
async def test_an_outage_is_never_taken_for_an_answer(provider: Provider, sandbox: Sandbox, mode: str) -> None:
    ticket = await _accepted(provider, f"outage {mode}")
    sandbox.http.post("/_pause", json={"mode": mode})
    try:
        assert isinstance(await provider.submit(FLUX, {"prompt": "x"}, webhook_url=None), Unanswered)
        assert (await provider.progress(ticket)).state == "unclear"
        assert await provider.result(ticket) == Answer(0, (await provider.result(ticket)).body)
        assert await provider.cancel(ticket) == "unclear"
        for asked in (provider.keys(), provider.check(), provider.listed(FLUX, datetime.now(UTC), datetime.now(UTC))):
            with pytest.raises(Unavailable):
                await asked
    finally:
        sandbox.http.post("/_resume")
    await _finished(provider, ticket)


async def test_nobody_there_is_unsent() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    away = FalProvider("sandbox", origin=f"http://127.0.0.1:{port}")

    assert isinstance(await away.submit(FLUX, {"prompt": "x"}, webhook_url=None), Unsent)
    with pytest.raises(Unavailable):
        await away.check()
    await away.close()
