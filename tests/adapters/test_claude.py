"""The wire to Claude, and answers that no well-behaved server gives."""

import asyncio
import json
from typing import Any

import pytest

from app.adapters.claude import ClaudeVision
from app.core.errors import Unavailable
from app.ports import Picture, Question, Reply
from tests.adapters.raw_fal import RawFal, Script, answer, hangs_up, never_answers, says

QUESTION = Question(
    "test", "Be kind.", "What is it?", (Picture("image/png", b"png"),), {"type": "object"}, deadline=0.7
)
GOOD = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-test",
    "content": [{"type": "text", "text": '{"a": '}, {"type": "text", "text": "1}"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 5},
}


async def _ask(script: Script, question: Question = QUESTION) -> tuple[Reply, list[bytes]]:
    async with RawFal(script).open() as server:
        vision = ClaudeVision("secret-key", model="claude-test", base_url=server.url)
        try:
            return await vision.ask(question), server.posts
        finally:
            await vision.close()


def _says(message: Any, status: str = "200 OK", **headers: str) -> Script:
    return says(answer(status, json.dumps(message).encode(), Content_Type="application/json", **headers))


async def test_the_question_is_one_message_with_pictures_first_and_a_schema() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
    question = Question("test", "Be kind.", "What is it?", (Picture("image/png", b"png"),), schema, max_tokens=77)

    reply, posts = await _ask(_says(GOOD), question)

    assert (reply.outcome, reply.data, reply.input_tokens, reply.output_tokens) == ("answered", {"a": 1}, 10, 5)
    (post,) = posts
    head, body = post.split(b"\r\n\r\n", 1)
    sent = json.loads(body)
    assert head.startswith(b"POST /v1/messages ")
    assert (sent["model"], sent["max_tokens"], sent["system"]) == ("claude-test", 77, "Be kind.")
    picture, text = sent["messages"][0]["content"]
    assert picture["source"] == {"type": "base64", "media_type": "image/png", "data": "cG5n"}
    assert text == {"type": "text", "text": "What is it?"}
    form = sent["output_config"]["format"]
    assert form["type"] == "json_schema"
    assert form["schema"]["additionalProperties"] is False
    assert "minimum" not in form["schema"]["properties"]["n"]  # the server takes no ranges


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"stop_reason": "refusal"}, "refused"),
        ({"stop_reason": "max_tokens"}, "cut"),
        ({"stop_reason": "model_context_window_exceeded"}, "cut"),
        ({"stop_reason": "stop_sequence"}, "answered"),
        ({"stop_reason": "pause_turn"}, "unreadable"),
        ({"stop_reason": "something new"}, "unreadable"),
        ({"stop_reason": None}, "unreadable"),
        ({"content": []}, "unreadable"),
        ({"content": [{"type": "text", "text": "sorry"}]}, "unreadable"),
        ({"content": [{"type": "text", "text": "[" * 100_000}]}, "unreadable"),
        ({"content": None}, "unreadable"),
        ({"usage": None}, "unreadable"),
    ],
)
async def test_why_it_stopped_decides(changes: dict[str, Any], outcome: str) -> None:
    reply, _ = await _ask(_says(GOOD | changes))

    assert reply.outcome == outcome, reply
    assert (reply.data is not None) == (outcome == "answered")
    if changes.get("usage", 1) and changes.get("content", 1) is not None:
        assert (reply.input_tokens, reply.output_tokens) == (10, 5)


@pytest.mark.parametrize(
    ("script", "outcome", "most_posts"),
    [
        (never_answers, "timed_out", 1),
        (hangs_up, "away", 20),
        (says(b"SSH-2.0\r\n", then_cut=True), "away", 20),
        (says(answer("200 OK", b"<html>", Content_Type="text/html")), "unreadable", 1),
        (says(answer("200 OK", b"{no JSON", Content_Type="application/json")), "unreadable", 1),
        (_says({"type": "error"}, "529 Overloaded"), "away", 20),
        (_says({"type": "error"}, "400 Bad Request"), "away", 1),
        (_says({"type": "error"}, "413 Too Large"), "away", 1),
        (_says({"type": "error"}, "429 Too Many", Retry_After="4000000"), "away", 1),
    ],
)
async def test_nothing_a_server_does_is_an_exception_or_outlasts_the_deadline(
    script: Script, outcome: str, most_posts: int
) -> None:
    reply, posts = await _ask(script)

    assert reply.outcome == outcome, reply
    assert 1 <= len(posts) <= most_posts
    assert reply.seconds < 2
    assert "secret-key" not in repr(reply)


MODEL = {
    "id": "claude-test",
    "type": "model",
    "display_name": "Claude Test",
    "created_at": "2026-02-04T00:00:00Z",
    "lifecycle": "active",
}


async def _checked(script: Script) -> list[bytes]:
    async with RawFal(script).open() as server:
        vision = ClaudeVision("secret-key", model="claude-test", base_url=server.url)
        try:
            await vision.check()
        finally:
            await vision.close()
        return server.posts


async def test_a_check_asks_for_the_model_and_nothing_else() -> None:
    [asked] = await _checked(_says(MODEL))

    assert asked.startswith(b"GET /v1/models/claude-test HTTP/1.1\r\n")
    assert b"secret-key" in asked


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (_says({"type": "error"}, "401 Unauthorized"), "does not take the key"),
        (_says({"type": "error"}, "403 Forbidden"), "does not take the key"),
        (_says({"type": "error"}, "404 Not Found"), "knows no model claude-test"),
        (_says({"type": "error"}, "529 Overloaded"), "is away"),
        (_says(MODEL | {"lifecycle": "retired"}), "is retired"),
        (_says({"object": "list"}), "does not answer as Claude does"),
        (says(answer("200 OK", b"<html>", Content_Type="text/html")), "does not answer as Claude does"),
        (says(answer("200 OK", b"{no JSON", Content_Type="application/json")), "is away"),
        (hangs_up, "is away"),
        (never_answers, "did not answer within"),
    ],
)
async def test_a_check_says_why_not(script: Script, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.adapters.claude._CHECK_DEADLINE", 0.7)

    with pytest.raises(Unavailable, match=why) as said:
        await _checked(script)

    assert "secret-key" not in said.value.detail


async def test_nobody_there_is_away() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    vision = ClaudeVision("k", model="claude-test", base_url=f"http://127.0.0.1:{port}")

    assert (await vision.ask(QUESTION)).outcome == "away"
    await vision.close()


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert (await _ask(_says(GOOD)))[0].outcome == "answered"
