"""Which form an answer has that could also be a stream."""

import pytest

from app.core.errors import NotAcceptable
from app.web.media import JSON, STREAM, preferred


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("application/*;q=0.1", JSON),
        ("text/html, */*; q=0.8", JSON),
        ("text/event-stream", STREAM),
        ("text/event-stream, */*", STREAM),
        ("application/json, Text/Event-Stream;q=0.5", STREAM),
        ("text/event-stream;q=0, */*", JSON),
        ("application/json;q=0.0, */*", STREAM),
        ("text/*", STREAM),
    ],
)
def test_who_names_a_stream_gets_one_and_everybody_else_a_page(accept: str, form: str) -> None:
    assert preferred(accept, named=STREAM, otherwise=JSON) == form


@pytest.mark.parametrize("accept", ["image/png", "text/html", "application/json;q=0", "*/*;q=0"])
def test_what_takes_neither_is_told_what_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptable, match=r"text/event-stream or application/json"):
        preferred(accept, named=STREAM, otherwise=JSON)
