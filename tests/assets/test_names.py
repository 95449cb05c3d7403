import pytest

from app.assets.names import redacted, safe_filename, shown_filename, without_addresses


@pytest.mark.parametrize(
    ("claimed", "safe"),
    [
        (None, "picture.png"),
        ("", "picture.png"),
        ("...", "picture.png"),
        ("/", "picture.png"),
        ("a.b.c.jpeg", "a.b.c.png"),
        ("no extension", "no extension.png"),
        ("a\u202eb\u200bc.png", "abc.png"),
        ("e\u0301.png", "\u00e9.png"),
        ("100%;.png", "100.png"),
        ("x" * 300 + ".png", "x" * 100 + ".png"),
    ],
)
def test_a_name_is_made_fit_to_be_kept(claimed: str | None, safe: str) -> None:
    assert safe_filename(claimed, "png") == safe
    assert safe_filename(safe, "png") == safe


def test_an_address_is_kept_without_its_secrets() -> None:
    assert redacted("https://me:word@host.example:8443/a/b.png?key=s#f") == "https://host.example:8443/a/b.png"


def test_arguments_are_kept_without_addresses() -> None:
    sent = {
        "prompt": "a cat, see https://example.org",
        "image_url": "https://bucket.example/a?signature=s",
        "image_urls": ["https://a.example", "data:image/png;base64,AAAA"],
        "layers": [{"mask": "HTTP://b.example", "strength": 0.5}],
        "seed": 1,
        "none": None,
    }
    kept = {"prompt": "a cat, see https://example.org", "image_urls": [], "layers": [{"strength": 0.5}]}
    assert without_addresses(sent) == kept | {"seed": 1, "none": None}


@pytest.mark.parametrize(
    ("claimed", "shown"),
    [
        ("x.pdf", "x.pdf"),
        ("x.txt.png", "x.txt.png"),
        ("a/b/../c.gif", "c.gif"),
        ("", "picture"),
        ("no\u202egnp.x", "nognp.x"),
    ],
)
def test_a_file_is_called_by_its_whole_name(claimed: str, shown: str) -> None:
    assert shown_filename(claimed) == shown
