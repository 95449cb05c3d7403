"""From fal's JSON to an outcome: the table of statuses and types, and any JSON whatever."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog import MODELS, Catalog
from app.catalog.error_types import RULINGS
from app.catalog.failures import FAILURES, Code
from app.catalog.outcomes import (
    Failed,
    Made,
    Outcome,
    Refused,
    Retryable,
    Unfetched,
    from_answer,
    from_delivery,
)

MODEL = Catalog().resolve("flux/schnell")
SECRET = "the secret prompt, at https://secret.example/x"
OUTCOMES = (Made, Retryable, Refused, Failed, Unfetched)


def model_error(*types: str, loc: str = "prompt") -> dict[str, Any]:
    return {"detail": [{"loc": ["body", loc], "msg": SECRET, "type": kind, "input": SECRET} for kind in types]}


ANSWERS: list[tuple[int, Any, bool | None, str | None, type[Outcome], str | None]] = [
    # status, body, retry hint, error type, outcome, code
    (200, {"images": [{"url": "https://v3.fal.media/a"}]}, None, None, Made, None),
    (200, {"images": []}, None, None, Retryable, "no-picture"),
    (200, {"images": [{"width": 1}]}, None, None, Failed, "unreadable-answer"),
    (200, {"images": [{"url": "file:///etc/passwd"}]}, None, None, Failed, "unreadable-answer"),
    (200, {"images": [{"url": "https://v3.fal.media/a"}] * 33}, None, None, Failed, "unreadable-answer"),
    (200, None, None, None, Failed, "unreadable-answer"),
    (422, model_error("content_policy_violation"), None, None, Refused, "content-refused"),
    (422, model_error("content_policy_violation"), False, None, Refused, "content-refused"),
    (422, model_error("content_policy_violation"), True, None, Retryable, "content-refused"),
    (422, model_error("missing"), None, None, Refused, "invalid-input"),
    (422, model_error("never_heard_of"), None, None, Refused, "invalid-input"),
    (422, model_error("file_download_error", loc="image_url"), None, None, Refused, "reference-unreadable"),
    (422, model_error("no_media_generated"), None, None, Retryable, "no-picture"),
    (422, model_error("no_media_generated"), False, None, Retryable, "no-picture"),
    (422, model_error("no_media_generated", "content_policy_violation"), None, None, Refused, "content-refused"),
    (422, {"detail": SECRET}, None, None, Refused, "invalid-input"),
    (422, {}, None, None, Refused, "invalid-input"),
    (500, model_error("internal_server_error"), None, None, Retryable, "provider-fault"),
    (500, model_error("internal_server_error"), True, None, Retryable, "provider-fault"),
    (500, model_error("internal_server_error"), False, None, Failed, "provider-fault"),
    (500, model_error("never_heard_of"), None, None, Retryable, "provider-fault"),
    (504, model_error("generation_timeout"), None, None, Retryable, "provider-timeout"),
    (400, model_error("downstream_service_error"), None, None, Retryable, "provider-fault"),
    (504, {"detail": SECRET, "error_type": "startup_timeout"}, None, None, Retryable, "provider-timeout"),
    (503, {"detail": SECRET}, None, "runner_scheduling_failure", Retryable, "provider-fault"),
    (503, None, None, "runner_disconnected", Retryable, "provider-fault"),
    (503, {"detail": SECRET}, False, "runner_disconnected", Failed, "provider-fault"),
    (500, {"detail": SECRET}, None, None, Retryable, "provider-fault"),
    (500, {"detail": SECRET}, False, None, Failed, "provider-fault"),
    (499, {"detail": SECRET, "error_type": "client_cancelled"}, True, None, Failed, "cancelled"),
    (400, {"detail": SECRET, "error_type": "bad_request"}, None, None, Refused, "invalid-input"),
    (404, {"status": "NOT_FOUND"}, None, None, Failed, "gone"),
    (410, None, None, None, Failed, "gone"),
    # Nothing is known: a gateway spoke, or it is too early, or our own key is at fault
    (0, None, None, None, Unfetched, None),
    (202, {"status": "IN_PROGRESS"}, None, None, Unfetched, None),
    (302, None, None, None, Unfetched, None),
    (400, {"detail": "Request is still in progress"}, None, None, Unfetched, None),
    (401, {"detail": SECRET}, None, None, Unfetched, None),
    (403, {"detail": "User is locked. Reason: Exhausted balance"}, None, None, Unfetched, None),
    (429, {"detail": SECRET}, True, None, Unfetched, None),
    (502, "<html>nginx</html>", None, None, Unfetched, None),
    (503, None, None, None, Unfetched, None),
]


@pytest.mark.parametrize(("status", "body", "hint", "error_type", "kind", "code"), ANSWERS)
def test_an_answer_has_one_meaning(
    status: int, body: Any, hint: bool | None, error_type: str | None, kind: type[Outcome], code: str | None
) -> None:
    outcome = from_answer(MODEL, status, body, hint, error_type)

    assert type(outcome) is kind
    assert getattr(outcome, "code", None) == code
    assert SECRET not in getattr(outcome, "detail", "")


DELIVERIES: list[tuple[Any, type[Outcome], str | None]] = [
    ({"status": "OK", "payload": {"images": [{"url": "https://v3.fal.media/a"}]}}, Made, None),
    ({"payload": {"images": [{"url": "https://v3.fal.media/a"}]}, "new": 1}, Made, None),
    ({"status": "OK", "payload": None}, Unfetched, None),
    ({"status": "OK", "payload": None, "payload_error": SECRET}, Unfetched, None),
    ({"status": "ERROR", "payload": None, "payload_error": SECRET}, Unfetched, None),
    ({"status": "ERROR", "error": "Invalid status code: 422"}, Unfetched, None),
    ({"status": "ERROR", "payload": {"detail": SECRET}}, Unfetched, None),
    ({"status": "ERROR", "payload": {"detail": []}}, Unfetched, None),
    ({"status": "ERROR", "payload": SECRET}, Unfetched, None),
    (
        {"status": "ERROR", "payload": {"detail": SECRET, "error_type": "request_timeout"}},
        Retryable,
        "provider-timeout",
    ),
    ({"status": "ERROR", "payload": model_error("content_policy_violation")}, Refused, "content-refused"),
    ({"status": "ERROR", "payload": model_error("never_heard_of")}, Refused, "invalid-input"),
    ({"status": "ERROR", "payload": model_error("internal_server_error")}, Retryable, "provider-fault"),
    ({"status": "OK", "payload": model_error("no_media_generated")}, Retryable, "no-picture"),
    ({"status": "OK", "payload": {"prompt": SECRET}}, Failed, "unreadable-answer"),
    ({"request_id": "a"}, Failed, "unreadable-answer"),
    ([], Failed, "unreadable-answer"),
    (None, Failed, "unreadable-answer"),
]


@pytest.mark.parametrize(("body", "kind", "code"), DELIVERIES)
def test_a_delivery_has_one_meaning(body: Any, kind: type[Outcome], code: str | None) -> None:
    outcome = from_delivery(MODEL, body)

    assert type(outcome) is kind
    assert getattr(outcome, "code", None) == code
    assert SECRET not in getattr(outcome, "detail", "")


def test_flagged_pictures_are_left_out_with_a_word_and_none_left_is_a_refusal() -> None:
    body = {"images": [{"url": f"https://v3.fal.media/{n}"} for n in range(3)], "description": "Three cups."}

    some = from_answer(MODEL, 200, {**body, "has_nsfw_concepts": [True, False]})
    every = from_answer(MODEL, 200, {**body, "has_nsfw_concepts": [True, True, True, True]})

    assert isinstance(some, Made)
    assert [file.url[-1] for file in some.outputs.files] == ["1", "2"]
    assert some.outputs.note == "Three cups. The safety checker blacked out 1 of 3 pictures; they were left out."
    assert isinstance(every, Refused)


def test_the_limits_fal_names_reach_the_reader() -> None:
    error = {"loc": ["body", "num_images"], "type": "less_than_equal", "ctx": {"le": 4, "secret": SECRET}}

    outcome = from_answer(MODEL, 422, {"detail": [error]})

    assert isinstance(outcome, Refused)
    assert outcome.detail == ("A number is outside the model's limits at `num_images` (le 4). Choose one within them.")


def test_every_code_has_words_and_every_ruling_a_code() -> None:
    assert set(FAILURES) == set(Code)
    assert all(failure.title and failure.advice.endswith(".") for failure in FAILURES.values())
    assert all(ruling.sentence.endswith(".") for ruling in RULINGS.values())


# ----------------------------------------------------------------------------------------------------------------------
# Any JSON whatever. Known names are mixed in, so that it gets past the first glance; every text value holds the secret

NAMES = ["status", "payload", "payload_error", "detail", "error_type", "images", "image", "mask_image", "url", "seed"]
NAMES += ["has_nsfw_concepts", "description", "loc", "type", "ctx", "input", "expected", "le", "msg"]
WORDS = st.sampled_from(["OK", "ERROR", "https://v3.fal.media/a", *sorted(RULINGS)[:8], SECRET, "body"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text().map(lambda text: SECRET + text)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=25,
)
ERRORS = st.fixed_dictionaries({"detail": st.lists(JSON, max_size=3) | JSON}, optional={"error_type": JSON})
ENVELOPES = st.fixed_dictionaries({"status": JSON, "payload": JSON | ERRORS}, optional={"payload_error": JSON})


@settings(deadline=None, max_examples=300)
@given(model=st.sampled_from(MODELS), body=JSON | ENVELOPES)
def test_any_delivery_whatever_gives_an_outcome(model: Any, body: Any) -> None:
    _is_sound(from_delivery(model, body))


@settings(deadline=None, max_examples=300)
@given(
    model=st.sampled_from(MODELS),
    status=st.sampled_from([0, 200, 400, 404, 422, 429, 500, 503]) | st.integers(0, 599),
    body=JSON | ERRORS,
    hint=st.none() | st.booleans(),
    error_type=st.none() | st.text() | st.sampled_from(sorted(RULINGS)),
)
def test_any_answer_whatever_gives_an_outcome(
    model: Any, status: int, body: Any, hint: bool | None, error_type: str | None
) -> None:
    _is_sound(from_answer(model, status, body, hint, error_type))


def test_a_deep_answer_is_no_trouble() -> None:
    deep: Any = {}
    for _ in range(5_000):
        deep = {"images": [deep]}

    _is_sound(from_delivery(MODEL, {"status": "OK", "payload": {"picture": deep}}))


def _is_sound(outcome: Outcome) -> None:
    assert isinstance(outcome, OUTCOMES)
    if isinstance(outcome, Made):
        assert outcome.outputs.files
        return
    assert outcome.detail
    assert "secret" not in outcome.detail
    assert len(outcome.detail) < 700
    if not isinstance(outcome, Unfetched):
        assert outcome.code in FAILURES


def test_a_refusal_speaks_of_what_the_caller_sent() -> None:
    drawn = from_answer(MODEL, 422, model_error("content_policy_violation"))
    assert isinstance(drawn, Refused)
    assert drawn.detail.startswith("The model's content policy refused the request at `prompt`.")

    edit, fill = Catalog().resolve("nano-banana/edit"), Catalog().resolve("flux-pro/v1/fill")
    for model, field, sent_as in (
        (edit, "image_urls", "reference_images"),
        (fill, "image_url", "reference_images.0"),
        (fill, "mask_url", "reference_images.1"),
        (edit, "seed", "seed"),
    ):
        refused = from_answer(model, 422, model_error("file_download_error", loc=field))
        assert isinstance(refused, Refused)
        assert f"at `{sent_as}`." in refused.detail


def test_what_people_read_of_the_fields_is_in_words() -> None:
    for model in MODELS:
        for name, field in model.input.model_json_schema()["properties"].items():
            label, said = field.get("title", name), str(field.get("description", ""))
            assert not {"num", "inference"} & set(label.lower().replace("_", " ").split()), (model.id, name)
            assert not {"^", "string", "digits"} & set(said.replace(".", " ").replace("^", " ^ ").split()), (
                model.id,
                name,
            )
