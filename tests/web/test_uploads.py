"""Forms with files: streamed to disk, limited in every direction, and gone afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.web.uploads import safe_name
from tests.web.tiny import KEY, World

PNG = ("a.png", b"picture", "image/png")
TITLE = {"title": "Holiday"}
FORM = KEY | {"Content-Type": "multipart/form-data; boundary=x"}


def part(name: str, value: bytes, *, filename: str | None = None, headers: bytes = b"") -> bytes:
    file = b"" if filename is None else b'; filename="' + filename.encode() + b'"'
    return (
        b'--x\r\nContent-Disposition: form-data; name="'
        + name.encode()
        + b'"'
        + file
        + b"\r\n"
        + headers
        + (b"\r\n" + value + b"\r\n")
    )


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


GOOD = part("title", b"x") + part("files", b"abc", filename="a.png")
END = b"--x--\r\n"


async def test_files_and_fields_arrive_and_nothing_is_left_behind(
    http: httpx.AsyncClient, world: World, tmp_path: Path
) -> None:
    files = [("files", PNG), ("files", ("b.jpg", b"x" * 20_000, "image/jpeg")), ("cover", ("c", b"", "image/webp"))]

    response = await http.post("/api/v1/albums", headers=KEY, data=TITLE, files=files)

    assert response.status_code == 201, response.text
    assert response.json() == {
        "title": "Holiday",
        "names": ["a.png", "b.jpg", "c"],
        "sizes": [7, 20_000, 0],
        "types": ["image/png", "image/jpeg", "image/webp"],
    }
    assert len(world.uploads[0]) == 3
    assert left_in(tmp_path) == []


async def test_a_file_moved_away_is_kept(http: httpx.AsyncClient, world: World, tmp_path: Path) -> None:
    await http.post("/api/v1/albums", headers=KEY, data={"title": "crash"}, files=[("files", PNG)])

    assert all(tmp_path in path.parents for path in world.uploads[0])
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("data", "files", "status", "pointer"),
    [
        (TITLE, [("cover", PNG)], 422, "/form/files"),
        ({}, [("files", PNG)], 422, "/form/title"),
        ({"title": ""}, [("files", PNG)], 422, "/form/title"),
        (TITLE | {"nope": "1"}, [("files", PNG)], 422, "/form/nope"),
        (TITLE, [("files", PNG), ("cover", PNG), ("cover", PNG)], 422, "/form/cover"),
        (TITLE, [("files", PNG)] * 4, 422, "/form/files"),
        (TITLE, [("files", PNG)] * 5, 422, "/form/files"),
        (TITLE, [("files", ("a", b"x" * 30_001, "image/png"))], 413, "/form/files"),
        ({"title": "x" * 1_001}, [("files", PNG)], 413, "/form/title"),
        ({"title": ["a", "b", "c", "d", "e"]}, [("files", PNG)], 422, "/form/title"),
        (TITLE | {"files": "no file"}, [("cover", PNG)], 422, "/form/files/0"),
        ({}, [("title", PNG), ("files", PNG)], 422, "/form/title"),
    ],
)
async def test_a_form_that_does_not_fit_says_where(
    http: httpx.AsyncClient, tmp_path: Path, data: dict[str, Any], files: Any, status: int, pointer: str
) -> None:
    response = await http.post("/api/v1/albums", headers=KEY, data=data, files=files)

    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (status, pointer)
    assert left_in(tmp_path) == []


async def test_a_file_that_is_too_large_is_told_what_each_and_all_may_have(http: httpx.AsyncClient) -> None:
    huge = [("files", ("a", b"x" * 30_001, "image/png"))]
    [wrong] = (await http.post("/api/v1/albums", headers=KEY, data=TITLE, files=huge)).json()["errors"]
    assert wrong == {
        "pointer": "/form/files",
        "detail": "At most 0.03 MB per file, and 0.06 MB in all, are taken here.",
        "code": "too-large",
    }


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", GOOD + END, 415),
        ("multipart/mixed; boundary=x", GOOD + END, 415),
        ("multipart/form-data; boundary=", GOOD + END, 400),
        ("multipart/form-data; boundary=x; boundary=y", GOOD + END, 400),
        ("multipart/form-data; boundary=" + "x" * 71, GOOD + END, 400),
        ('multipart/form-data; boundary="x"', GOOD + END, 201),
        ("multipart/form-data; boundary=x", GOOD + END, 201),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", END, 422),
        ("multipart/form-data; boundary=x", GOOD, 400),
        ("multipart/form-data; boundary=x", GOOD[:-5], 400),
        ("multipart/form-data; boundary=x", b"--y\r\n" + GOOD, 400),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno headers\r\n" + GOOD + END, 422),
        ("multipart/form-data; boundary=x", part("title", b"\xff") + END, 400),
        ("multipart/form-data; boundary=x", part("title", b"a", headers=b"X: " + b"y" * 5_000 + b"\r\n") + END, 400),
        ("multipart/form-data; boundary=x", part("title", b"a", headers=b"X: y\r\n" * 20) + END, 400),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="t', 400),
    ],
)
async def test_a_broken_form_is_refused(
    http: httpx.AsyncClient, tmp_path: Path, content_type: str, body: bytes, status: int
) -> None:
    response = await http.post("/api/v1/albums", headers=KEY | {"Content-Type": content_type}, content=body)

    assert response.status_code == status, response.text
    assert left_in(tmp_path) == []


async def test_a_form_too_large_is_refused_before_and_while_it_comes(http: httpx.AsyncClient, tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield part("title", b"x")
        for _ in range(4):
            yield part("files", b"y" * 20_000, filename="a.png")

    announced = await http.post("/api/v1/albums", headers=FORM, content=b"x" * 60_001)
    chunked = await http.post("/api/v1/albums", headers=FORM, content=endless())

    assert (announced.status_code, chunked.status_code) == (413, 413)
    assert announced.headers["connection"] == chunked.headers["connection"] == "close"
    assert left_in(tmp_path) == []


async def test_a_file_nobody_chose_is_no_file(http: httpx.AsyncClient) -> None:
    body = GOOD + part("cover", b"", filename="") + END

    response = await http.post("/api/v1/albums", headers=FORM, content=body)

    assert response.json()["names"] == ["a.png"]


@pytest.mark.parametrize(
    ("claimed", "safe"),
    [
        ("cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\cat.png", "cat.png"),
        ("..", "file"),
        ("", "file"),
        ("/", "file"),
        ("a\0b.png", "ab.png"),
        ("a\r\nSet-Cookie: x.png", "aSet-Cookie: x.png"),
        ("evil\u202egnp.exe", "evilgnp.exe"),
        ("Töpfe \U0001f408.png", "Töpfe \U0001f408.png"),
        ("x" * 4096, "x" * 150),
    ],
)
def test_a_name_is_only_a_name(claimed: str, safe: str) -> None:
    assert safe_name(claimed) == safe


@pytest.mark.parametrize("name", ["../up.png", "a\u202eb.png", "n" * 3_900, "ä.png", "a;b='c.png"])
async def test_no_name_reaches_the_disk(http: httpx.AsyncClient, world: World, name: str) -> None:
    body = part("title", b"x") + part("files", b"abc", filename=name) + END

    response = await http.post("/api/v1/albums", headers=FORM, content=body)

    assert response.json()["names"] == [safe_name(name)]
    assert world.uploads[0][0].name == "1"


async def test_the_same_form_in_other_wrapping_is_the_same_intent(http: httpx.AsyncClient, world: World) -> None:
    once = KEY | {"Idempotency-Key": "once"}
    for _ in range(2):
        await http.post("/api/v1/albums", headers=once, data=TITLE, files=[("files", PNG)])
    await http.post("/api/v1/albums", headers=once, data=TITLE, files=[("files", ("a.png", b"another", "image/png"))])
    await http.post("/api/v1/albums", headers=once, data={"title": "Other"}, files=[("files", PNG)])

    first, second, third, fourth = world.keys
    assert first == second
    assert len({first.fingerprint, third.fingerprint, fourth.fingerprint}) == 3
