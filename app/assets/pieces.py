"""A picture file as a list of pieces: spans of the file it came from, and a few literal bytes of ours between them.
Each format's module says which pieces make the clean file; writing them is one pass that copies and hashes, in memory
that does not depend on the picture.
"""

from __future__ import annotations

import errno
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from app.core.errors import InvalidRequest, StorageFull
from app.ports import Digest

BLOCK = 256 * 1024
MOST_PARTS = 100_000
MOST_PIECES = 10_000


class NotAPicture(InvalidRequest):
    """The file is not a picture that can be taken"""

    slug = "not-a-picture"
    way_out = "Send PNG, JPEG, WebP or AVIF, whole and within the limits that the detail names."

    @property
    def reason(self) -> str:
        return self.detail


@dataclass(frozen=True)
class Span:
    """Bytes [start, end) of the source."""

    start: int
    end: int


@dataclass
class Layout:
    """The clean file, and the orientation that the dropped EXIF asked for (1 is upright)."""

    pieces: list[bytes | Span] = field(default_factory=list)
    orientation: int = 1

    def keep(self, start: int, end: int) -> None:
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, Span) and last.end == start:
            self.pieces[-1] = Span(last.start, end)
        else:
            self.add(Span(start, end))

    def add(self, piece: bytes | Span) -> None:
        if len(self.pieces) >= MOST_PIECES:
            raise NotAPicture("The file is built from too many small parts.")
        self.pieces.append(piece)

    def size(self) -> int:
        return sum(len(p) if isinstance(p, bytes) else p.end - p.start for p in self.pieces)


def exactly(source: BinaryIO, count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise NotAPicture("The file ends before the picture does.")
    return data


def counted() -> Iterator[int]:
    """Numbers for a loop over the parts of a file, so that no file keeps it going for ever."""
    yield from range(MOST_PARTS)
    raise NotAPicture("The file is built from too many small parts.")


def compose(source: BinaryIO, layout: Layout, target: Path) -> Digest:
    """Write the pieces to `target`, hashing what is written.

    Raises:
        StorageFull: there is no room for it.
    """
    sha, crc, size = hashlib.sha256(), 0, 0
    try:
        with target.open("wb") as out:
            for block in _blocks(source, layout):
                out.write(block)
                sha.update(block)
                crc = zlib.crc32(block, crc)
                size += len(block)
    except OSError as error:
        if is_full(error):
            raise StorageFull from error
        raise
    return Digest(size=size, sha256=sha.hexdigest(), crc32=f"{crc:08x}")


def is_full(error: OSError) -> bool:
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _blocks(source: BinaryIO, layout: Layout) -> Iterator[bytes]:
    for piece in layout.pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        source.seek(piece.start)
        for at in range(piece.start, piece.end, BLOCK):
            yield exactly(source, min(BLOCK, piece.end - at))
