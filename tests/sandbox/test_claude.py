"""The Claude half, asked through Anthropic's own client."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import fal_client
import httpx
import pytest
from PIL import Image
from pydantic import BaseModel, Field

MODEL = "claude-opus-5-5"


@pytest.fixture
def claude(sandbox: Any) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=sandbox.url, api_key="any", max_retries=0) as client:
        yield client


def _picture(data: bytes) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(data).decode()}
    return {"type": "image", "source": source}


def _ask(claude: anthropic.Anthropic, text: str, *images: dict[str, Any], **options: Any) -> Any:
    content: Any = [*images, {"type": "text", "text": text}]
    return claude.messages.create(
        model=MODEL, max_tokens=2000, messages=[{"role": "user", "content": content}], **options
    )


def _shaped(schema: dict[str, Any]) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False
    }  # fmt: skip


NUMBER, INTEGER, TEXT = {"type": "number"}, {"type": "integer"}, {"type": "string"}
BOX = _object(x=NUMBER, y=NUMBER, width=NUMBER, height=NUMBER)


def test_it_measures_size_and_colours(claude: anthropic.Anthropic) -> None:
    target = io.BytesIO()
    Image.new("RGB", (320, 200), (214, 172, 62)).save(target, "png")
    colours = {"type": "array", "items": _object(name=TEXT, hex=TEXT)}
    answer = _ask(
        claude,
        "What colours and size has it?",
        _picture(target.getvalue()),
        **_shaped(_object(colors=colours, dimensions=_object(width=INTEGER, height=INTEGER, unit=TEXT))),
    )
    told = json.loads(answer.content[0].text)

    assert told["colors"] == [{"name": "gold", "hex": "#d6ac3e"}]
    assert told["dimensions"] == {"width": 320, "height": 200, "unit": "px"}
    assert (answer.stop_reason, answer.model) == ("end_turn", MODEL)
    assert answer.usage.input_tokens > 10
    assert answer._request_id.startswith("req_")


def test_it_finds_the_defects_the_sandbox_painted_even_in_a_small_copy(
    sandbox: Any, fal: fal_client.SyncClient, claude: anthropic.Anthropic
) -> None:
    source = fal.subscribe("fal-ai/nano-banana", {"prompt": "a white porcelain vase"}, interval=0.01)
    arguments = {"prompt": "add a large crack", "image_urls": [source["images"][0]["url"]]}
    edited = fal.subscribe("fal-ai/nano-banana/edit", arguments, interval=0.01)
    data = httpx.get(edited["images"][0]["url"], trust_env=False, verify=False).content
    small = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").resize((500, 500)).save(small, "png")
    defects = {"type": "array", "items": _object(name=TEXT, severity={"enum": ["low", "high"]}, region=BOX)}

    answer = _ask(claude, "Find all defects.", _picture(small.getvalue()), **_shaped(_object(defects=defects)))
    [defect] = json.loads(answer.content[0].text)["defects"]
    painted = sandbox.log("boxes")[-1]

    assert defect["name"] == "Crack"
    assert defect["region"]["x"] == pytest.approx(painted["x"] / 1024, abs=0.001)
    assert defect["region"]["height"] == pytest.approx(painted["h"] / 1024, abs=0.001)


def test_a_tool_is_called_and_a_url_of_its_own_is_read(fal: fal_client.SyncClient, claude: anthropic.Anthropic) -> None:
    result = fal.subscribe("fal-ai/flux/schnell", {"prompt": "matte black headphones, rose gold"}, interval=0.01)
    image = {"type": "image", "source": {"type": "url", "url": result["images"][0]["url"]}}
    schema = _object(name=TEXT, materials={"type": "array", "items": TEXT}, description=TEXT)
    tool = {"name": "describe", "description": "d", "input_schema": schema}
    answer = _ask(claude, "Describe it.", image, tools=[tool], tool_choice={"type": "tool", "name": "describe"})
    [block] = answer.content

    assert (answer.stop_reason, block.type, block.name) == ("tool_use", "tool_use", "describe")
    assert "headphones" in block.input["name"]
    assert "sandbox picture" in block.input["description"]


class _Defect(BaseModel):
    name: str
    prompt: str
    severity: float = Field(ge=0, le=1)
    region: list[float] | None = None


class _Suggestions(BaseModel):
    defects: list[_Defect] = Field(min_length=4, max_length=4)


def test_a_pydantic_model_with_references_and_bounds_is_filled(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.parse(
        model=MODEL,
        max_tokens=1000,
        messages=[{"role": "user", "content": "Suggest four defects for a steel bottle."}],
        output_format=_Suggestions,
    )

    assert answer.parsed_output
    assert len({defect.name for defect in answer.parsed_output.defects}) == 4


def test_the_same_question_gets_the_same_answer(claude: anthropic.Anthropic) -> None:
    schema = _shaped(_object(defects={"type": "array", "items": _object(name=TEXT, region=BOX)}))
    answers = [_ask(claude, "Suggest defects for a cup.", **schema).content[0].text for _ in range(2)]

    assert answers[0] == answers[1]


def test_every_unhappy_end_can_be_asked_for(sandbox: Any, claude: anthropic.Anthropic) -> None:
    schema = _shaped(_object(name=TEXT))
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        _ask(claude, "x [[overloaded]]")
    with pytest.raises(anthropic.RateLimitError):
        _ask(claude, "x [[rate_limited:1]]")
    assert _ask(claude, "x [[rate_limited:1]]").stop_reason == "end_turn"
    with pytest.raises(json.JSONDecodeError):
        json.loads(_ask(claude, "x [[invalid_json]]", **schema).content[0].text)

    assert overloaded.value.status_code == 529
    assert _ask(claude, "x [[refusal]]", **schema).stop_reason == "refusal"
    assert _ask(claude, "x [[cut_short]]", **schema).stop_reason == "max_tokens"
    assert _ask(claude, "x", extra_headers={"X-Sandbox-Claude": "refusal"}).stop_reason == "refusal"
    with pytest.raises(anthropic.BadRequestError):
        _ask(claude, "x", _picture(b"no picture"))


def test_a_model_is_told_of_by_its_name(claude: anthropic.Anthropic, sandbox: Any) -> None:
    told = claude.models.retrieve(MODEL)
    with pytest.raises(anthropic.NotFoundError) as unknown:
        claude.models.retrieve("gpt-9")
    with pytest.raises(anthropic.AuthenticationError):
        claude.with_options(api_key="bad").models.retrieve(MODEL)

    assert (told.type, told.id, told.lifecycle) == ("model", MODEL, "active")
    assert unknown.value.body == {
        "type": "error",
        "error": {"type": "not_found_error", "message": "model: gpt-9"},
        "request_id": unknown.value.request_id,
    }
    priced = httpx.get(f"{sandbox.url}/v1/models/pricing", trust_env=False, verify=False)
    assert "Authentication" in priced.json()["detail"], "fal's address, not a model of Claude's"


def test_both_key_headers_are_taken_and_none_is_refused(sandbox: Any) -> None:
    body = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}

    def status(**headers: str) -> int:
        return int(
            httpx.post(
                f"{sandbox.url}/v1/messages", json=body, headers=headers, trust_env=False, verify=False
            ).status_code
        )

    assert status(**{"X-Api-Key": "k"}) == 200
    assert status(Authorization="Bearer k") == 200
    assert status() == 401
    assert sandbox.http.get("/_log/questions").json()["questions"]
