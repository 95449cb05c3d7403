import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.assets.addresses import reference_url
from app.assets.keep import NewAsset, insert_asset, keep, output_id
from app.assets.model import AssetKind, Provenance
from app.assets.shelf import attach
from app.assets.sweep import sweep_orphans, sweep_unattached
from app.core.errors import InvalidRequest, StorageFull
from tests.assets.conftest import Gallery
from tests.assets.pictures import drawing, encoded, exif, opened

PNG = encoded(drawing(), "PNG")
JPEG = encoded(drawing(), "JPEG")


async def sent(client: httpx.AsyncClient, *files: tuple[str, bytes], **options: Any) -> httpx.Response:
    return await client.post("/api/v1/uploads", files=[("files", file) for file in files], **options)


async def test_an_upload_is_kept_and_can_be_seen_by_its_addresses(gallery: Gallery) -> None:
    async with gallery.client() as client:
        answer = await sent(client, ("cat.png", PNG), ("dog.jpg", JPEG), data={"kind": "reference"})
        assert answer.status_code == 201
        cat, dog = answer.json()["data"]
        assert (cat["object"], cat["kind"], cat["filename"], cat["job"]) == ("asset", "reference", "cat.png", None)
        assert (cat["width"], cat["height"], cat["size"], cat["content_type"]) == (120, 80, len(PNG), "image/png")
        assert (dog["content_type"], dog["filename"]) == ("image/jpeg", "dog.jpg")
        assert (await client.get(f"/api/v1/assets/{cat['id']}")).json() == cat
        assert cat["created_at"].endswith("Z")

        client.headers.pop("Authorization")
        whole = await client.get(cat["url"])
        small = await client.get(cat["thumbnail_url"])
    assert whole.content == PNG
    assert opened(small.content).size == (120, 80)
    assert small.headers["content-type"] == "image/webp"


async def test_what_an_upload_may_be_is_said_for_each_way_of_sending_it(gallery: Gallery) -> None:
    async with gallery.client() as client:
        other = await client.post("/api/v1/uploads", content=b"x", headers={"Content-Type": "image/png"})
        misspelt = await client.post("/api/v1/uploads", json={"urls": ["https://example.org/a.png"]})
        in_json = await client.post("/api/v1/uploads", json={"files": ["a.png"]})
        in_a_form = await sent(client, ("a.png", PNG), data={"urls": "https://example.org/a.png"})

    assert (other.status_code, other.headers["accept"]) == (415, "multipart/form-data, application/json")
    assert other.json()["detail"] == "Send the body as multipart/form-data or application/json."
    for refused in (misspelt, in_json):
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["detail"] == "Unknown here. Known are: kind, url."
    assert in_a_form.json()["errors"][0]["detail"] == "Unknown here. Known are: files, kind, url."


async def test_files_are_served_so_that_no_browser_runs_them(gallery: Gallery) -> None:
    async with gallery.client() as client:
        asset = (await sent(client, ("a.html", PNG), data={})).json()["data"][0]
        for url in (asset["url"], f"/api/v1/assets/{asset['id']}/content", asset["thumbnail_url"]):
            headers = (await client.get(url)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")
            assert headers["content-type"] in {"image/png", "image/webp"}
            assert 'filename="a' in headers["content-disposition"]
            assert ".html" not in headers["content-disposition"]
            assert "immutable" in headers["cache-control"]


async def test_content_says_how_it_may_be_kept(gallery: Gallery) -> None:
    async with gallery.client() as client:
        asset = (await sent(client, ("a.png", PNG))).json()["data"][0]
        url = f"/api/v1/assets/{asset['id']}/content"
        whole, thumb = await client.get(url), await client.get(url, params={"variant": "thumb"})
        assert (whole.content, whole.headers["etag"]) == (PNG, f'"{asset["sha256"]}"')
        assert opened(thumb.content).format == "WEBP"
        assert thumb.headers["etag"] != whole.headers["etag"]
        assert whole.headers["accept-ranges"] == "bytes"
        for address in (url, asset["url"]):
            part = await client.get(address, headers={"Range": "bytes=3-8"})
            assert (part.status_code, part.content) == (206, PNG[3:9])
            assert part.headers["content-range"] == f"bytes 3-8/{len(PNG)}"
            outside = await client.get(address, headers={"Range": f"bytes={len(PNG)}-"})
            assert (outside.status_code, outside.headers["content-range"]) == (416, f"bytes */{len(PNG)}")
            same = await client.get(address, headers={"If-None-Match": whole.headers["etag"]})
            assert (same.status_code, same.content) == (304, b"")
        head = await client.head(url)
        assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(PNG)), b"")


async def test_one_bad_file_of_many_stops_them_all_and_is_named(gallery: Gallery) -> None:
    async with gallery.client() as client:
        answer = await sent(client, ("good.png", PNG), ("evil.svg", b"<svg/>"), ("other.png", PNG))
        assert answer.status_code == 422
        problem = answer.json()
        assert problem["code"] == "not-a-picture"
        assert problem["errors"][0]["pointer"] == "/form/files/1"
        assert "evil" in problem["detail"]
        assert (await client.get("/api/v1/assets")).json()["data"] == []


async def test_nothing_and_too_much_are_refused(gallery: Gallery) -> None:
    async with gallery.client() as client:
        assert (await client.post("/api/v1/uploads", files={"kind": (None, "upload")})).status_code == 422
        assert (await sent(client, *(("a.png", PNG),) * 21)).status_code in {413, 422}


async def test_a_picture_can_be_fetched_from_an_address(gallery: Gallery) -> None:
    address = "https://user:word@pictures.example/shelf/a%20cat.JPEG?token=secret#x"
    gallery.outside.files[address] = JPEG
    async with gallery.client() as client:
        answer = await client.post("/api/v1/uploads", files={"url": (None, address)})
        asset = answer.json()["data"][0]
        assert (asset["filename"], asset["content_type"]) == ("a cat.jpg", "image/jpeg")
        assert asset["source_url"] == "https://pictures.example/shelf/a%20cat.JPEG"
        refused = await client.post("/api/v1/uploads", files={"url": (None, "http://127.0.0.1/")})
        assert (refused.status_code, refused.json()["code"]) == (422, "cannot-fetch")
        assert refused.json()["errors"][0]["pointer"] == "/form/url/0"
        as_json = await client.post("/api/v1/uploads", json={"url": address})
        assert as_json.json()["data"][0]["sha256"] == asset["sha256"]
        no_text = await client.post("/api/v1/uploads", json={"url": 7})
        assert (no_text.status_code, no_text.json()["errors"][0]["pointer"]) == (422, "/body/url")


async def test_an_upload_sent_twice_under_one_key_is_stored_once(gallery: Gallery) -> None:
    async with gallery.client() as client:
        key = {"Idempotency-Key": "one-intent"}
        once = await sent(client, ("a.png", PNG), headers=key)
        again = await sent(client, ("a.png", PNG), headers=key)
        assert [a["id"] for a in once.json()["data"]] == [a["id"] for a in again.json()["data"]]
        assert (await sent(client, ("a.png", JPEG), headers=key)).status_code == 422
        assert len((await client.get("/api/v1/assets")).json()["data"]) == 1
    assert len(gallery.stored() - {s for s in gallery.stored() if s.endswith(".jpg")}) >= 2


async def test_a_foreign_asset_answers_exactly_like_a_missing_one(gallery: Gallery) -> None:
    async with gallery.client("ws_a") as ours, gallery.client("ws_b") as theirs:
        asset = (await sent(ours, ("a.png", PNG))).json()["data"][0]["id"]
        missing = output_id("job_x", 1)
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content"), ("GET", "/content?variant=thumb")):
            foreign = await theirs.request(method, f"/api/v1/assets/{asset}{path}")
            absent = await theirs.request(method, f"/api/v1/assets/{missing}{path}")
            same = [_without(answer.json(), asset, missing) for answer in (foreign, absent)]
            assert foreign.status_code == absent.status_code == 404
            assert same[0] == same[1]
        assert (await theirs.get("/api/v1/assets")).json()["data"] == []
        assert (await ours.get(f"/api/v1/assets/{asset}")).status_code == 200


def _without(problem: dict[str, Any], *ids: str) -> str:
    problem.pop("request_id")
    problem.pop("instance", None)
    text = json.dumps(problem)
    for each in ids:
        text = text.replace(each, "ID")
    return text


async def test_the_list_is_newest_first_filtered_and_paged_without_gaps(gallery: Gallery) -> None:
    ids: list[str] = []
    async with gallery.client() as client:
        for number in range(7):
            data = {"kind": "mask" if number % 2 else "upload"}
            ids += [a["id"] for a in (await sent(client, ("a.png", PNG), data=data)).json()["data"]]
            if number != 3:
                gallery.clock.time += timedelta(seconds=1)
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await client.get("/api/v1/assets", params={"limit": "3", **cursor})).json()
            seen += [a["id"] for a in page["data"]]
            if not page["has_more"]:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert sorted(seen) == sorted(ids)
        assert seen[0] == ids[-1]
        masks = (await client.get("/api/v1/assets", params={"kind": "mask"})).json()["data"]
        assert {a["id"] for a in masks} == set(ids[1::2])
        after = (await client.get(f"/api/v1/assets/{ids[5]}")).json()["created_at"]
        recent = (await client.get("/api/v1/assets", params={"created_after": after})).json()["data"]
        assert {a["id"] for a in recent} == {ids[5], ids[6]}
        earlier = (await client.get("/api/v1/assets", params={"created_before": after})).json()["data"]
        assert {a["id"] for a in earlier} == set(ids[:5])
        assert (await client.get("/api/v1/assets", params={"cursor": "AAAA"})).status_code == 422
    async with gallery.client("ws_b") as stranger:
        assert (await stranger.get("/api/v1/assets", params=cursor)).status_code == 422


async def test_deleting_leaves_a_tombstone_and_no_files(gallery: Gallery) -> None:
    async with gallery.client() as client:
        asset = (await sent(client, ("a.png", PNG))).json()["data"][0]
        assert len(gallery.stored()) == 2
        gallery.held.add(asset["id"])
        held = await client.delete(f"/api/v1/assets/{asset['id']}")
        assert (held.status_code, held.json()["code"]) == (409, "in-use")
        assert "in a frame" in held.json()["detail"]
        gallery.held.clear()
        assert (await client.delete(f"/api/v1/assets/{asset['id']}")).status_code == 204
        assert (await client.delete(f"/api/v1/assets/{asset['id']}")).status_code == 404
        assert (await client.get(f"/api/v1/assets/{asset['id']}")).status_code == 404
        await gallery.run_tasks()
        assert gallery.stored() == set()
        assert (await client.get(asset["url"])).status_code == 404


async def test_signed_addresses_expire_and_cannot_be_made_up(gallery: Gallery) -> None:
    async with gallery.client() as client:
        asset = (await sent(client, ("a.png", PNG))).json()["data"][0]
        url: str = asset["url"]
        assert (await client.get(url)).status_code == 200
        # Not the last letter: two bits of it mean nothing, so another one there can be the same signature.
        swapped = url[:-9] + ("A" if url[-9] != "A" else "B") + url[-8:]
        assert (await client.get(swapped)).status_code == 404
        assert (await client.get("/files/..%2F..%2Fetc%2Fpasswd")).status_code == 404
        gallery.clock.time += timedelta(hours=2)
        assert (await client.get(url)).status_code == 404


async def test_uploads_nobody_used_are_swept_and_used_ones_stay(gallery: Gallery) -> None:
    async with gallery.client() as client:
        loose, used = (await sent(client, ("a.png", PNG), ("b.png", PNG))).json()["data"]
        await gallery.services.db.write(lambda tx: attach(tx, "ws_a", [used["id"]]))
        await sweep_unattached(gallery.services, Any)  # type: ignore[arg-type]
        assert len((await client.get("/api/v1/assets")).json()["data"]) == 2
        gallery.clock.time += timedelta(hours=25)
        await sweep_unattached(gallery.services, Any)  # type: ignore[arg-type]
        await gallery.run_tasks()
        assert [a["id"] for a in (await client.get("/api/v1/assets")).json()["data"]] == [used["id"]]
    assert {key.split("/")[2] for key in gallery.stored()} == {used["id"]}
    with pytest.raises(InvalidRequest, match=loose["id"]):
        await gallery.services.db.write(lambda tx: attach(tx, "ws_a", [loose["id"]]))
    with pytest.raises(InvalidRequest, match=used["id"]):
        await gallery.services.db.write(lambda tx: attach(tx, "ws_b", [used["id"]]))


async def test_objects_without_a_row_are_swept_once_they_are_old(gallery: Gallery) -> None:
    async with gallery.client() as client:
        asset = (await sent(client, ("a.png", PNG))).json()["data"][0]
        probe = gallery.services.scratch / "probe"
        probe.write_bytes(PNG)
        for key in (f"w/ws_a/{output_id('job_x', 0)}/{'0' * 64}.png", f"w/ws_a/{asset['id']}/{'1' * 64}.png", "w/odd"):
            await gallery.services.blobs.put(key, probe, content_type="image/png")
        await sweep_orphans(gallery.services, Any)  # type: ignore[arg-type]
        assert len(gallery.stored()) == 5
        gallery.clock.time += timedelta(hours=2)  # a clock may be wrong, and the rows still on the way
        await sweep_orphans(gallery.services, Any)  # type: ignore[arg-type]
        assert len(gallery.stored()) == 5
        gallery.clock.time += timedelta(hours=23)
        await sweep_orphans(gallery.services, Any)  # type: ignore[arg-type]
        assert {key.rsplit("/", 1)[0] for key in gallery.stored()} == {f"w/ws_a/{asset['id']}"}
        assert len(gallery.stored()) == 2


async def test_a_generated_picture_is_marked_attached_and_kept_once(gallery: Gallery) -> None:
    file = gallery.services.scratch / "result"
    file.write_bytes(encoded(drawing(), "JPEG", exif=exif()))
    pixels = opened(file).tobytes()
    asset = output_id("job_1", 0)
    told = Provenance(model="fal-ai/flux/schnell", seed="18446744073709551616", prompt="a cat", credits=3)
    new = NewAsset(asset, "ws_a", AssetKind.GENERATED, job="job_1", output=0, provenance=told)
    first, second = await keep(gallery.services, file, new), await keep(gallery.services, file, new)
    assert first.model_dump() == second.model_dump()
    await gallery.services.db.write(lambda tx: insert_asset(tx, first))
    assert len(gallery.stored()) == 2
    async with gallery.client() as client:
        seen = (await client.get(f"/api/v1/assets/{asset}")).json()
        kept = await client.get(seen["url"])
        assert (await client.get("/api/v1/assets", params={"job": "job_1"})).json()["data"][0]["id"] == asset
    assert seen["provenance"]["made_by_ai"] is True
    assert seen["provenance"]["seed"] == "18446744073709551616"
    assert (seen["job"], seen["output"], seen["kind"]) == ("job_1", 0, "generated")
    assert b"trainedAlgorithmicMedia" in kept.content
    assert opened(kept.content).tobytes() == pixels
    assert list(gallery.services.scratch.iterdir()) == [file]


async def test_a_reference_is_placed_with_the_provider_when_it_cannot_read_our_folder(gallery: Gallery) -> None:
    file = gallery.services.scratch / "reference"
    file.write_bytes(PNG)
    row = await keep(gallery.services, file, NewAsset("asset_r", "ws_a", AssetKind.REFERENCE))
    url = await reference_url(gallery.services, row, needed_for=timedelta(hours=6))
    assert url.startswith("https://provider.example/")
    assert gallery.outside.placed == [PNG]
    moved = {"direction": "out"}
    assert gallery.services.metrics.registry.get_sample_value("darkroom_transfer_bytes_total", moved) == len(PNG)


async def test_a_full_store_is_told_as_such_and_leaves_nothing_in_the_way(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any, **__: Any) -> None:
        raise StorageFull

    monkeypatch.setattr(gallery.services.blobs, "put", full)
    async with gallery.client() as client:
        answer = await sent(client, ("a.png", PNG))
        assert (answer.status_code, answer.json()["retryable"]) == (507, True)
        assert (await client.get("/api/v1/assets")).json()["data"] == []
    assert list(gallery.services.scratch.iterdir()) == []


async def test_many_people_may_send_at_once(gallery: Gallery) -> None:
    async with gallery.client() as client:
        answers = await asyncio.gather(*(sent(client, (f"{n}.png", PNG)) for n in range(12)))
        assert {a.status_code for a in answers} == {201}
        assert len((await client.get("/api/v1/assets", params={"limit": 100})).json()["data"]) == 12
