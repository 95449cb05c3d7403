"""Words in a prompt that ask for an outcome, so that a person can see each one when he wants to. `/` lists them."""

import re

from app.sandbox.fal import outcomes
from app.sandbox.fal.outcomes import Outcome

MEANINGS = {
    "refuse": "422 content_policy_violation",
    "no_media": "422 no_media_generated",
    "fail": "500 internal_server_error, retryable",
    "fail:2": "the same, but only the first two times for the same input",
    "down": "503 runner_scheduling_failure, in the format of the infrastructure",
    "timeout": "504 generation_timeout",
    "nsfw": "a blacked-out picture with has_nsfw_concepts [true] (models without that field answer as usual)",
    "slow:20": "the run takes 20 seconds (divided by the speed)",
    "never": "stays in the queue until it is cancelled or its start timeout ends it",
    "seed:N": "the answer reports seed N, however large",
    "no_size": "pictures without width, height and file_size",
    "forget": "the result is gone (404) as soon as it is there; only the webhook carries it",
    "gone": "the files have expired when one comes to fetch them",
    "elsewhere": "file URLs on another host name than the one that was asked",
    "rerun": "fal repeats the run itself: gateway_request_id differs from request_id",
    "chaos:NAME": "that chaos for this request",
}


def spells_in(prompt: str) -> dict[str, str]:
    return dict(re.findall(r"\[\[(\w+)(?::([^\]]*))?\]\]", prompt))


def chaos_in(prompt: str) -> list[str]:
    return re.findall(r"\[\[chaos:(\w+)\]\]", prompt)


def number(text: str, otherwise: float) -> float:
    try:
        return float(text)
    except ValueError:
        return otherwise


def spoken_end(spells: dict[str, str], prompt: str, earlier_failures: int) -> Outcome | None:
    """The failure the prompt asks for, if it asks for one."""
    if "refuse" in spells:
        message = "The content could not be processed because it contained material flagged by a content checker."
        return outcomes.refusal(outcomes.detail("content_policy_violation", message, ["body", "prompt"], prompt))
    if "no_media" in spells:
        return no_media(prompt)
    if "fail" in spells and earlier_failures < number(spells["fail"], float("inf")):
        return outcomes.model_failure("internal_server_error", "Internal server error")
    if "timeout" in spells:
        return outcomes.model_failure("generation_timeout", "Generation timeout", 504)
    if "down" in spells:
        return outcomes.infrastructure_failure(503, "runner_scheduling_failure", "No runner could be scheduled")
    return None


def no_media(prompt: str) -> Outcome:
    message = "No media was generated for this request."
    return outcomes.refusal(outcomes.detail("no_media_generated", message, ["body", "prompt"], prompt))
