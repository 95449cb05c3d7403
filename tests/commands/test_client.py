"""What the command line says of a refusal: for a person, each thing once."""

from typing import Any

import httpx
import pytest

from app.commands.client import _refuse
from app.settings import SettingsError


def said(detail: str, *faults: tuple[str, str]) -> str:
    errors: list[dict[str, Any]] = [{"pointer": pointer, "detail": detail, "code": "x"} for pointer, detail in faults]
    with pytest.raises(SettingsError) as refused:
        _refuse(httpx.Response(422, json={"detail": detail, "errors": errors}))
    return str(refused.value)


def test_a_fault_is_named_in_words() -> None:
    assert said("Nano Banana, edit does not take this input", ("/body/reference_images", "This model takes more")) == (
        "Nano Banana, edit does not take this input\n  reference images: This model takes more"
    )
    assert said("No", ("/query/status/0", "None of those")) == "No\n  status: None of those"
    assert said("No", ("/body/input/prompt", "Too short"), ("/body", "Odd")) == (
        "No\n  prompt: Too short\n  the request: Odd"
    )


def test_what_is_said_already_is_not_said_again() -> None:
    assert said("/body/n: Too many", ("/body/n", "Too many"), ("/body/m", "Too few")) == "n: Too many\nm: Too few"
    assert said("There is no such model.", ("/body/model", "There is no such model.")) == "There is no such model."
