"""What people do at the page, with the real service and sandbox behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Route, expect

from tests.browser.conftest import OpenStudio
from tests.browser.studio import Studio
from tests.running import Service
from tests.waiting import until_blocking

REFUSED = ("422 (Unprocessable",)


def test_a_link_signs_in_once(service: Service, browser: Browser, links: list[str]) -> None:
    page = browser.new_context(base_url=service.base_url).new_page()
    link = links.pop()

    answer = page.goto("/")
    assert answer
    assert answer.status == 401
    assert answer.headers["content-type"].startswith("text/html")
    expect(page.get_by_role("heading", name="Nobody is signed in here")).to_be_visible()
    expect(page.get_by_text("darkroom admin signin")).to_be_visible()

    page.goto(link)
    expect(page).to_have_url(f"{service.base_url}/")
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")

    again = browser.new_context().new_page().goto(link)
    assert again
    assert again.status == 410


def test_a_picture_is_asked_for_and_appears(studio: Studio) -> None:
    expect(studio.page.get_by_text("Pictures are made by the built-in sandbox")).to_be_visible()
    before = int(studio.page.locator("#balance .free").inner_text())
    prompt = "[[slow:10]] a lighthouse at dusk, oil on canvas"
    studio.submit(prompt)

    card = studio.card(prompt)
    reserved = card.locator(".frame").bounding_box()
    studio.expect_status(card, "completed")
    picture = card.get_by_role("img", name=prompt, exact=True)
    expect(card.locator(".frame.shown")).to_have_count(1)
    assert picture.evaluate("img => img.naturalWidth") > 0
    shown = card.locator(".frame").bounding_box()
    assert reserved
    assert shown
    assert (shown["width"], shown["height"]) == (reserved["width"], reserved["height"])

    expect(card).to_contain_text("1 credit paid")
    expect(studio.page.locator("#balance .free")).to_have_text(str(before - 1))
    assert_no_gaps(studio.numbers())
    types = [type_ for type_ in studio.types() if type_ != "job.progress"]
    story = types[-1 - types[::-1].index("credits.held") :]  # fal may be too quick to be seen at work
    assert story[:3] == ["credits.held", "job.queued", "job.submitting"]
    assert set(story[-2:]) == {"job.completed", "credits.posted"}

    original = card.get_by_role("link").get_attribute("href")
    assert original
    answer = studio.page.request.get(original)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("image/")


def test_a_picture_is_sent_in_and_changed(studio: Studio, tmp_path: Path) -> None:
    photo = tmp_path / "a photo.png"
    Image.linear_gradient("L").resize((300, 200)).convert("RGB").save(photo)
    studio.model.select_option("fal-ai/nano-banana/edit")
    studio.page.locator("#files").set_input_files(photo)
    slot = studio.page.locator(".slots li")
    expect(slot.locator(".name")).to_have_text("a photo.png")
    expect(slot.locator("progress")).to_be_hidden()

    prompt = "the same with a scratch across the middle"
    studio.submit(prompt)
    card = studio.card(prompt)
    studio.expect_status(card, "completed")
    expect(card).to_contain_text("1 reference")
    expect(card.locator(".frame.shown")).to_have_count(1)

    card.get_by_role("button", name="Use as reference").click()
    expect(slot).to_have_count(2)


def test_what_is_wrong_stands_beside_its_field(open_studio: OpenStudio) -> None:
    studio = open_studio(tolerated=REFUSED)
    studio.model.select_option("fal-ai/nano-banana/edit")
    studio.submit("x")

    field = studio.page.locator("[data-pointer='/body/input/prompt']")
    expect(field.locator(".wrong")).to_contain_text("at least 3 characters")
    expect(studio.prompt).to_have_attribute("aria-invalid", "true")
    expect(studio.prompt).to_be_focused()
    expect(studio.prompt).to_have_value("x")
    expect(studio.page.locator("#references > .wrong")).to_contain_text("takes 1 to 10 reference pictures")

    studio.model.select_option("fal-ai/flux/schnell")
    expect(studio.prompt).to_have_value("x")
    expect(field.locator(".wrong")).to_be_hidden()

    studio.page.reload()
    expect(studio.prompt).to_have_value("x")


def test_a_file_that_is_no_picture_says_so(open_studio: OpenStudio, tmp_path: Path) -> None:
    studio = open_studio(tolerated=REFUSED)
    (tmp_path / "words.png").write_text("no picture")
    studio.model.select_option("fal-ai/nano-banana/edit")
    studio.page.locator("#files").set_input_files(tmp_path / "words.png")

    slot = studio.page.locator(".slots li")
    expect(slot.locator(".name")).to_have_text("words.png")
    expect(slot.locator(".state")).to_have_text(re.compile("^This is not a picture"))
    slot.get_by_role("button", name="Remove words.png").click()
    expect(slot).to_have_count(0)


def test_nothing_is_bought_with_fewer_references_than_were_chosen(open_studio: OpenStudio, tmp_path: Path) -> None:
    studio = open_studio(tolerated=REFUSED)
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "ok.png")
    (tmp_path / "fake.jpg").write_bytes(b"%PDF-1.7 no picture")
    studio.model.select_option("fal-ai/nano-banana/edit")
    studio.page.locator("#files").set_input_files([tmp_path / "fake.jpg", tmp_path / "ok.png"])
    slots = studio.page.locator(".slots li")
    expect(slots.nth(0).locator(".state")).to_have_text(re.compile("^This is a PDF"))
    expect(slots.nth(1).locator("progress")).to_be_hidden()

    prompt = "a hat for whoever is in the pictures"
    studio.submit(prompt)
    wrong = studio.page.locator("#references > .wrong")
    expect(wrong).to_contain_text("fake.jpg cannot be used")
    expect(studio.card(prompt)).to_have_count(0)

    slots.nth(0).get_by_role("button", name="Remove fake.jpg").click()
    expect(wrong).to_be_hidden()
    studio.submit(prompt)
    expect(studio.card(prompt)).to_contain_text("1 reference")


def test_a_job_is_cancelled(studio: Studio) -> None:
    prompt = "[[slow:600]] nobody waits for this"
    studio.submit(prompt)
    card = studio.card(prompt)
    card.get_by_role("button", name="Cancel").click()

    studio.expect_status(card, "cancelled")
    expect(card).to_contain_text("nothing charged")
    expect(card.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(card.get_by_role("button", name="Try again")).to_be_visible()
    expect(studio.page.locator("#balance .held")).to_have_text("")


def test_a_refused_job_says_why_and_is_tried_again(studio: Studio) -> None:
    prompt = "[[refuse]] something"
    studio.submit(prompt)
    cards = studio.page.locator(".card", has=studio.page.get_by_text(prompt, exact=True))
    studio.expect_status(cards.first, "failed")
    expect(cards.first.locator(".failure")).to_contain_text("The model refused the content")
    expect(cards.first.locator(".failure")).to_contain_text("Change the prompt")

    cards.first.get_by_role("button", name="Try again").click()
    expect(cards).to_have_count(2)
    studio.expect_status(cards.first, "failed")
    expect(cards.first).to_contain_text("made again")


def test_a_second_attempt_is_told(studio: Studio) -> None:
    prompt = "[[fail:1]] second time lucky"
    studio.submit(prompt)
    card = studio.card(prompt)
    studio.expect_status(card, "completed", within=30_000)
    expect(card).to_contain_text("attempt 2 of 3")
    assert "job.retrying" in studio.types()


def test_two_tabs_see_the_same(open_studio: OpenStudio) -> None:
    here, there = open_studio(), open_studio()
    prompt = "seen from two windows"
    here.submit(prompt)
    for studio in (here, there):
        studio.expect_status(studio.card(prompt), "completed")
        expect(studio.card(prompt).locator(".frame.shown")).to_have_count(1)
    newest = max(here.numbers())
    expect(there.page.locator(f"#events li[data-seq='{newest}']")).to_have_count(1)
    assert here.numbers() == there.numbers()


def test_the_events_of_one_job_and_a_pause(studio: Studio) -> None:
    studio.submit("the one that is looked at")
    card = studio.card("the one that is looked at")
    studio.expect_status(card, "completed")
    card.get_by_role("button", name="Events").click()
    expect(studio.page.get_by_text("Only “the one that is looked at”")).to_be_visible()
    expect(studio.page.locator("#events li").last).to_have_attribute("data-type", "credits.held")
    expect(studio.page.locator("#events li").first).to_have_attribute("data-type", "job.completed")

    studio.page.get_by_role("button", name="Show all").click()
    studio.page.get_by_role("button", name="Pause").click()
    shown = studio.numbers()
    studio.submit("what happens meanwhile")
    studio.expect_status(studio.card("what happens meanwhile"), "completed")
    assert studio.numbers() == shown
    studio.page.get_by_role("button", name="Go on").click()
    assert max(studio.numbers()) > max(shown)
    assert_no_gaps(studio.numbers())


def test_an_event_says_which_picture_and_leads_to_its_card(open_studio: OpenStudio) -> None:
    studio = open_studio(viewport={"width": 1440, "height": 500})
    prompt = "[[refuse]] the one the list speaks of"
    studio.submit(prompt)
    studio.expect_status(studio.card(prompt), "failed")
    job = studio.card(prompt).get_attribute("id")
    for number in range(4):
        studio.submit(f"[[refuse]] on top of it, {number}")
        studio.expect_status(studio.card(f"[[refuse]] on top of it, {number}"), "failed")
    expect(studio.card(prompt)).not_to_be_in_viewport()
    told = studio.page.locator(f"#events li[data-job='{job}'] .about")
    assert set(told.all_inner_texts()) == {prompt}
    told.first.click()
    expect(studio.card(prompt)).to_be_in_viewport()


def test_a_finished_card_never_says_that_nothing_was_paid(studio: Studio) -> None:
    prompt = "[[slow:10]] paid for"
    studio.submit(prompt)
    expect(studio.card(prompt)).to_have_attribute("data-status", re.compile("submitted|running"))
    studio.page.route("**/api/v1/jobs/job_*", lambda _held: None)  # the rest of the card stays on its way
    studio.expect_status(studio.card(prompt), "completed")
    expect(studio.card(prompt)).to_contain_text("1 credit paid")
    studio.page.unroute_all(behavior="ignoreErrors")


def test_an_answer_that_was_lost_does_not_buy_twice(open_studio: OpenStudio) -> None:
    studio = open_studio(tolerated=("net::ERR_FAILED",))
    cut: list[str] = []

    def lose_the_first(route: Route) -> None:
        key = route.request.headers["idempotency-key"]
        cut.append(key)
        if len(cut) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    studio.page.route("**/api/v1/jobs", lose_the_first)
    prompt = "asked for once"
    studio.submit(prompt)
    studio.expect_status(studio.card(prompt), "completed")
    expect(studio.page.get_by_role("button", name="Make the picture")).to_be_enabled()

    assert len(cut) == 2
    assert len(set(cut)) == 1
    expect(studio.page.locator(".card", has=studio.page.get_by_text(prompt, exact=True))).to_have_count(1)


def test_the_page_goes_on_by_itself_when_the_service_was_restarted(service: Service, open_studio: OpenStudio) -> None:
    studio = open_studio(tolerated=("net::ERR_",))
    prompt = "[[slow:50]] made while nobody listens"
    studio.submit(prompt)
    card = studio.card(prompt)
    expect(card).to_have_attribute("data-status", re.compile("submitted|running"))

    service.kill()
    studio.expect_state("reconnecting")
    service.start()
    studio.expect_state("live")
    studio.expect_status(card, "completed", within=30_000)
    expect(card.locator(".frame.shown")).to_have_count(1)
    assert_no_gaps(studio.numbers())


def assert_no_gaps(numbers: Sequence[int]) -> None:
    assert list(numbers) == list(range(numbers[0], numbers[-1] + 1))


def test_the_events_of_a_card_are_shown_wherever_one_is(open_studio: OpenStudio) -> None:
    studio = open_studio(viewport={"width": 1440, "height": 700})
    for number in range(8):
        studio.submit(f"[[refuse]] of many, {number}")
        expect(studio.card(f"[[refuse]] of many, {number}")).to_be_visible()
    studio.model.select_option("fal-ai/nano-banana-pro/edit")
    studio.page.get_by_text("More settings").click()
    for number in (7, 0):  # at the top, with the long form before the log, and far down
        words = f"[[refuse]] of many, {number}"
        studio.card(words).get_by_role("button", name="Events").click()
        expect(studio.page.get_by_text(f"Only “{words}”")).to_be_in_viewport(ratio=1)
        expect(studio.page.locator("#events li").first).to_be_in_viewport(ratio=1)


def test_what_goes_on_stays_and_what_is_older_can_be_shown(service: Service, open_studio: OpenStudio) -> None:
    jobs = [f"[[never]] first, {service.port}", *(f"[[refuse]] older, {number}" for number in range(22))]
    with service.client() as client:
        ids = [
            client.post(
                "/api/v1/jobs", json={"model": "fal-ai/flux/schnell", "input": {"prompt": prompt}}, timeout=30
            ).json()["id"]
            for prompt in jobs
        ]
        until_blocking(
            lambda: all(client.get(f"/api/v1/jobs/{job}").json()["finished_at"] for job in ids[1:]), within=30
        )
    studio = open_studio()
    expect(studio.card(jobs[0])).to_be_attached()
    expect(studio.card(jobs[1])).to_have_count(0)

    older = studio.page.locator("#older")
    expect(older).to_have_text("Show older")
    older.click()
    expect(studio.card(jobs[1])).to_be_attached()
    expect(studio.card(jobs[2])).to_be_attached()
    shown = studio.page.locator(".card").evaluate_all("all => all.map(card => card.id)")
    assert [job for job in shown if job in ids] == list(reversed(ids))
    while older.is_visible():
        older.click()
        expect(older).to_be_enabled()
    total = studio.page.locator(".card").count()
    assert studio.ask("fetch('/api/v1/jobs?limit=100').then(a => a.json()).then(a => a.data.length)") == min(total, 100)
    studio.card(jobs[0]).get_by_role("button", name="Cancel").click()


def test_what_was_wrong_goes_when_it_is_corrected(open_studio: OpenStudio) -> None:
    studio = open_studio(tolerated=REFUSED)
    many = studio.page.get_by_label("How many")
    wrong = studio.page.locator("[data-pointer='/body/input/num_images'] .wrong")
    many.fill("7")
    studio.submit("far too many")
    expect(wrong).to_contain_text("4")
    expect(many).to_have_attribute("aria-invalid", "true")
    many.fill("1")
    expect(wrong).to_be_hidden()
    expect(many).not_to_have_attribute("aria-invalid", "true")
