"""Bad input: each gets a problem that says what to do, and nothing is stored, sent or paid."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.running import Service
from tests.stories.desk import LATER, Desk, follow, log_of, png, pointers, problem, taken

PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"


@pytest.fixture(autouse=True)
def nothing_happened(desk: Desk, house: Service) -> Iterator[None]:
    """Whatever was asked for wrongly left no trace."""
    posts = len(log_of(house))
    yield
    assert desk.balance() == (1000, 0, 0)
    assert desk.get("jobs")["data"] == []
    assert len(log_of(house)) == posts


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"model": "fal-ai/flux/schnel"}, "/body/model"),
        ({"model": 7}, "/body/model"),
        ({"input": {"prompt": 7}}, "/body/input/prompt"),
        ({"input": {"prompt": "  "}}, "/body/input/prompt"),
        ({"input": {"prompt": "x" * 100_000}}, "/body/input/prompt"),
        ({"input": {"prompt": "a", "num_images": "4"}}, "/body/input/num_images"),
        ({"input": {"prompt": "a", "image_size": {"width": 63_000, "height": 64}}}, "/body/input/image_size/width"),
        ({"input": {"prompt": "a", "webhook_url": "https://example.com"}}, "/body/input/webhook_url"),
        ({"input": "a lighthouse"}, "/body/input"),
        ({"priority": "urgent"}, "/body/priority"),
        ({"not_before": "tomorrow"}, "/body/not_before"),
        ({"not_before": "2100-01-01T00:00:00"}, "/body/not_before"),
        ({"deadline_seconds": 0}, "/body/deadline_seconds"),
        ({"max_attempts": 11}, "/body/max_attempts"),
        ({"metadata": {"order": 17}}, "/body/metadata/order"),
        ({"metadata": {f"key{n}": "" for n in range(51)}}, "/body/metadata"),
        ({"reference_images": ["asset_00000000000000000000000000"]}, "/body/reference_images"),
        ({"colour": "blue"}, "/body/colour"),
    ],
)
def test_each_fault_is_named_by_its_place(desk: Desk, change: dict[str, Any], at: str) -> None:
    body = desk.request() | change
    answer = desk.client.post("/api/v1/jobs", json=body)
    refused = problem(
        answer, 422, "unknown-model" if at == "/body/model" and change["model"] != 7 else "invalid-request"
    )
    assert pointers(refused) == [at]
    assert all(len(error["detail"]) > 10 for error in refused["errors"])


def test_a_model_almost_right_is_answered_with_the_right_one(desk: Desk) -> None:
    answer = desk.client.post("/api/v1/jobs", json={"model": "fal-ai/flux/schnel", "input": {"prompt": "a"}})
    assert "Did you mean flux/schnell" in problem(answer, 422, "unknown-model")["detail"]


def test_more_references_than_a_model_takes_are_refused_by_each(desk: Desk) -> None:
    picture = taken(desk.client.post("/api/v1/uploads", files={"files": ("part.png", png())}), 201)["data"][0]["id"]
    for model in desk.get("models")["data"]:
        for count in {11, model["references"]["most"] + 1} - set(range(model["references"]["most"] + 1)):
            body = {"model": model["id"], "input": model["example"], "reference_images": [picture] * count}
            refused = problem(desk.client.post("/api/v1/jobs", json=body), 422, "invalid-request")
            assert "/body/reference_images" in pointers(refused)
            assert "takes" in refused["errors"][0]["detail"]


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com/a.png",
        "https://127.0.0.1/a.png",
        "https://localhost/a.png",
        "https://169.254.169.254/latest/meta-data",
        "https://user:secret@example.com/a.png",
        "https://example.com:8443/a.png",
        "file:///etc/passwd",
        "asset_of_nobody",
    ],
)
def test_a_reference_that_nobody_should_fetch_is_refused(desk: Desk, address: str) -> None:
    body = {"model": "image_to_image", "input": {"prompt": "a scratch"}, "reference_images": [address]}
    refused = problem(desk.client.post("/api/v1/jobs", json=body), 422, "invalid-request")
    assert pointers(refused) == ["/body/reference_images/0"]
    assert "secret" not in str(refused)


def test_a_pdf_is_no_picture_whatever_it_is_called(desk: Desk) -> None:
    for name, kind in (("brief.pdf", "application/pdf"), ("brief.png", "image/png")):
        files: Any = [("files", ("good.png", png())), ("files", (name, PDF, kind))]
        refused = problem(desk.client.post("/api/v1/uploads", files=files), 422, "not-a-picture")
        assert pointers(refused) == ["/form/files/1"]
        assert "PDF" in refused["detail"]
    assert desk.get("assets")["data"] == []  # all or nothing


def test_three_gigabytes_are_refused_before_they_are_sent(desk: Desk) -> None:
    for path, kind in (("uploads", "multipart/form-data; boundary=b"), ("jobs", "application/json")):
        head = _head(desk, path, kind, "Content-Length: 3000000000")
        with _connected(desk) as wire:
            wire.sendall(head)
            answer = _answer(wire)
        assert answer.startswith(b"HTTP/1.1 413"), answer
        assert b"At most 520 MB are taken here in all, and 25 MB per file." in answer


def test_an_endless_body_is_cut_off_in_time(desk: Desk) -> None:
    opening = b'--b\r\nContent-Disposition: form-data; name="files"; filename="endless.png"\r\n\r\n'
    for path, kind, start, most in (
        ("uploads", "multipart/form-data; boundary=b", opening, 40),
        ("jobs", "application/json", b'{"model": "', 10),
    ):
        with _connected(desk) as wire:
            wire.sendall(_head(desk, path, kind, "Transfer-Encoding: chunked") + _chunk(start))
            sent = _pour(wire, most)
            answer = _answer(wire)
        assert answer.startswith(b"HTTP/1.1 413"), answer
        assert sent <= most


@pytest.mark.parametrize("cut", ["{", '{"model": "a", "model": "b"}', "[" * 100_000, "\ufeff{}", "null", ""])
def test_what_is_no_json_is_refused(desk: Desk, cut: str) -> None:
    answer = desk.client.post("/api/v1/jobs", content=cut.encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code, "malformed" if answer.status_code == 400 else "invalid-request")


def test_another_kind_of_body_is_refused(desk: Desk) -> None:
    problem(desk.client.post("/api/v1/jobs", data={"model": "a"}), 415, "unsupported-media-type")


def test_a_cursor_from_another_workspace_or_list_is_refused(desk: Desk, house: Service) -> None:
    with Desk.open(house) as other:
        jobs = [other.order(not_before=LATER)["id"] for _ in range(3)]
        cursor = other.get("jobs", limit=1)["next_cursor"]
        [other.do("cancel", job) for job in jobs]
    for path, given in (("jobs", cursor), ("jobs", "nonsense"), ("assets", cursor), ("runs", cursor), ("keys", cursor)):
        refused = problem(desk.client.get(f"/api/v1/{path}", params={"cursor": given}), 422, "invalid-request")
        assert pointers(refused) == ["/query/cursor"]


@pytest.mark.parametrize("last", ["-1", "1.5", "abc", "%D9%A1"])
def test_a_last_event_id_that_is_no_number_is_refused(desk: Desk, last: str) -> None:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last}
    refused = problem(desk.client.get("/api/v1/events", headers=headers), 422, "invalid-request")
    assert pointers(refused) == ["/header/last-event-id"]
    problem(desk.client.get("/api/v1/events", params={"after": -1}), 422, "invalid-request")


ODD = ("jobs/../../healthz", "jobs/%00", "jobs/" + "x" * 2000, "jobs/job_%C3%84", "jobs/%FF", "no-such-thing")


@pytest.mark.parametrize("path", ODD)
def test_odd_addresses_are_not_found(desk: Desk, path: str) -> None:
    answer = desk.client.get(httpx.URL(desk.service.base_url).copy_with(raw_path=f"/api/v1/{path}".encode()))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_unknown_filters_are_named(desk: Desk) -> None:
    refused = problem(desk.client.get("/api/v1/jobs", params={"state": "done", "limit": 1000}), 422, "invalid-request")
    assert pointers(refused) == ["/query/state"]
    refused = problem(desk.client.get("/api/v1/jobs", params={"metadata": "no colon"}), 422, "invalid-request")
    assert pointers(refused) == ["/query/metadata/0"]


def test_a_stream_nobody_may_read_is_not_opened(desk: Desk) -> None:
    with pytest.raises(AssertionError, match="404"):
        follow(desk.client, "/api/v1/jobs/job_00000000000000000000000000/stream")


def _connected(desk: Desk) -> socket.socket:
    return socket.create_connection(("127.0.0.1", desk.service.port), timeout=30)


def _head(desk: Desk, path: str, kind: str, length: str) -> bytes:
    lines = [
        f"POST /api/v1/{path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: {desk.client.headers['authorization']}",
        f"Content-Type: {kind}",
        length,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _pour(wire: socket.socket, most: int) -> float:
    """Send without end; the megabytes that were taken before the other side had enough."""
    piece, sent = _chunk(b"x" * 250_000), 0.0
    wire.settimeout(2)
    try:
        while sent < most + 1:
            wire.sendall(piece)
            sent += 0.25
    except OSError:
        pass
    wire.settimeout(30)
    return sent


def _answer(wire: socket.socket) -> bytes:
    """All that is said until the connection is closed, or a whole problem has come."""
    answer = b""
    try:
        while not answer.endswith(b"}") and (data := wire.recv(65536)):
            answer += data
    except ConnectionError:
        pass
    return answer


def test_a_run_that_is_too_dear_is_told_as_a_whole(house: Service) -> None:
    with Desk.open(house, credits=50) as desk:
        jobs = [desk.request() for _ in range(60)]
        refused = problem(desk.client.post("/api/v1/runs", json={"jobs": jobs}), 402, "not-enough-credits")
        assert refused["detail"].startswith("This needs 60 credits; 50 are available.")
        assert (refused["needed"], refused["available"]) == (60, 50)
        assert desk.balance() == (50, 0, 0)


def test_a_wrong_field_is_named_in_one_way_with_what_would_fit(desk: Desk) -> None:
    def errors(answer: httpx.Response) -> tuple[str, list[tuple[str, str]]]:
        said = answer.json()
        assert said["detail"].endswith(said["errors"][0]["detail"])
        return said["detail"], [(each["pointer"], each["code"]) for each in said["errors"]]

    detail, wrong = errors(desk.client.get("/api/v1/events", params={"types": ["job.queued", "job.finished"]}))
    assert wrong == [("/query/types", "unknown")]
    assert "job.completed" in detail
    detail, wrong = errors(desk.client.post("/api/v1/jobs", json={**desk.request(), "not_before": "tomorrow"}))
    assert wrong == [("/body/not_before", "datetime-parsing")]
    assert "2027-01-31T09:30:00Z" in detail
    _, wrong = errors(desk.client.post("/api/v1/jobs", json={**desk.request(), "metadata": {"a": "b\0"}}))
    assert wrong == [("/body/metadata/a", "nul")]
    _, wrong = errors(desk.client.post("/api/v1/uploads", json={"url": "http://127.0.0.1/x.png"}))
    assert wrong == [("/body/url/0", "cannot-fetch")]
    detail, _ = errors(desk.client.get("/api/v1/me", params={"a": "1"}))
    assert "Known are: none" not in detail
