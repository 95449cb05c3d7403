"""Claude looks at pictures and answers in a schema. Every way that can end is a `Reply`; none is an exception."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.core.errors import Unavailable
from app.ports import Picture, Question, Reply

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.types import Message
    from tenacity import RetryCallState

_WORTH_REPEATING = {408, 409, 429}
_LONGEST_PAUSE = 4.0
_CHECK_DEADLINE = 10.0
_SHAPELESS = (
    ValueError,
    TypeError,
    AttributeError,
    RecursionError,
)  # the SDK does not insist on the shape of an answer


class ClaudeVision:
    """`base_url` is the sandbox's when there is no key for the real one."""

    def __init__(self, key: str, *, model: str, base_url: str | None = None) -> None:
        self._key = key
        self._model = model
        self._base_url = base_url
        self._client: AsyncAnthropic | None = None
        self._opening = asyncio.Lock()

    async def ask(self, question: Question) -> Reply:
        client = await self._opened()
        began = time.monotonic()
        reply = await _Call(client, self._model, question).reply()
        return replace(reply, seconds=time.monotonic() - began)

    async def check(self) -> None:
        """Asks what the model is: nothing is generated, so nothing is paid."""
        client = await self._opened()
        where = f"""Claude at {str(client.base_url).rstrip("/")}"""
        try:
            async with asyncio.timeout(_CHECK_DEADLINE):
                model = await client.models.retrieve(self._model)
        except Exception as e:
            raise Unavailable(_why_not(e, where, self._model)) from e
        if getattr(model, "type", None) != "model":  # the SDK does not insist on the shape of an answer
            raise Unavailable(f"{where} does not answer as Claude does.")
        if model.lifecycle == "retired":
            raise Unavailable(f"{self._model} is retired: Claude answers no more questions under that name.")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _opened(self) -> AsyncAnthropic:
        """The SDK takes about two seconds to import: on a thread, at the first question, outside its deadline."""
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(_new_client, self._key, self._base_url)
        return self._client


@dataclass
class _Call:
    client: AsyncAnthropic
    model: str
    question: Question
    failure: str = ""

    async def reply(self) -> Reply:
        import anthropic

        try:
            async with asyncio.timeout(self.question.deadline):
                return _read(await self._repeated())
        except TimeoutError:
            if self.failure:
                return Reply("away", self.model, detail=self.failure)
            return Reply("timed_out", self.model, detail=f"No answer within {self.question.deadline:g} s.")
        except anthropic.AnthropicError as e:
            return Reply("away", self.model, detail=_said(e))
        except _SHAPELESS as e:
            return Reply("unreadable", self.model, detail=_said(e))

    async def _repeated(self) -> Message:
        """Again while Claude is overloaded or out of reach; our deadline is what ends it."""
        from tenacity import AsyncRetrying, retry_if_exception

        repeated = AsyncRetrying(
            retry=retry_if_exception(_passing), wait=_pause, before_sleep=self._remember, reraise=True
        )
        return await repeated(self._create)

    async def _create(self) -> Message:
        import anthropic

        question = self.question
        schema = anthropic.transform_schema(dict(question.schema))
        request: dict[str, Any] = {
            "model": self.model,
            "max_tokens": question.max_tokens,
            "system": question.system,
            "messages": [{"role": "user", "content": [*map(_image, question.pictures), _text(question.text)]}],
            "output_config": {"format": {"type": "json_schema", "schema": schema}},
        }
        message: Message = await self.client.messages.create(**request)
        return message

    def _remember(self, state: RetryCallState) -> None:
        self.failure = _said(state.outcome.exception()) if state.outcome else ""


def _new_client(key: str, base_url: str | None) -> AsyncAnthropic:
    import anthropic

    direct = dict.fromkeys(("http://", "https://", "all://"))  # the SDK obeys the environment's proxies all the same
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False, mounts=direct)
    return anthropic.AsyncAnthropic(api_key=key, base_url=base_url, max_retries=0, http_client=http)


def _image(picture: Picture) -> dict[str, Any]:
    data = base64.b64encode(picture.data).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": picture.content_type, "data": data}}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _read(message: Message) -> Reply:
    """Why it stopped and what it cost come first: they are true whatever the text is worth."""
    text = "".join(block.text for block in message.content if block.type == "text")
    reply = Reply(
        _ended(message.stop_reason),
        message.model,
        input_tokens=message.usage.input_tokens,
        output_tokens=message.usage.output_tokens,
    )
    if reply.outcome != "answered":
        return replace(reply, detail=text[:500])
    try:
        return replace(reply, data=json.loads(text))
    except (ValueError, RecursionError):
        return replace(reply, outcome="unreadable", detail=text[:500])


def _ended(stop_reason: str | None) -> str:
    match stop_reason:
        case "end_turn" | "stop_sequence":
            return "answered"
        case "refusal":
            return "refused"
        case "max_tokens" | "model_context_window_exceeded":
            return "cut"
    return "unreadable"


def _passing(error: BaseException) -> bool:
    import anthropic

    if isinstance(error, anthropic.APIStatusError):
        return error.status_code in _WORTH_REPEATING or error.status_code >= 500
    return isinstance(error, anthropic.APIConnectionError)


def _pause(state: RetryCallState) -> float:
    """What the server asks for, or a growing wait; never so long that a deadline passes asleep."""
    from tenacity import wait_random_exponential

    asked = getattr(getattr(state.outcome and state.outcome.exception(), "response", None), "headers", {})
    try:
        return min(float(asked["retry-after"]), _LONGEST_PAUSE)
    except (KeyError, ValueError):
        return wait_random_exponential(multiplier=0.25, max=_LONGEST_PAUSE)(state)


def _why_not(error: Exception, where: str, model: str) -> str:
    import anthropic

    match error:
        case TimeoutError() | anthropic.APITimeoutError():
            return f"{where} did not answer within {_CHECK_DEADLINE:g} s."
        case anthropic.AuthenticationError() | anthropic.PermissionDeniedError():
            return f"{where} does not take the key: {_said(error)}"
        case anthropic.NotFoundError():
            return f"{where} knows no model {model}: {_said(error)}"
    return f"{where} is away: {_said(error)}"


def _said(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"[:500]
