"""What each of fal's error types means for a job (`fal.md` 3.2, 3.3), as one table. A kind is what becomes of the
attempt: `retryable` may be bought again, `refused` is the request's own fault, `failed` is final."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.catalog.failures import Code

Kind = Literal["retryable", "refused", "failed"]


@dataclass(frozen=True)
class Ruling:
    """`firm` stands whatever the retry headers say."""

    kind: Kind
    code: Code
    sentence: str
    advice: str
    firm: bool = False


def _fault(sentence: str) -> Ruling:
    return Ruling("retryable", Code.PROVIDER_FAULT, sentence, "Nothing is wrong with the request.")


def _timeout(sentence: str) -> Ruling:
    return Ruling("retryable", Code.PROVIDER_TIMEOUT, sentence, "Nothing is wrong with the request.")


def _reference(sentence: str, advice: str) -> Ruling:
    return Ruling("refused", Code.REFERENCE_UNREADABLE, sentence, advice)


def _input(sentence: str, advice: str = "Correct it and send a new job.") -> Ruling:
    return Ruling("refused", Code.INVALID_INPUT, sentence, advice)


_MISSING = _input("A field that the model needs is missing.", "Add it and send a new job.")
_KIND = _input("A value is of the wrong kind.")
_CHOICE = _input("A value is none of those the model offers.", "Choose one of them.")
_BOUND = _input("A number is outside the model's limits.", "Choose one within them.")
_LENGTH = _input("A text or list has a length the model does not take.", "Make it fit and send a new job.")
_EXTRA = _input("The model does not know one of the fields.", "Leave it out.")

RULINGS: Mapping[str, Ruling] = {
    # The model's own errors (3.2)
    "content_policy_violation": Ruling(
        "refused",
        Code.CONTENT_REFUSED,
        "The model's content policy refused the request.",
        "Change the prompt, or the reference picture if there is one.",
    ),
    "no_media_generated": Ruling(
        "retryable",
        Code.NO_PICTURE,
        "The model answered without drawing anything.",
        "It often does when simply asked again; a plainer prompt helps too.",
        firm=True,  # fal's own mark is "no", yet plain retries often succeed; attempts bound them
    ),
    "internal_server_error": _fault("The model broke down while drawing."),
    "downstream_service_error": _fault("A service the model relies on gave an error."),
    "downstream_service_unavailable": _fault("A service the model relies on is away."),
    "generation_timeout": _timeout("The model did not finish drawing in time."),
    "image_load_error": _reference("The model could not open a reference picture.", "Save it anew as PNG or JPEG."),
    "file_download_error": _reference(
        "fal could not download a reference picture.", "Upload it here and use that copy."
    ),
    "image_too_small": _reference("A reference picture is too small for this model.", "Send a larger one."),
    "image_too_large": _reference("A reference picture has too many pixels for this model.", "Send a smaller one."),
    "file_too_large": _reference("A reference file is too large for this model.", "Send a smaller one."),
    "unsupported_image_format": _reference("The model does not read this kind of picture.", "Save it as PNG or JPEG."),
    "face_detection_error": _reference(
        "The model found no face in the reference picture.", "Send one that shows a face."
    ),
    "feature_not_supported": _input("The model cannot do what one of the fields asks for.", "Leave that field out."),
    "greater_than": _BOUND,
    "greater_than_equal": _BOUND,
    "less_than": _BOUND,
    "less_than_equal": _BOUND,
    "multiple_of": _BOUND,
    "sequence_too_short": _LENGTH,
    "sequence_too_long": _LENGTH,
    "string_too_short": _LENGTH,
    "string_too_long": _LENGTH,
    "one_of": _CHOICE,
    "enum": _CHOICE,
    "literal_error": _CHOICE,
    "missing": _MISSING,
    "value_error.missing": _MISSING,
    "extra_forbidden": _EXTRA,
    "string_type": _KIND,
    "int_type": _KIND,
    "int_parsing": _KIND,
    "float_type": _KIND,
    "bool_type": _KIND,
    "list_type": _KIND,
    "model_type": _KIND,
    "url_parsing": _KIND,
    # The infrastructure's (3.3), once fal's own retries are exhausted
    "request_timeout": _timeout("fal's queue did not reach the request in time."),
    "startup_timeout": _timeout("No machine at fal started in time."),
    "runner_connection_timeout": _timeout("A machine at fal did not answer in time."),
    "runner_scheduling_failure": _fault("fal found no machine for the request."),
    "runner_disconnected": _fault("A machine at fal dropped the request."),
    "runner_connection_refused": _fault("A machine at fal did not take the request."),
    "runner_connection_error": _fault("A machine at fal could not be reached."),
    "runner_incomplete_response": _fault("A machine at fal broke off its answer."),
    "runner_server_error": _fault("A machine at fal broke down."),
    "internal_error": _fault("fal had an internal error."),
    "client_disconnected": Ruling(
        "failed", Code.PROVIDER_FAULT, "fal took us to have hung up.", "Nothing is wrong with the request."
    ),
    "client_cancelled": Ruling("failed", Code.CANCELLED, "The request was cancelled at fal.", "", firm=True),
    "bad_request": _input("fal did not take the request."),
}

UNKNOWN_REFUSAL = _input("The model refused the request.", "Check the fields and send a new job.")
UNKNOWN_FAULT = _fault("Something broke at fal.")
BLACKED_OUT = Ruling(
    "refused",
    Code.CONTENT_REFUSED,
    "The safety checker flagged every picture and blacked it out.",
    "Change the prompt or the reference pictures.",
)
EMPTY = Ruling(
    "retryable",
    Code.NO_PICTURE,
    "The model answered, but with no picture in it.",
    "It often draws one when asked again.",
)
GONE = Ruling(
    "failed",
    Code.GONE,
    "fal no longer has the result: it is kept only for a while.",
    "The picture has to be made anew.",
)
UNREADABLE = Ruling(
    "failed",
    Code.UNREADABLE_ANSWER,
    "fal's answer is of a form this service does not know",
    "The operator can look at it.",
)
