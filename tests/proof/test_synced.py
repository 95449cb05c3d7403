"""Nothing is answered before it is on disk, as the kernel saw it. Usual time: 10 s."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proof.scoreboard import Effort
from tests.proof.synced import Answer, in_order, prove_synced

ASKED = '7 recvfrom(15<socket:[1]>, "POST /api/v1/jobs HTTP/1.1\\r\\nHost"..., 262144, 0, NULL, NULL) = 900'
WRITTEN = '8 pwrite64(9</data/darkroom.db-wal>, "\\0\\0"..., 4096, 56) = 4096'
SYNCED = "8 fdatasync(9</data/darkroom.db-wal>) = 0"
FAILED = "8 fdatasync(9</data/darkroom.db-wal>) = -1 EIO (Input/output error)"
OTHER = "8 fdatasync(8</data/darkroom.db>) = 0"
BEGUN, ENDED = "8 fdatasync(9</data/darkroom.db-wal> <unfinished ...>", "8 <... fdatasync resumed>) = 0"
ANSWERED = '7 sendto(15<socket:[1]>, "HTTP/1.1 202 Accepted\\r\\n"..., 600, 0, NULL, 0) = 600'


def test_whatever_is_answered_is_on_disk(tmp_path: Path) -> None:
    for score in prove_synced(Effort(), tmp_path):
        print(score.line())
        if score.refused:
            pytest.skip(score.refused)
        assert not score.violations


@pytest.mark.parametrize(
    ("lines", "wrote", "synced"),
    [
        ([ASKED, WRITTEN, WRITTEN, SYNCED, ANSWERED], True, True),
        ([ASKED, WRITTEN, BEGUN, ENDED, ANSWERED], True, True),
        ([ASKED, WRITTEN, BEGUN, ANSWERED, ENDED], True, False),
        ([ASKED, WRITTEN, SYNCED, WRITTEN, ANSWERED, SYNCED], True, False),
        ([ASKED, WRITTEN, FAILED, ANSWERED], True, False),
        ([ASKED, WRITTEN, FAILED, OTHER, ANSWERED], True, False),
        ([ASKED, WRITTEN, ANSWERED], True, False),
        ([WRITTEN, SYNCED, ASKED, ANSWERED], False, True),
    ],
)
def test_the_order_is_read_rightly(lines: list[str], wrote: bool, synced: bool) -> None:
    assert list(in_order(lines)) == [Answer("/api/v1/jobs", 202, wrote, synced)]
