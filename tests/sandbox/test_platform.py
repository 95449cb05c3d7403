"""fal's platform API: prices, the request list by which orphans are found, billing."""

from typing import Any

import pytest

FLUX = "fal-ai/flux/schnell"


def _listed(sandbox: Any, **query: Any) -> dict[str, Any]:
    answer = sandbox.http.get("/v1/models/requests/by-endpoint", params={"endpoint_id": FLUX, **query})
    return dict(answer.json())


def test_meta_names_the_senders(sandbox: Any) -> None:
    assert "127.0.0.1/32" in sandbox.http.get("/v1/meta").json()["webhook_ip_ranges"]


def test_prices_and_estimates(sandbox: Any) -> None:
    query = {"endpoint_id": [FLUX, "fal-ai/nano-banana"]}
    prices = sandbox.http.get("/v1/models/pricing", params=query).json()["prices"]
    wish = {"estimate_type": "unit_price", "endpoints": {FLUX: {"unit_quantity": 10}}}
    estimate = sandbox.http.post("/v1/models/pricing/estimate", json=wish).json()

    assert [(price["unit_price"], price["unit"]) for price in prices] == [(0.003, "megapixels"), (0.039, "images")]
    assert (round(estimate["total_cost"], 6), estimate["currency"]) == (0.03, "USD")
    assert sandbox.http.get("/v1/models/pricing", params={"endpoint_id": "none"}).status_code == 404


def test_the_request_list_tells_input_and_output_and_turns_pages(sandbox: Any) -> None:
    sent = [sandbox.submit(prompt=f"listed {number}", image_size="square").json() for number in range(5)]
    ids = [one["request_id"] for one in reversed(sent)]
    assert {sandbox.done(one)["status"] for one in sent} == {"COMPLETED"}

    first = _listed(sandbox, limit=3, expand="payloads")
    second = _listed(sandbox, limit=3, cursor=first["next_cursor"])

    assert [item["request_id"] for item in first["items"] + second["items"]][:5] == ids
    assert first["items"][0]["json_input"] == {"prompt": "listed 4", "image_size": "square"}
    assert first["items"][0]["json_output"]["images"]
    assert "json_input" not in second["items"][0]
    assert _listed(sandbox, request_id=ids[2])["items"][0]["request_id"] == ids[2]
    assert _listed(sandbox, start=first["items"][0]["sent_at"])["items"][0]["request_id"] == ids[0]
    assert all(item["status_code"] == 200 for item in _listed(sandbox, status="success")["items"])


def test_another_account_sees_nothing_of_it(sandbox: Any) -> None:
    sandbox.submit(prompt="mine")
    query = {"endpoint_id": FLUX}
    answer = sandbox.http.get("/v1/models/requests/by-endpoint", params=query, headers={"Authorization": "Key other"})

    assert answer.json() == {"items": [], "next_cursor": None, "has_more": False}


@pytest.mark.parametrize("knobs", [{"list_delay": 600}, {"list_unfinished": False}])
def test_entries_may_appear_late(sandbox: Any, knobs: dict[str, Any]) -> None:
    sandbox.http.post("/_knobs", json=knobs)
    request_id = sandbox.submit(prompt="late in the list [[slow:300]]").json()["request_id"]
    hidden = _listed(sandbox, request_id=request_id)["items"]
    sandbox.http.post("/_knobs", json={"list_delay": 0, "list_unfinished": True})

    assert hidden == []
    assert _listed(sandbox, request_id=request_id)["items"]


def test_billing_joins_on_the_request(sandbox: Any) -> None:
    body = sandbox.submit("fal-ai/nano-banana", prompt="a billed cup", num_images=2).json()
    sandbox.done(body)
    query = {"request_id": body["request_id"]}
    [event] = sandbox.http.get("/v1/models/billing-events", params=query).json()["billing_events"]

    assert (event["output_units"], event["unit_price"], event["cost_total"]) == (2, 0.039, 0.078)
