"""Claude's Messages API, as far as a caller with pictures and schemas needs it, and what it tells of a model. It looks
at what it is given.

Words in the text ask for an outcome, as at fal: see MEANINGS. The header `X-Sandbox-Claude: word` does the same.
"""

import asyncio
import base64
import json
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.sandbox.claude.filling import fill
from app.sandbox.claude.sight import Sight, look
from app.sandbox.claude.telling import subject
from app.sandbox.fal import spells
from app.sandbox.fal.references import References, Unreadable
from app.sandbox.log import Log
from app.sandbox.pace import Pace, now
from app.sandbox.wire import origin_of

MEANINGS = {
    "overloaded": "529 overloaded_error",
    "overloaded:2": "the same, but only the first two times for the same question",
    "rate_limited": "429 rate_limit_error, with Retry-After; counts as above",
    "broken": "500 api_error; counts as above",
    "refusal": "stop_reason refusal, and prose instead of what was asked for",
    "invalid_json": "an answer that is not JSON",
    "cut_short": "stop_reason max_tokens in the middle of the answer",
    "slow:9": "answers after 9 seconds (divided by the speed)",
}
_ERRORS = {
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "rate_limited": (429, "rate_limit_error", "This request would exceed your rate limit"),
    "broken": (500, "api_error", "Internal server error"),
}
THINKING, PER_PICTURE = 1.2, 0.5


class Refused(Exception):
    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Question:
    model: str
    text: str
    images: list[bytes]
    schema: dict[str, Any] | None
    tool: str | None
    words: dict[str, str]
    max_tokens: int


@dataclass(frozen=True)
class ClaudeApi:
    log: Log
    references: References
    pace: Pace
    asked: Counter[str] = field(default_factory=Counter)

    def routes(self) -> list[Route]:
        return [
            Route("/v1/messages", self.messages, methods=["POST"]),
            Route("/v1/models/{model}", self.model, methods=["GET"]),
        ]

    async def model(self, request: Request) -> Response:
        request_id = _request_id()
        try:
            _check_key(request)
            body = _described(request.path_params["model"])
        except Refused as problem:
            return self._refused(problem, request_id)
        return JSONResponse(body, headers={"request-id": request_id})

    async def messages(self, request: Request) -> Response:
        request_id = _request_id()
        try:
            _check_key(request)
            question = await self._read(request)
            body = await self._answer(question)
        except Refused as problem:
            return self._refused(problem, request_id)
        self.log.count("claude.answered")
        self.log.add(
            "questions",
            time=now(),
            model=question.model,
            images=len(question.images),
            text=question.text[:4000],
            status=200,
            answer=json.dumps(body["content"])[:8000],
            **{name: body["usage"][name] for name in ("input_tokens", "output_tokens")},
        )
        return JSONResponse(body, headers={"request-id": request_id})

    def _refused(self, problem: Refused, request_id: str) -> Response:
        error = {"type": problem.kind, "message": str(problem)}
        self.log.count(f"claude.refused.{problem.status}")
        extra = {"retry-after": "1"} if problem.status == 429 else {}
        body = {"type": "error", "error": error, "request_id": request_id}
        return JSONResponse(body, problem.status, {"request-id": request_id, **extra})

    async def _read(self, request: Request) -> Question:
        try:
            given = json.loads(await request.body())
        except ValueError:
            raise Refused(400, "invalid_request_error", "The body is not JSON") from None
        for name in ("model", "max_tokens", "messages"):
            if not given.get(name):
                raise Refused(400, "invalid_request_error", f"{name}: Field required")
        if given.get("stream"):
            raise Refused(400, "invalid_request_error", "stream: the sandbox answers in one piece only")
        texts = [_text_of(given.get("system") or "")]
        images: list[bytes] = []
        for message in given["messages"]:
            texts.append(_text_of(message["content"]))
            parts = message["content"] if isinstance(message["content"], list) else []
            sources = [part.get("source") or {} for part in parts if part.get("type") == "image"]
            images += [await self._image(source, origin_of(request)) for source in sources]
        text = "\n".join(filter(None, texts))
        schema, tool = _wanted(given)
        words = {**spells.spells_in(text), **spells.spells_in(f"[[{request.headers.get('x-sandbox-claude', '')}]]")}
        return Question(str(given["model"]), text, images, schema, tool, words, int(given["max_tokens"]))

    async def _image(self, source: dict[str, Any], origin: str) -> bytes:
        try:
            if source.get("type") == "base64":
                return base64.b64decode(source["data"], validate=True)
            if source.get("type") == "url":
                return await self.references.fetch(str(source["url"]), origin)
        except (ValueError, KeyError, Unreadable) as problem:
            raise Refused(400, "invalid_request_error", f"Could not process image: {problem}") from problem
        raise Refused(400, "invalid_request_error", "image.source: base64 or url expected")

    async def _answer(self, question: Question) -> dict[str, Any]:
        self._fail_if_told(question)
        sights = [await self._look(image) for image in question.images]
        usual = THINKING + PER_PICTURE * len(sights)
        await asyncio.sleep(self.pace.real(spells.number(question.words.get("slow", ""), usual)))
        told = subject(question.text, sights)
        stop, content = "end_turn", _said(question, told.facts["description"])
        if question.schema is not None and "refusal" not in question.words:
            value = fill(question.schema, told)
            content = _as_asked(question, value)
            stop = "tool_use" if question.tool else stop
        if "refusal" in question.words:
            stop = "refusal"
        if "cut_short" in question.words:
            stop, content = "max_tokens", [{"type": "text", "text": json.dumps(content)[1:40]}]
        usage = {
            "input_tokens": len(question.text) // 4 + sum(sight.width * sight.height // 750 for sight in sights) + 12,
            "output_tokens": len(json.dumps(content)) // 4 + 4,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        }
        return {
            "id": f"msg_{uuid.uuid4().hex[:24]}",
            "type": "message",
            "role": "assistant",
            "model": question.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        }

    async def _look(self, image: bytes) -> Sight:
        try:
            return await asyncio.to_thread(look, image, self.log)
        except (OSError, SyntaxError, ValueError) as problem:
            raise Refused(400, "invalid_request_error", "Could not process image") from problem

    def _fail_if_told(self, question: Question) -> None:
        for word, error in _ERRORS.items():
            if word in question.words:
                self.asked[f"{word}:{question.text}"] += 1
                if self.asked[f"{word}:{question.text}"] <= spells.number(question.words[word], float("inf")):
                    raise Refused(*error)


def _request_id() -> str:
    return f"req_{uuid.uuid4().hex[:24]}"


def _described(model: str) -> dict[str, Any]:
    """Whoever is asked for here is there, as long as the name is one of Claude's."""
    if not model.startswith("claude-"):
        raise Refused(404, "not_found_error", f"model: {model}")
    return {
        "type": "model",
        "id": model,
        "display_name": model.replace("-", " ").title(),
        "created_at": "1970-01-01T00:00:00Z",  # what Claude says where it is not known
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "capabilities": None,
        "max_input_tokens": None,
        "max_tokens": None,
    }


def _check_key(request: Request) -> None:
    bearer = request.headers.get("authorization", "").partition(" ")[2]
    key = request.headers.get("x-api-key") or bearer
    if not key or key == "bad":
        raise Refused(401, "authentication_error", "invalid x-api-key")


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


def _wanted(given: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """The schema to fill, and the tool it belongs to."""
    tools = {tool["name"]: tool for tool in given.get("tools") or [] if "input_schema" in tool}
    choice = given.get("tool_choice") or {"type": "auto"}
    answered = choice["type"] == "auto" and "tool_result" in json.dumps(given["messages"][-1])
    if tools and choice["type"] != "none" and not answered:
        name = choice["name"] if choice["type"] == "tool" else next(iter(tools))
        if name not in tools:
            raise Refused(400, "invalid_request_error", f"tool_choice: there is no tool {name!r}")
        return tools[name]["input_schema"], name
    form = (given.get("output_config") or {}).get("format") or {}
    return (form.get("schema"), None) if form.get("type") == "json_schema" else (None, None)


def _said(question: Question, description: str) -> list[dict[str, Any]]:
    text = "I can't help with that request." if "refusal" in question.words else description
    return [{"type": "text", "text": text}]


def _as_asked(question: Question, value: object) -> list[dict[str, Any]]:
    if question.tool:
        return [{"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:24]}", "name": question.tool, "input": value}]
    text = json.dumps(value)
    return [{"type": "text", "text": text[:-1] + ", oops" if "invalid_json" in question.words else text}]
