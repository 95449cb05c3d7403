"""The pages for people: complete, escaped, offline, and without a script in the page."""

from __future__ import annotations

import hashlib
import re
from html import unescape

import httpx
import pytest

from app.web.docs import STATIC
from tests.web.tiny import ABOUT

VENDORED = STATIC / "swagger"


def test_what_is_vendored_is_what_was_published() -> None:
    table = re.findall(r"\| `([0-9a-f]{64})` \| (\S+) \|", (VENDORED / "VENDOR.md").read_text())
    files = {path.name for path in VENDORED.iterdir()} - {"VENDOR.md"}

    assert {name for _, name in table} == files
    for digest, name in table:
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("path", ["/docs", "/docs/errors", "/docs/events"])
async def test_a_page_holds_no_script_and_needs_no_other_host(http: httpx.AsyncClient, path: str) -> None:
    page = await http.get(path)
    policy = page.headers["content-security-policy"]

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"<script(?! src=)|\son[a-z]+=|javascript:|https?://", page.text)
    assert "script-src 'self';" in policy
    assert "unsafe-eval" not in policy
    assert ("unsafe-inline" in policy) == (path == "/docs")
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        asset = await http.get(address)
        assert asset.status_code == 200, address


async def test_every_problem_has_its_place_where_its_type_points(http: httpx.AsyncClient) -> None:
    page = (await http.get("/docs/errors")).text

    for kind in ABOUT.problems:
        page_of_type, anchor = kind().document()["type"].split("#")
        assert page_of_type == "/docs/errors"
        assert page.count(f'id="{anchor}"') == 1, f"{anchor}: two kinds of problem have one name"
        assert kind.title() in unescape(page)


async def test_titles_are_escaped(http: httpx.AsyncClient) -> None:
    page = (await http.get("/docs/errors")).text

    assert "<title>Tiny &lt;service&gt;: errors</title>" in page
    assert "Too &lt;b&gt;many&lt;/b&gt; pets &amp; friends" in page
    assert "<b>" not in page


async def test_every_event_is_told(http: httpx.AsyncClient) -> None:
    page = (await http.get("/docs/events")).text

    assert 'id="pet.fed"' in page
    assert "The id of the pet." in page
    assert "A pet has left &lt;us&gt;." in page


async def test_the_document_is_served_as_it_is_described(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()

    assert document["openapi"] == "3.1.1"
    assert document["info"] == {"title": "Tiny <service>", "version": "1.2.3"}


async def test_nothing_outside_the_folder_is_served(http: httpx.AsyncClient) -> None:
    for path in ("/docs/assets/../docs.py", "/docs/assets/%2e%2e/docs.py", "/docs/assets/", "/docs/assets/swagger"):
        assert (await http.get(path)).status_code == 404, path
