"""What whoever looks at pictures keeps to, tried on the sandbox's imitation of Claude."""

import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from app.adapters.claude import ClaudeVision
from app.adapters.no_vision import NoVision
from app.core.errors import Unavailable
from app.ports import Picture, Question, Vision
from tests.sandbox.conftest import Sandbox, launch

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAE0lEQVR4nGP8z4APMOGVHbHSAEEsAROxCnMTAAAAAElFTkSuQmCC"
)
SCHEMA = {
    "type": "object",
    "properties": {
        "description": {"type": "string"},
        "defects": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
            "maxItems": 3,
        },
    },
    "required": ["description", "defects"],
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    box = launch("--speed", "50")
    yield box
    box.stop()


@pytest.fixture
async def vision(sandbox: Sandbox) -> AsyncIterator[Vision]:
    made = ClaudeVision("sandbox", model="claude-sonnet-5", base_url=sandbox.url)
    yield made
    await made.close()


def _question(text: str, **changes: Any) -> Question:
    given: dict[str, Any] = {
        "operation": "test",
        "system": "You look at pictures.",
        "text": text,
        "pictures": (Picture("image/png", PNG),),
        "schema": SCHEMA,
        "deadline": 20.0,
    }
    return Question(**(given | changes))


async def test_an_answer_fits_the_schema_and_says_what_it_cost(vision: Vision) -> None:
    reply = await vision.ask(_question("What is wrong here?"))

    assert reply.outcome == "answered", reply
    assert reply.data.keys() == {"description", "defects"}
    assert reply.model == "claude-sonnet-5"
    assert reply.input_tokens > 0
    assert reply.output_tokens > 0
    assert 0 < reply.seconds < 20


async def test_several_pictures_and_none_are_fine(vision: Vision) -> None:
    picture = Picture("image/png", PNG)

    assert (await vision.ask(_question("Compare.", pictures=(picture, picture)))).outcome == "answered"
    assert (await vision.ask(_question("Imagine.", pictures=()))).outcome == "answered"


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("refusal", "refused"),
        ("cut_short", "cut"),
        ("invalid_json", "unreadable"),
        ("overloaded", "away"),
        ("broken", "away"),
        ("slow:500", "timed_out"),
    ],
)
async def test_every_failure_is_an_outcome_with_a_reason(vision: Vision, word: str, outcome: str) -> None:
    await vision.ask(_question("Wake up."))

    reply = await vision.ask(_question(f"Look. [[{word}]]", deadline=1.5))

    assert reply.outcome == outcome, reply
    assert reply.data is None
    assert reply.detail
    assert reply.seconds < 3
    if outcome in ("refused", "cut", "unreadable"):
        assert reply.output_tokens > 0


@pytest.mark.parametrize("word", ["overloaded:2", "broken:1", "rate_limited:1"])
async def test_what_passes_is_waited_for_within_the_deadline(vision: Vision, word: str) -> None:
    assert (await vision.ask(_question(f"Look again. [[{word}]]"))).outcome == "answered"


async def test_a_check_asks_nothing_that_is_paid(sandbox: Sandbox, vision: Vision) -> None:
    before = sandbox.log("summary")["counters"].get("claude.answered", 0)

    await vision.check()

    assert sandbox.log("summary")["counters"].get("claude.answered", 0) == before


async def test_without_a_key_there_is_nobody() -> None:
    nobody: Vision = NoVision()

    assert (await nobody.ask(_question("Look."))).outcome == "away"
    with pytest.raises(Unavailable, match="ANTHROPIC_API_KEY"):
        await nobody.check()


async def test_a_wrong_key_is_not_tried_twice(sandbox: Sandbox) -> None:
    stranger = ClaudeVision("bad", model="claude-sonnet-5", base_url=sandbox.url)
    before = sandbox.log("summary")["counters"].get("claude.refused.401", 0)

    reply = await stranger.ask(_question("Look."))

    assert reply.outcome == "away"
    assert "Authentication" in reply.detail
    assert sandbox.log("summary")["counters"]["claude.refused.401"] == before + 1
    with pytest.raises(Unavailable, match="does not take the key"):
        await stranger.check()
    assert sandbox.log("summary")["counters"]["claude.refused.401"] == before + 2
    await stranger.close()
