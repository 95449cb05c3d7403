"""The pictures: the same for the same order, of the size and kind asked for, with defects where the log has them."""

import base64
import hashlib
import io
from collections.abc import Callable
from typing import Any

import fal_client
import httpx
import pytest
from PIL import Image, ImageChops, ImageDraw

SEEDREAM = "fal-ai/bytedance/seedream/v4"


def _get(url: str) -> bytes:
    return httpx.get(url, trust_env=False, verify=False).content


def _open(url: str) -> Image.Image:
    return Image.open(io.BytesIO(_get(url)))


def _run(fal: fal_client.SyncClient, endpoint: str, **arguments: Any) -> dict[str, Any]:
    return dict(fal.subscribe(endpoint, arguments, interval=0.01))


def _data_uri(image: Image.Image) -> str:
    target = io.BytesIO()
    image.save(target, "png")
    return f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"


def test_same_prompt_and_seed_same_bytes_even_in_another_sandbox(
    fal: fal_client.SyncClient, start: Callable[..., Any]
) -> None:
    one, again, other = (
        _get(_run(fal, "fal-ai/flux/dev", prompt="a red fox", seed=seed)["images"][0]["url"]) for seed in (4, 4, 5)
    )
    elsewhere = start("--speed", "100")
    body = elsewhere.submit("fal-ai/flux/dev", prompt="a red fox", seed=4).json()

    assert one == again == _get(elsewhere.result(body).json()["images"][0]["url"])
    assert one != other


@pytest.mark.parametrize(
    ("endpoint", "arguments", "size", "kind"),
    [
        ("fal-ai/flux/schnell", {}, (1024, 768), "JPEG"),
        ("fal-ai/flux/dev", {"image_size": "portrait_16_9", "output_format": "png"}, (576, 1024), "PNG"),
        ("fal-ai/flux-pro/v1.1", {"image_size": {"width": 320, "height": 200}}, (320, 200), "JPEG"),
        ("fal-ai/nano-banana", {"aspect_ratio": "16:9", "output_format": "webp"}, (1344, 768), "WEBP"),
        ("fal-ai/nano-banana-pro", {"resolution": "2K"}, (2048, 2048), "PNG"),
        (f"{SEEDREAM}/text-to-image", {"image_size": "square_hd"}, (1024, 1024), "PNG"),
        ("fal-ai/bytedance/seedream/v4.5/text-to-image", {}, (2048, 2048), "PNG"),
    ],
)
def test_pictures_have_the_size_and_kind_asked_for(
    fal: fal_client.SyncClient, endpoint: str, arguments: dict[str, Any], size: tuple[int, int], kind: str
) -> None:
    [told] = _run(fal, endpoint, prompt="a gold cup", **arguments)["images"]
    image = _open(told["url"])

    assert (image.size, image.format) == (size, kind)
    assert (told["width"], told["height"]) == size
    assert ("file_size" in told) == ("flux" not in endpoint)
    assert "sandbox" in str(image.getexif()[0x0131])


def test_answers_have_each_familys_shape(fal: fal_client.SyncClient) -> None:
    flux = _run(fal, "fal-ai/flux/schnell", prompt="a cup", num_images=2)
    banana = _run(fal, "fal-ai/nano-banana", prompt="a cup")
    seedream = _run(fal, f"{SEEDREAM}/text-to-image", prompt="a cup", image_size="square_hd", seed=3)

    assert set(flux) == {"images", "seed", "has_nsfw_concepts", "prompt", "timings"}
    assert flux["has_nsfw_concepts"] == [False, False]
    assert len({_get(image["url"]) for image in flux["images"]}) == 2
    assert set(banana) == {"images", "description"}
    assert (set(seedream), seedream["seed"]) == ({"images", "seed"}, 3)


def test_a_flagged_picture_is_black_and_flagged(fal: fal_client.SyncClient) -> None:
    result = _run(fal, "fal-ai/flux/dev", prompt="x [[nsfw]]")
    image = _open(result["images"][0]["url"]).convert("L").crop((0, 0, 900, 600))

    assert result["has_nsfw_concepts"] == [True]
    assert image.getextrema()[1] < 8  # type: ignore[operator, unused-ignore]


def test_seeds_can_exceed_what_databases_hold(fal: fal_client.SyncClient) -> None:
    huge = 17454220438242315174

    assert _run(fal, "fal-ai/flux/dev", prompt="x", seed=huge, image_size="square")["seed"] == huge
    assert _run(fal, "fal-ai/flux/dev", prompt=f"x [[seed:{huge}]]", image_size="square")["seed"] == huge


def test_a_defect_is_painted_where_the_log_says_and_nowhere_else(sandbox: Any, fal: fal_client.SyncClient) -> None:
    source = _run(fal, "fal-ai/nano-banana", prompt="a teal ceramic cup")["images"][0]["url"]
    prompt = "Add a deep scratch in the upper left and a rust spot in the lower right. No cracks."
    result = _run(fal, "fal-ai/nano-banana/edit", prompt=prompt, image_urls=[source])["images"][0]["url"]
    before, after = _open(source).convert("RGB"), _open(result).convert("RGB")
    boxes = _boxes(sandbox, result)
    changed = ImageChops.difference(before, after)
    outside = changed.copy()
    for box in boxes.values():
        outside.paste((0, 0, 0), (box["x"], box["y"], box["x"] + box["w"], box["y"] + box["h"]))

    assert set(boxes) == {"scratch", "rust"}
    assert changed.getbbox()
    assert outside.getbbox() is None
    assert boxes["scratch"]["y"] < 512
    assert boxes["rust"]["x"] > 512


def _boxes(sandbox: Any, url: str) -> dict[str, Any]:
    sha = hashlib.sha256(_get(url)).hexdigest()
    return {box["name"]: box for box in sandbox.log("boxes") if box["sha256"] == sha}


def test_a_mask_bounds_the_defect(sandbox: Any, fal: fal_client.SyncClient) -> None:
    image, mask = Image.new("RGB", (640, 480), "beige"), Image.new("L", (640, 480), 0)
    ImageDraw.Draw(mask).rectangle((400, 100, 560, 220), fill=255)
    arguments = {"image_url": _data_uri(image), "mask_url": _data_uri(mask), "output_format": "png"}
    result = _run(fal, "fal-ai/flux-pro/v1/fill", prompt="a large stain", **arguments)["images"][0]["url"]
    box = _boxes(sandbox, result)["stain"]

    assert box["x"] >= 400
    assert box["y"] >= 100
    assert box["x"] + box["w"] <= 561
    assert box["y"] + box["h"] <= 221


def test_bad_references_are_422_with_fals_words(fal: fal_client.SyncClient) -> None:
    good = _data_uri(Image.new("RGB", (64, 64), "tan"))
    cases: list[tuple[str, dict[str, Any], str, str]] = [
        ("fal-ai/flux-pro/kontext", {"image_url": "http://127.0.0.1:9/none.png"}, "file_download_error", "image_url"),
        ("fal-ai/flux-pro/kontext", {"image_url": "http://10.0.0.1/none.png"}, "file_download_error", "image_url"),
        ("fal-ai/nano-banana/edit", {"image_urls": [good, "data:text/plain,no"]}, "image_load_error", "image_urls"),
        (
            "fal-ai/flux-pro/v1/fill",
            {"image_url": good, "mask_url": _data_uri(Image.new("L", (32, 64), 255))},
            "image_load_error",
            "mask_url",
        ),
    ]
    for endpoint, arguments, kind, field in cases:
        with pytest.raises(fal_client.FalClientHTTPError) as caught:
            _run(fal, endpoint, prompt="make it gold", **arguments)
        [detail] = caught.value.response.json()["detail"]
        assert (caught.value.status_code, detail["type"], detail["loc"][1]) == (422, kind, field)


def test_an_edit_without_a_defect_keeps_the_look(fal: fal_client.SyncClient) -> None:
    source = _run(fal, "fal-ai/flux/dev", prompt="navy headphones")["images"][0]["url"]
    views = {
        _get(_run(fal, "fal-ai/nano-banana/edit", prompt=prompt, image_urls=[source])["images"][0]["url"])
        for prompt in ("the back view", "the side view", "the top view", "the bottom view", "in rose gold")
    }

    assert len(views) == 5
    assert {Image.open(io.BytesIO(view)).size for view in views} == {(1024, 768)}


def test_a_cut_out_has_alpha_and_an_enlargement_is_larger(fal: fal_client.SyncClient) -> None:
    source = _run(fal, "fal-ai/flux/schnell", prompt="a green chair", image_size="square")["images"][0]["url"]
    cut = _run(fal, "fal-ai/birefnet/v2", image_url=source, output_mask=True)
    large = _run(fal, "fal-ai/clarity-upscaler", image_url=source, upscale_factor=3)

    alpha = _open(cut["image"]["url"]).getchannel("A")
    assert alpha.getextrema() == (0, 255)
    assert _open(cut["mask_image"]["url"]).size == (512, 512)
    assert _open(large["image"]["url"]).size == (1536, 1536)
    assert "seed" in large
