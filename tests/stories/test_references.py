"""A picture of one's own, sent in and drawn from."""

import pytest

from tests.stories.desk import LATER, Desk, png, problem, taken

EDIT = "fal-ai/nano-banana/edit"


def send(desk: Desk, *colours: str) -> list[str]:
    files = [("files", (f"{colour}.png", png((96, 64), colour))) for colour in colours]
    answer = desk.client.post("/api/v1/uploads", files=files)
    return [asset["id"] for asset in taken(answer, 201)["data"]]


def test_an_uploaded_picture_is_edited(desk: Desk) -> None:
    [picture] = send(desk, "teal")
    body = {"model": EDIT, "input": {"prompt": f"a scratch on it {desk.tag}"}, "reference_images": [picture]}
    job = desk.ended(taken(desk.client.post("/api/v1/jobs", json=body)))
    assert job["status"] == "completed", job["error"]
    [post] = desk.posts()
    assert len(post["input"]["image_urls"]) == 1
    record = desk.get(f"assets/{job['assets'][0]['id']}")
    assert record["provenance"]["references"] == [picture]
    assert "http" not in str(record["provenance"]["arguments"])  # no address that opens anything
    assert desk.client.delete(f"/api/v1/assets/{picture}").status_code == 204


def test_a_result_is_edited_further_and_several_at_once(desk: Desk) -> None:
    first = desk.ended(desk.order())["assets"][0]["id"]
    body = {
        "model": "image_to_image",
        "input": {"prompt": f"both on one table {desk.tag}"},
        "reference_images": [first, *send(desk, "red", "blue")],
    }
    job = desk.ended(taken(desk.client.post("/api/v1/jobs", json=body)))
    assert job["status"] == "completed", job["error"]
    assert len(desk.posts()[-1]["input"]["image_urls"]) == 3


def test_a_picture_that_is_needed_cannot_be_deleted(desk: Desk) -> None:
    [picture] = send(desk, "teal")
    body = {
        "model": EDIT,
        "input": {"prompt": f"later {desk.tag}"},
        "reference_images": [picture],
        "not_before": LATER,
    }
    job = taken(desk.client.post("/api/v1/jobs", json=body))
    refused = problem(desk.client.delete(f"/api/v1/assets/{picture}"), 409, "in-use")
    assert job["id"] in refused["detail"]
    desk.do("cancel", job["id"])
    assert desk.client.delete(f"/api/v1/assets/{picture}").status_code == 204
    problem(desk.client.post("/api/v1/jobs", json=body), 422, "invalid-request")


@pytest.mark.parametrize("variant", ["original", "thumb"])
def test_what_was_sent_in_comes_back(desk: Desk, variant: str) -> None:
    [picture] = send(desk, "teal")
    answer = desk.client.get(f"/api/v1/assets/{picture}/content", params={"variant": variant})
    assert answer.headers["content-type"] == ("image/png" if variant == "original" else "image/webp")
    assert answer.headers["x-content-type-options"] == "nosniff"
