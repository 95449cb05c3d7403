"""Signing a browser in by a link."""

import pytest

from app.accounts.signin import LINK_LIFETIME
from tests.accounts.conftest import Door


async def test_a_link_signs_in_once(door: Door) -> None:
    link = await door.link()
    signed_in = await door.http.get(link)
    assert signed_in.status_code == 307
    assert signed_in.headers["location"] == "/"
    cookie = signed_in.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    me = await door.http.get("/api/v1/me")
    assert me.json()["workspace"]["name"] == "development"
    door.http.cookies.clear()
    again = await door.http.get(link)
    assert again.status_code == 410
    assert "set-cookie" not in again.headers
    assert "no longer works" in again.text


@pytest.mark.parametrize("header", ["Sec-Purpose", "Purpose", "X-Purpose"])
async def test_a_browser_that_fetches_ahead_uses_nothing_up(door: Door, header: str) -> None:
    link = await door.link()
    ahead = await door.http.get(link, headers={header: "prefetch;prerender"})
    assert ahead.status_code == 503
    assert (await door.http.get(link)).status_code == 307


async def test_a_ticket_that_never_was_is_answered_as_one_that_is_used(door: Door) -> None:
    assert (await door.http.get("/signin?ticket=nonsense")).status_code == 410


async def test_a_link_is_too_old_after_fifteen_minutes(door: Door) -> None:
    link = await door.link()
    now = door.services.clock.now
    # The hooks are frozen; the time of a write comes from them.
    object.__setattr__(door.services.db._hooks, "now", lambda: now() + LINK_LIFETIME)
    assert (await door.http.get(link)).status_code == 410


async def test_a_session_changes_things_only_from_our_own_pages(door: Door) -> None:
    await door.http.get(await door.link())
    refused = await door.http.post("/api/v1/keys", json={"name": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403
    taken = await door.http.post("/api/v1/keys", json={"name": "x"}, headers={"Sec-Fetch-Site": "same-origin"})
    assert taken.status_code == 201


async def test_a_made_up_session_is_nobody(door: Door) -> None:
    door.http.cookies.set("darkroom_session", "0" * 26 + "_" + "a" * 43)
    assert (await door.http.get("/api/v1/me")).status_code == 401


@pytest.mark.parametrize(("address", "status"), [("/signin", 422), ("/nowhere", 404)])
async def test_a_browser_that_went_astray_gets_a_page_and_a_program_a_problem(
    door: Door, address: str, status: int
) -> None:
    page = await door.http.get(address, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert '<a href="/">' in page.text
    program = await door.http.get(address, headers={"Accept": "*/*"})
    assert (program.status_code, program.headers["content-type"]) == (status, "application/problem+json")
    under_api = await door.http.get("/api/v1/nowhere", headers={"Accept": "text/html"})
    assert under_api.headers["content-type"] == "application/problem+json"
