from typing import Any

import pytest

from app.assets.serving import byte_range, serve, unchanged
from app.core.errors import NotFound, RangeNotSatisfiable
from app.web.operation import Download
from tests.assets.conftest import Gallery
from tests.assets.pictures import raw_png

KEY = f"w/ws_a/asset_x/{'a' * 64}.png"
FILE = raw_png(30, 20)
SIZE = len(FILE)


async def served(gallery: Gallery, **asked: Any) -> tuple[Download, bytes]:
    probe = gallery.services.scratch / "probe"
    probe.write_bytes(FILE)
    await gallery.services.blobs.put(KEY, probe, content_type="image/png")
    answer = await serve(gallery.services, KEY, content_type="image/png", filename="a.png", **asked)
    return answer, b"".join([chunk async for chunk in answer.chunks])


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=10-", (10, SIZE)),
        ("bytes=-7", (SIZE - 7, SIZE)),
        (f"bytes=5-{10**17}", (5, SIZE)),
        (f"bytes=-{10**17}", (0, SIZE)),
    ],
)
async def test_a_part_of_a_file_can_be_had(header: str, part: tuple[int, int], gallery: Gallery) -> None:
    answer, content = await served(gallery, wanted=header)
    assert content == FILE[slice(*part)]
    assert (answer.status, answer.size) == (206, part[1] - part[0])
    assert answer.headers["Content-Range"] == f"bytes {part[0]}-{part[1] - 1}/{SIZE}"


@pytest.mark.parametrize(
    "header", [None, "", "bytes=", "bytes=-", "bytes=0-1,3-4", "bytes=" + "0-," * 999, "lines=1-2", "bytes=9-3"]
)
async def test_any_other_range_gets_the_whole_file(header: str | None, gallery: Gallery) -> None:
    answer, content = await served(gallery, wanted=header)
    assert (answer.status, content) == (200, FILE)
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 9}", "bytes=-0"])
def test_a_range_outside_the_file_is_refused_with_its_size(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as refused:
        byte_range(header, SIZE)
    assert refused.value.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("known", [f'"{"a" * 64}"', f'W/"x", "{"a" * 64}"', "*"])
def test_what_a_browser_has_is_not_sent_again(known: str) -> None:
    answer = unchanged(KEY, known)
    assert answer is not None
    assert answer.status == 304


@pytest.mark.parametrize("known", [None, "", '"b"'])
def test_what_it_does_not_have_is_sent(known: str | None) -> None:
    assert unchanged(KEY, known) is None


async def test_a_missing_file_is_missing(gallery: Gallery) -> None:
    with pytest.raises(NotFound):
        await serve(gallery.services, KEY, content_type="image/png", filename="a.png")
