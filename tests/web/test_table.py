"""How an address is found."""

from __future__ import annotations

from typing import Any

import pytest

from app.web.table import Table


async def nothing(*_: Any) -> None: ...


def table(*paths: str) -> Table:
    return Table([("GET", path, nothing) for path in paths], otherwise=nothing)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", ("/", {})),
        ("/jobs", ("/jobs", {})),
        ("/jobs/7", ("/jobs/{job}", {"job": "7"})),
        ("/jobs/search", ("/jobs/search", {})),
        ("/jobs/search/stream", ("/jobs/{job}/stream", {"job": "search"})),
        ("/jobs/7/cancel", ("/jobs/{id}/cancel", {"id": "7"})),
        ("/jobs/{job}", ("/jobs/{job}", {"job": "{job}"})),
        ("/a/x/b/y", ("/a/{one}/b/{two}", {"one": "x", "two": "y"})),
        ("/models/fal-ai/flux/dev", ("/models/{model:path}", {"model": "fal-ai/flux/dev"})),
        ("/models/flux", ("/models/{model:path}", {"model": "flux"})),
        ("/models/flux/prices", ("/models/{model}/prices", {"model": "flux"})),
        ("/models", None),
        ("/models/", None),
        ("/jobs/", None),
        ("/jobs//stream", None),
        ("/jobs/7/", None),
        ("/jobs/7/other", None),
        ("/other", None),
        ("", None),
    ],
)
def test_a_fixed_word_wins_and_a_placeholder_is_one_whole_word(
    path: str, found: tuple[str, dict[str, str]] | None
) -> None:
    addresses = table(
        "/",
        "/jobs",
        "/jobs/{job}",
        "/jobs/search",
        "/jobs/{job}/stream",
        "/jobs/{id}/cancel",
        "/a/{one}/b/{two}",
        "/models/{model:path}",
        "/models/{model}/prices",
    )
    hit = addresses.find(path)

    assert (None if hit is None else (hit[0].path, hit[1])) == found


def test_two_answers_to_one_address_are_refused() -> None:
    with pytest.raises(ValueError, match="two endpoints for GET /a"):
        table("/a", "/a")
    with pytest.raises(ValueError, match="are the same address"):
        table("/a/{x}", "/a/{y}")
    with pytest.raises(ValueError, match="no whole placeholder"):
        table("/a/{x}.{y}")
    with pytest.raises(ValueError, match="no whole placeholder"):
        table("/a/{x:path}/b")
    with pytest.raises(ValueError, match="are the same address"):
        table("/a/{x:path}", "/a/{y:path}")
