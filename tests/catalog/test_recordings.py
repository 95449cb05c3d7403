"""Every model over its four recordings: completed, refused, invalid, odd. They are made from fal's documented shapes;
each says from which."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.catalog import MODELS
from app.catalog.outcomes import Made, Outcome, Unfetched, from_answer, from_delivery
from app.catalog.spec import Model

FOLDER = Path(__file__).parent.parent / "recordings" / "fal"
KINDS = {"completed", "refused", "invalid", "odd"}
PRIVATE = ("private words", "reference.example", "private/picture")

BY_MODULE = {model.input.__module__.rpartition(".")[2]: model for model in MODELS}
CASES = [
    pytest.param(BY_MODULE[path.parent.name], path, way, id=f"{path.parent.name}-{path.stem}-{way}")
    for path in sorted(FOLDER.glob("*/*.json"))
    for way in ("delivery", "answer")
    if way in json.loads(path.read_text())
]


def test_every_model_has_its_four_recordings() -> None:
    found = {folder.name: {path.stem for path in folder.glob("*.json")} for folder in FOLDER.iterdir()}

    assert found == dict.fromkeys(BY_MODULE, KINDS)


@pytest.mark.parametrize(("model", "path", "way"), CASES)
def test_a_recording_means_what_it_says(model: Model, path: Path, way: str) -> None:
    recording = json.loads(path.read_text())

    outcome = read(model, recording, way)

    expected = recording["expect"]
    assert shown(outcome) == {name: value for name, value in expected.items() if name != "mentions"}
    assert expected.get("mentions", "") in getattr(outcome, "detail", "")
    assert not isinstance(outcome, Made) or outcome.outputs.files
    assert not any(word in getattr(outcome, "detail", "") for word in PRIVATE)
    assert recording["source"]


def read(model: Model, recording: Mapping[str, Any], way: str) -> Outcome:
    if way == "delivery":
        return from_delivery(model, recording["delivery"])
    answer = recording["answer"]
    headers = answer["headers"]
    said = headers.get("X-Fal-Retryable", headers.get("X-Fal-Needs-Retry"))
    hint = None if said is None else said in {"true", "1"}
    return from_answer(model, answer["status"], answer["body"], hint, headers.get("X-Fal-Error-Type"))


def shown(outcome: Outcome) -> dict[str, Any]:
    kind = type(outcome).__name__.lower()
    if isinstance(outcome, Made):
        made = outcome.outputs
        return {
            "outcome": kind,
            "files": [[file.url, file.role] for file in made.files],
            "seed": made.seed,
            "note": made.note,
        }
    if isinstance(outcome, Unfetched):
        return {"outcome": kind}
    return {"outcome": kind, "code": outcome.code}
