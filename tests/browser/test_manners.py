"""How the page behaves, whatever it shows: for everyone, on a phone, under attack, and when the stream is cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, Route, expect

from tests.browser.conftest import OpenStudio
from tests.browser.studio import Studio
from tests.running import Service

HOSTILE = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>{{7*7}}"
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SMALLEST = 44
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def test_axe_finds_nothing(open_studio: OpenStudio) -> None:
    studio = open_studio(reduced_motion="reduce")
    for prompt in ("for axe to look at", "[[refuse]] for axe to look at", "[[slow:600]] for axe to look at"):
        studio.submit(prompt)
        expect(studio.page.get_by_role("button", name="Make the picture")).to_be_enabled()
    studio.expect_status(studio.card("for axe to look at"), "completed")
    studio.expect_status(studio.card("[[refuse]] for axe to look at"), "failed")
    studio.model.select_option("fal-ai/nano-banana-pro/edit")
    studio.page.get_by_text("More settings").click()

    for scheme in SCHEMES:
        studio.page.emulate_media(color_scheme=scheme)
        assert_accessible(studio.page)
    studio.card("[[slow:600]] for axe to look at").get_by_role("button", name="Cancel").click()


def test_axe_finds_nothing_at_the_door(service: Service, browser: Browser) -> None:
    page = browser.new_context(base_url=service.base_url).new_page()
    page.goto("/")
    assert_accessible(page)


def test_a_phone_shows_all_of_it(open_studio: OpenStudio) -> None:
    studio = open_studio(**PHONE)
    long = "unbroken" * 40
    studio.submit(long)
    studio.expect_status(studio.card(long), "completed")
    studio.model.select_option("fal-ai/nano-banana-pro/edit")
    studio.page.get_by_text("More settings").click()

    assert studio.ask("document.documentElement.scrollWidth") == 390
    small = studio.page.locator("button, select, input:not([type=file]), textarea, summary, nav a").evaluate_all(
        """all => all.filter(one => one.checkVisibility()).map(one => {
            const label = one.type === 'checkbox' ? one.labels[0] : one;
            const box = label.getBoundingClientRect();
            return [one.outerHTML.slice(0, 80), box.width, box.height];
        })"""
    )
    assert [one for one in small if min(one[1:]) < SMALLEST] == []


def test_it_works_by_keyboard(studio: Studio) -> None:
    studio.prompt.focus()
    studio.page.keyboard.type("typed and sent by keyboard")
    studio.page.keyboard.press("Control+Enter")
    card = studio.card("typed and sent by keyboard")
    studio.expect_status(card, "completed")
    expect(studio.page.locator("#spoken")).to_have_text("Done: typed and sent by keyboard")
    card.get_by_role("button", name="Events").focus()
    studio.page.keyboard.press("Enter")
    expect(card.get_by_role("button", name="Events")).to_have_attribute("aria-pressed", "true")


def test_a_disk_without_room_shows_above_the_page_and_goes_again(studio: Studio) -> None:
    page, banner = studio.page, studio.page.get_by_label("Trouble")
    state = {"ok": True}
    page.route("**/readyz", lambda route: route.fulfill(json={"checks": {"room": {"ok": state["ok"]}}}))
    page.clock.install()
    page.reload()
    expect(studio.page.locator("#connection")).to_have_attribute("data-state", "live")
    expect(banner).to_be_hidden()
    state["ok"] = False
    page.clock.run_for(16_000)
    expect(banner).to_contain_text("Room is short")
    assert_accessible(page)
    state["ok"] = True
    page.clock.run_for(16_000)
    expect(banner).to_be_hidden()


def test_words_of_others_stay_words(service: Service, studio: Studio) -> None:
    with service.client() as client:
        made = client.post(
            "/api/v1/jobs",
            json={
                "model": "fal-ai/flux/schnell",
                "input": {"prompt": HOSTILE},
                "metadata": {"<b>name</b>": "<script>alert(3)</script>"},
            },
        )
        assert made.status_code == 202
    studio.model.select_option("fal-ai/nano-banana/edit")
    hostile: FilePayload = {"name": "<img src=x onerror=alert(4)>.png", "mimeType": "image/png", "buffer": one_pixel()}
    studio.page.locator("#files").set_input_files(hostile)
    expect(studio.page.locator(".slots .name")).to_have_text("<img src=x onerror=alert(4)>.png")

    for _ in range(2):  # as it comes by the stream, and as it stands in the page
        card = studio.page.locator(f"[id='{made.json()['id']}']")
        studio.expect_status(card, "completed")
        expect(card.get_by_role("heading")).to_have_text(HOSTILE)
        expect(card).to_contain_text("<b>name</b>: <script>alert(3)</script>")
        assert card.locator("img").get_attribute("alt") == HOSTILE
        assert studio.page.locator(".card script, .card b, #events img, .slots .name img").count() == 0
        studio.open()


def test_the_policy_allows_nothing_inline(service: Service, studio: Studio) -> None:
    answer = studio.page.request.get("/")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["cache-control"] == "no-store"
    assert studio.page.locator("script:not([src]):not([type='application/json']), style").count() == 0
    for name in ("studio.js", "studio.css"):
        assert studio.page.request.get(f"/static/{name}").headers["cache-control"] == "no-cache"


def test_the_snapshot_is_for_those_who_are_signed_in(service: Service, browser: Browser) -> None:
    answer = browser.new_context(base_url=service.base_url).request.get("/studio/snapshot")
    assert answer.status == 401
    assert answer.json()["code"] == "not-authenticated"


def test_a_stream_that_lost_its_place_is_begun_anew(open_studio: OpenStudio) -> None:
    studio = open_studio(tolerated=("503 (",))
    beyond: dict[str, Any] = {
        "type": "job.started",
        "job": None,
        "run": None,
        "time": "2026-01-01T00:00:00Z",
        "data": {},
    }
    for lost in (
        once(lambda after: frame(after, "stream.reset", {"snapshot": ""})),
        once(lambda after: frame(after + 7, "job.started", beyond)),
        once(lambda _: "", status=503),
    ):
        studio.page.route("**/api/v1/events?*", lost)
        with studio.page.expect_response("**/studio/snapshot"):
            studio.page.reload()
        studio.expect_state("live")
        studio.page.unroute_all()
    studio.submit("after all that")
    studio.expect_status(studio.card("after all that"), "completed")


def test_a_closed_stream_says_why(open_studio: OpenStudio) -> None:
    studio = open_studio(tolerated=("401 (",))
    problem = {"title": "No valid key or session came with the request", "detail": "This session has ended."}
    closed = f"retry: 2000\nevent: stream.closed\ndata: {json.dumps(problem)}\n\n"
    studio.page.route("**/api/v1/events?*", once(lambda _: closed))
    studio.page.reload()
    expect(studio.page.locator("#connection")).to_contain_text("Closed: This session has ended.")
    studio.page.context.clear_cookies()
    studio.expect_state("signed-out")
    expect(studio.page.locator("#connection")).to_contain_text("open a new sign-in link")


def test_a_notice_is_told(open_studio: OpenStudio) -> None:
    studio = open_studio()
    notice = {"level": "warning", "code": "slow", "title": "fal is slow today", "detail": "<b>Wait</b> a little."}
    told = {"type": "notice", "job": None, "run": None, "time": "2026-01-01T00:00:00Z", "data": notice}
    studio.page.route("**/api/v1/events?*", once(lambda after: frame(after + 1, "notice", told)))
    studio.page.reload()
    toast = studio.page.locator(".toast")
    expect(toast).to_contain_text("fal is slow today")
    expect(toast).to_contain_text("<b>Wait</b> a little.")
    toast.get_by_role("button", name="Put away").click()
    expect(toast).to_have_count(0)


def test_being_offline_is_shown(studio: Studio) -> None:
    studio.page.context.set_offline(True)
    studio.expect_state("offline")
    studio.tolerated = ("net::ERR_INTERNET_DISCONNECTED",)
    studio.page.context.set_offline(False)
    studio.expect_state("live")


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def once(body: Callable[[int], str], status: int = 200) -> Callable[[Route], None]:
    """Answer the first stream with `body(after)` and let the others through."""
    seen: list[str] = []

    def handle(route: Route) -> None:
        seen.append(route.request.url)
        if len(seen) > 1:
            route.continue_()
            return
        after = int(parse_qs(urlsplit(route.request.url).query)["after"][0])
        route.fulfill(status=status, headers={"content-type": "text/event-stream"}, body="retry: 200\n" + body(after))

    return handle


def frame(seq: int, type_: str, said: dict[str, Any]) -> str:
    return f"id: {seq}\nevent: {type_}\ndata: {json.dumps({'seq': seq, **said})}\n\n"


def one_pixel() -> bytes:
    out = BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    return out.getvalue()


def test_of_a_job_s_progress_only_the_newest_is_in_sight(studio: Studio) -> None:
    studio.submit("[[slow:60]] patience")
    progress = studio.page.locator("#events li[data-type='job.progress']")
    expect(progress.nth(2)).to_be_attached(timeout=20_000)
    job = progress.first.get_attribute("data-job")
    expect(studio.page.locator(f"#events li[data-type='job.progress'][data-job='{job}']:visible")).to_have_count(1)
    studio.card("[[slow:60]] patience").get_by_role("button", name="Cancel").click()


def test_cards_keep_their_height_whatever_becomes_of_them(studio: Studio) -> None:
    endings = {"kept as it is": "completed", "[[refuse]] kept": "failed", "[[never]] kept": "cancelled"}
    for prompt in endings:
        studio.submit(prompt)
        expect(studio.page.get_by_role("button", name="Make the picture")).to_be_enabled()
    waiting = studio.card("[[never]] kept")
    studio.expect_status(waiting, "submitted")
    before = height(waiting)
    waiting.get_by_role("button", name="Cancel").click()
    for prompt, status in endings.items():
        studio.expect_status(studio.card(prompt), status)
        expect(studio.card(prompt).locator(".progress")).to_be_hidden()
        assert abs(height(studio.card(prompt)) - before) <= 1, prompt


def test_the_navigation_breaks_no_word_on_the_smallest_screens(open_studio: OpenStudio) -> None:
    studio = open_studio(viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    links = studio.page.locator("nav a")
    assert links.all_inner_texts() == ["New", "Events", "API"]
    assert links.evaluate_all("all => all.map(one => Math.round(one.getBoundingClientRect().height))") == [44, 44, 44]
    assert studio.ask("document.documentElement.scrollWidth") == 320


def test_what_is_looked_at_does_not_look_wrong(studio: Studio) -> None:
    red, lamp = (
        studio.page.locator(where).evaluate("one => getComputedStyle(one).backgroundColor")
        for where in ("button.main", "#connection .lamp")
    )
    studio.prompt.focus()
    assert studio.prompt.evaluate("one => getComputedStyle(one).outlineColor") != red
    assert lamp != red


def test_who_is_signed_out_is_told_the_way_back(open_studio: OpenStudio) -> None:
    studio = open_studio(tolerated=("401 (",))
    studio.page.context.clear_cookies()
    studio.submit("typed in vain")
    problem = studio.page.locator("#order .problem")
    expect(problem).to_contain_text("You are signed out")
    expect(problem).to_contain_text("darkroom admin signin WORKSPACE")
    expect(problem).not_to_contain_text("Bearer")
    studio.expect_state("signed-out")


def test_play_credits_are_called_so(studio: Studio) -> None:
    expect(studio.page.locator("#cost")).to_contain_text("Costs 1 play credit per picture")
    expect(studio.page.get_by_label("Sandbox")).to_contain_text("cost play credits instead of money")


def height(card: Locator) -> int:
    return round(float(card.evaluate("one => one.getBoundingClientRect().height")))
